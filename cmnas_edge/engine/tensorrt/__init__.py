"""TensorRT: plans built on the device that runs them, checked before every use.

No figure of TensorRT's speed or accuracy is made or claimed where this was written: there is no GPU.
What is proven is everything short of the silicon: NVIDIA's own bindings of five versions, 10.3 to 11.4,
run this code over a library that only records what reaches it (``tests/tensorrt``). The rest is what
``cmnas-edge engine prove`` is for.

Nothing here imports tensorrt or pycuda until a GPU has been counted.
"""

from __future__ import annotations

from cmnas_edge.engine.tensorrt.device import missing
from cmnas_edge.engine.tensorrt.engine import RUNS, TensorRtEngine, Workplace

__all__ = ["RUNS", "TensorRtEngine", "Workplace", "missing"]
