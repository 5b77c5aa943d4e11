"""People and places drawn from seeds: benchmark crops, and a site filmed with its ground truth.

Nobody real is in it. What a surface looks like in near infrared follows its fibre and dye, not
its colour, so that visible and infrared pictures of one person differ the way real ones do.
"""
