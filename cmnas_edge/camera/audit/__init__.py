"""``cmnas-edge audit``: what left a device by its own log, held against a recording of its network."""
