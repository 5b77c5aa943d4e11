"""A bundle's graph made runnable: crops in, unit vectors out.

An engine proves itself before it serves: it must reproduce the bundle's golden embeddings on
this machine, or opening it fails.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import Modality
from cmnas_edge.errors import BundleError, DeviceError

__all__ = ["ENGINES", "TOLERANCE", "Engine", "check_golden", "open_engine"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
ENGINES = ("onnxruntime",)
# How far an entry of a unit vector may lie from the golden one. Rounding differs between
# processors by about 1e-6; colours in another order or another modality's graph by 1e-2 and more.
TOLERANCE = {"fp32": 1e-4}


class Engine(Protocol):
    """Embeds crops of one modality. One thread at a time; a context manager, closed at its end."""

    @property
    def name(self) -> str:
        """What runs the graph, for instance ``"onnxruntime"``."""

    @property
    def precision(self) -> str:
        """Arithmetic it runs in, for instance ``"fp32"``."""

    @property
    def max_batch(self) -> int:
        """Most crops that go through the graph at once; `embed` takes any number."""

    def embed(self, crops: U8) -> F32:
        """Embed crops.

        Args:
            crops: BGR, shape ``(n, h, w, 3)`` with the bundle's h and w; n from 0 up.

        Returns:
            Shape ``(n, d)``, yours to keep. Every row has length 1, but for a crop the network
            does not respond to at all: its row is zero and has no direction.

        Raises:
            ValueError: Another shape or type, or the engine is closed.
        """

    def close(self) -> None:
        """Free the graph; again is harmless."""

    def __enter__(self) -> Engine: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None: ...


def open_engine(bundle: Bundle, modality: Modality, *, name: str = "onnxruntime", threads: int = 1,
                max_batch: int = 32) -> Engine:
    """Make a bundle's graph runnable and check it against the golden embeddings.

    Args:
        bundle: Where the graph comes from.
        modality: Which of its graphs.
        name: One of `ENGINES`.
        threads: Processor threads per call.
        max_batch: Most crops that go through the graph at once.

    Raises:
        DeviceError: This machine or this version has no such engine.
        BundleError: The graph cannot be run, or gives other embeddings than the golden ones.
    """
    if name == "tensorrt":
        raise DeviceError("engine 'tensorrt': expected an engine of this version, found only "
                          f"{', '.join(ENGINES)}; TensorRT's engine has an issue of its own (the extra "
                          "cmnas-edge[tensorrt] brings only its packages), so set name = \"onnxruntime\" in [engine]")
    if name not in ENGINES:
        raise DeviceError(f"engine {name!r}: expected one of {', '.join(ENGINES)}; correct the name")
    from cmnas_edge.engine.onnx_runtime import OnnxRuntimeEngine  # noqa: PLC0415 - only who runs graphs pays for it

    engine = OnnxRuntimeEngine(bundle, modality, threads=threads, max_batch=max_batch)
    try:
        check_golden(engine, bundle, modality)
    except BaseException:
        engine.close()
        raise
    return engine


def check_golden(engine: Engine, bundle: Bundle, modality: Modality) -> float:
    """Compare an engine with a bundle's golden embeddings.

    Returns:
        The largest difference of an entry.

    Raises:
        BundleError: It is beyond `TOLERANCE`.
    """
    crops, expected = bundle.golden(modality)
    found = engine.embed(crops)
    worst = float(np.abs(found - expected).max())
    limit = TOLERANCE[engine.precision]
    if not worst <= limit:  # a NaN is no agreement either
        raise BundleError(f"{bundle.graph(modality)}: expected the golden embeddings within {limit:g}, found "
                          f"{worst:.2g} on {engine.name}; this engine computes something else: export again")
    return worst
