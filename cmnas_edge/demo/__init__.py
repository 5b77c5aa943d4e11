"""The whole way in one command: starts both rooms as processes, scores them, and imports neither."""
