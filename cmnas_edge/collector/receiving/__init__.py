"""How batches come in: by HTTP or a broker, from whom, and whether each record is one to keep."""
