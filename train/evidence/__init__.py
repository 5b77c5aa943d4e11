"""What each idea of the two papers buys, on drawn people: every run planned, made once, kept as a line, and told."""
