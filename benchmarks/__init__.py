"""One script a question; each compares ratios within one run and appends to ``results/*.jsonl``."""
