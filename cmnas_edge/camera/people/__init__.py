"""People in frames: found, followed, and the best views of each chosen."""
