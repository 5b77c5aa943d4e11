"""People recognised across visible and infrared cameras, from embeddings alone.

Importing this package costs nothing: rooms are imported by the command that needs them.
"""

__version__ = "0.1.0"
