"""The collector room, tested."""
