"""``cmnas-edge doctor``: what this device has, lacks and should know before it may be left alone."""
