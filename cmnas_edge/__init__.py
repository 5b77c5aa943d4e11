"""People recognised across visible and infrared cameras, from embeddings alone.

Importing this package costs nothing: rooms are imported by the command that needs them.
"""

import os

# Of late ONNX Runtime's packages for Linux number the device and tell a server of every session, unasked.
# Cameras send sightings and nothing else; both names are needed, since versions differ in which they read.
os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"

__version__ = "0.1.0"
