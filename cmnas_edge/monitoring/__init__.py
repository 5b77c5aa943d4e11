"""How a daemon is, told to whoever asks on its machine: pages for Prometheus and for watchers."""
