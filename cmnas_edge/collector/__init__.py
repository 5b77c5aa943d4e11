"""Room 2, the box in the middle: sightings in, probable people out.

``receive`` takes batches, ``intake`` commits them to the ``journal`` before it answers, and
the ``gallery`` (``index``, ``identity``) is what the last hours look like in memory. ``app``
serves the API and the dashboard to this machine only.
"""
