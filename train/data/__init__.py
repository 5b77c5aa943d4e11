"""Labelled crops to learn from: the set itself, the batches drawn from it, and what is done to them."""
