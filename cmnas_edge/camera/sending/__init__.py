"""Records on their way: kept on disk, sent in batches, let go when the collector has answered."""
