"""What outlives the process: the journal, which is the truth."""
