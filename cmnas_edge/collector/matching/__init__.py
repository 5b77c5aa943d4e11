"""Who is probably whom: nearest neighbours, tracklets, the evidence between them, identities."""
