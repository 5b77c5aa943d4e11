"""The first workshop bench: networks with a choice at every BatchNorm, and how they are trained.

Runs from a checkout (``python -m train``) and is not in the wheel: it needs torch, and a
camera carries none. The house (``cmnas_edge``) never imports it.
"""
