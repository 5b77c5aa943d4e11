"""Networks with a choice at every BatchNorm: what they are built of, what they cost, how they are kept and imported."""
