"""A bundle's graph made runnable: crops in, unit vectors out.

An engine proves itself before it serves: it must reproduce the bundle's golden embeddings on
this machine, or opening it fails.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, get_args

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import Modality
from cmnas_edge.errors import BundleError, DeviceError
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["ENGINES", "TOLERANCE", "Engine", "check_golden", "choice_fault", "open_engine"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
# How far an entry of a unit vector may lie from the golden one in float32. Rounding differs between
# processors by about 1e-6; colours in another order or another modality's graph by 1e-2 and more.
TOLERANCE = 1e-4


class Engine(Protocol):
    """Embeds crops of one modality. One thread at a time; a context manager, closed at its end."""

    @property
    def name(self) -> EngineName:
        """What runs the graph."""

    @property
    def precision(self) -> Precision:
        """Arithmetic it runs in."""

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


def choice_fault(name: str, precision: Precision | None) -> str:
    """Say why settings may not choose like this in ``[engine]``; nothing if they may."""
    if name != "auto" or precision is None:
        return ""
    return (f"expected no 'engine.precision' with name = \"auto\", which chooses it, found {precision!r}; remove it, "
            "or name an engine")


def open_engine(bundle: Bundle, modality: Modality, *, name: EngineName = "onnxruntime", precision: Precision = "fp32",
                threads: int = 1, max_batch: int = 32) -> Engine:
    """Make a bundle's graph runnable and check it against the golden embeddings.

    Args:
        bundle: Where the graph comes from.
        modality: Which of its graphs.
        name: One of `ENGINES`.
        precision: One of the bundle's.
        threads: Processor threads per call.
        max_batch: Most crops that go through the graph at once.

    Raises:
        DeviceError: This machine or this version has no such engine.
        BundleError: The graph cannot be run, or gives other embeddings than the golden ones.
    """
    engine = _open(bundle, modality, name, precision, threads, max_batch)
    try:
        check_golden(engine, bundle, modality)
    except BaseException:
        engine.close()
        raise
    return engine


def _open(bundle: Bundle, modality: Modality, name: EngineName, precision: Precision, threads: int,
          max_batch: int) -> Engine:
    if name == "tensorrt":
        from cmnas_edge.engine.tensorrt import TensorRtEngine  # noqa: PLC0415 - where a GPU is

        return TensorRtEngine(bundle, modality, precision=precision, max_batch=max_batch)
    if name == "openvino":
        from cmnas_edge.engine.openvino import OpenVinoEngine  # noqa: PLC0415 - an extra

        return OpenVinoEngine(bundle, modality, precision=precision, threads=threads, max_batch=max_batch)
    if name != "onnxruntime":
        raise DeviceError(f"engine {name!r}: expected one of {', '.join(ENGINES)}; correct the name")
    from cmnas_edge.engine.onnx_runtime import OnnxRuntimeEngine  # noqa: PLC0415 - only who runs graphs pays for it

    return OnnxRuntimeEngine(bundle, modality, precision=precision, threads=threads, max_batch=max_batch)


def check_golden(engine: Engine, bundle: Bundle, modality: Modality, n: int | None = None) -> float:
    """Compare an engine with a bundle's golden embeddings.

    Args:
        engine: Any, of that bundle and modality.
        bundle: Has the golden crops and embeddings.
        modality: Whose.
        n: Crops at once, at least 1: as many of the golden ones, or those over and over. None: each once.

    Returns:
        In float32 the largest difference of an entry, which may be `TOLERANCE`; in any other precision the
        largest cosine distance of a row, for which the bundle has a limit of its own.

    Raises:
        BundleError: It is beyond the limit; or the engine answers crops whose red and blue are exchanged better than
            the golden ones, and so reads colours in another order, which a coarse limit might let pass.
    """
    crops, expected = bundle.golden(modality)
    if n is not None:
        rows = np.arange(n) % len(crops)
        crops, expected = crops[rows], expected[rows]
    found = engine.embed(crops)
    if engine.precision == "fp32":
        worst, limit = float(np.abs(found - expected).max()), TOLERANCE
    else:
        apart = _cosine_distances(found, expected)
        worst = float(apart.max())
        limit = 1 - bundle.manifest.variants[engine.precision].golden_cosine
    if not worst <= limit:  # a NaN is no agreement either
        raise BundleError(f"{bundle.graph(modality, engine.precision)}: expected the golden embeddings within "
                          f"{limit:.2g}, found {worst:.2g} on {engine.name} in {engine.precision}; this engine "
                          "computes something else: export again")
    if engine.precision != "fp32" and modality == "visible" and n is None:
        turned = _cosine_distances(engine.embed(np.ascontiguousarray(crops[..., ::-1])), expected)
        if turned.mean() < apart.mean():
            raise BundleError(f"{bundle.graph(modality, engine.precision)}: expected {engine.name} in "
                              f"{engine.precision} to read crops in BGR, found it nearer to the golden embeddings with "
                              "red and blue exchanged; export again")
    return worst


def _cosine_distances(a: F32, b: F32) -> npt.NDArray[np.float64]:
    return np.asarray(1 - (a.astype(np.float64) * b).sum(1))
