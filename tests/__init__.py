"""Tests mirror the tree; CONTRIBUTING.md says which lane holds which promise."""
