"""OpenVINO on the processor: the faster engine on many x86 machines, and the one that computes in bfloat16.

Graphs are compiled for fixed numbers of crops, the powers of two: asked to run any number, OpenVINO takes about
1.5 times as long per crop (OSNet x0.25 at 128x64, one thread: 0.69 against 0.44 ms alone, 2026.4.1). Each is
compiled when first needed (a second) and takes some 20 MB.

Precision is said in so many words, since left to itself OpenVINO computes in bfloat16 wherever the processor can.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import Modality
from cmnas_edge.engine.openvino_gates import gates_at_once
from cmnas_edge.errors import BundleError, DeviceError
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["RUNS", "OpenVinoEngine", "library", "missing", "pieces"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
RUNS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
# What an int8 graph leaves in float stays in float32: that is how it was judged.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_CALL = 2   # a call costs as much as this many crops more: 1 with its weights in the cache, 4 without


def missing() -> str | None:
    """Say what this device lacks to run this engine, and what brings it; None if nothing."""
    if importlib.util.find_spec("openvino") is None:
        return "the Python package openvino; install it with: pip install 'cmnas-edge[openvino]'"
    return None


class _Request(NamedTuple):
    """A graph of a fixed size, ready to run, and the memory it reads and writes."""

    native: Any
    crops: U8
    embeddings: F32


class OpenVinoEngine:
    """Runs a graph with the threads it was given, bound to no core, and sends no word to anybody."""

    name: EngineName = "openvino"

    def __init__(self, bundle: Bundle, modality: Modality, *, precision: Precision = "fp32", threads: int,
                 max_batch: int) -> None:
        if threads < 1 or max_batch < 1:
            raise ValueError(f"expected at least 1 thread and batch, found {threads} and {max_batch}")
        if precision not in RUNS:
            raise DeviceError(f"engine 'openvino': expected {', '.join(RUNS)}, which a processor computes as they "
                              f"say, found {precision}; choose another precision or engine")
        self.precision: Precision = precision
        self.max_batch = max_batch
        self._shape = (bundle.height, bundle.width, 3)
        self._dimension = bundle.dimension
        self._threads = threads
        self._library = library()
        self._core = _core(self._library)
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise DeviceError("engine 'openvino': expected a processor that computes in bfloat16, found "
                              f"{self._core.get_property('CPU', 'FULL_DEVICE_NAME')}; choose another precision")
        self._model: Any = _read(self._library, bundle, modality, precision)
        self._requests: dict[int, _Request] = {}
        try:
            self._request(1)    # what cannot be compiled is to fail here
        except RuntimeError as error:
            raise _refusal(self._library, bundle.graph(modality, precision), error) from error

    def embed(self, crops: U8) -> F32:
        """Embed crops ``(n, h, w, 3)`` to ``(n, d)``; see `cmnas_edge.engine.Engine`.

        Raises:
            DeviceError: OpenVINO failed.
            ValueError: As the protocol says.
        """
        if self._model is None:
            raise ValueError("expected an open engine, found it closed")
        if crops.ndim != 4 or crops.shape[1:] != self._shape or crops.dtype != np.uint8:
            raise ValueError(f"expected uint8 crops of shape (n, {', '.join(map(str, self._shape))}), "
                             f"found {crops.dtype} {crops.shape}")
        embeddings = np.empty((len(crops), self._dimension), np.float32)
        start = 0
        for size in pieces(len(crops), self.max_batch):
            batch = crops[start:start + size]
            count = len(batch)
            try:
                request = self._request(size)
                request.crops[:count] = batch   # of the rest nobody looks at what comes out
                # In its own memory: to hand over an array anew each time takes longer than to copy one crop.
                request.native.infer(share_outputs=True)
            except RuntimeError as error:
                raise DeviceError(f"engine 'openvino' in {self.precision}: expected embeddings of {size} crops, found "
                                  f"it failing ({_reason(error)}); choose another engine") from error
            embeddings[start:start + count] = request.embeddings[:count]
            start += size
        return embeddings

    def close(self) -> None:
        """Free the graph; again is harmless."""
        self._requests.clear()
        self._model = None

    def __enter__(self) -> OpenVinoEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _request(self, size: int) -> _Request:
        if size not in self._requests:
            model = self._model.clone()
            model.reshape({0: self._library.PartialShape([size, *self._shape])})
            options = {"INFERENCE_PRECISION_HINT": _HINTS[self.precision], "PERFORMANCE_HINT": "LATENCY",
                       "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": self._threads,
                       # Bound to a core, two engines may meet on the same one while another idles.
                       "ENABLE_CPU_PINNING": False}
            native = self._core.compile_model(model, "CPU", options).create_infer_request()
            self._requests[size] = _Request(native, native.get_input_tensor(0).data, native.get_output_tensor(0).data)
        return self._requests[size]


def pieces(n: int, max_batch: int) -> tuple[int, ...]:
    """Sizes of the graphs that together embed n crops soonest: powers of two, the last of them perhaps not full."""
    largest = 1 << (max_batch.bit_length() - 1)
    return (largest,) * (n // largest) + _rest(n % largest)


def _rest(n: int) -> tuple[int, ...]:
    if not n:
        return ()
    below = 1 << (n.bit_length() - 1)
    split = (below, *_rest(n - below))
    return (2 * below,) if 2 * below + _CALL <= sum(split) + _CALL * len(split) else split


def library() -> Any:
    """Import OpenVINO, but not the package by which it tells Google Analytics of every import, unasked.

    Raises:
        DeviceError: It is not here.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # importing it fails, and a stub is taken
    try:
        import openvino  # noqa: PLC0415 - an extra
        import openvino.frontend  # noqa: PLC0415
    except ImportError as error:
        lacks = missing() or f"its libraries whole ({error}); install openvino again"
        raise DeviceError(f"engine 'openvino': expected {lacks}") from None
    return openvino


@cache
def _core(library: Any) -> Any:
    """The one core of this process, never freed.

    Its first graph gives the thread another stack for signals, which goes with the core. Of two cores the second puts
    back, when it goes, the stack of the first, gone or not; the next Ctrl-C or SIGTERM is then written to freed memory.
    """
    return library.Core()


def _read(library: Any, bundle: Bundle, modality: Modality, precision: Precision) -> Any:
    """Read a graph as ONNX and nothing else: OpenVINO would guess, and take other formats as well."""
    path = bundle.graph(modality, precision)
    try:
        reader = library.frontend.FrontEndManager().load_by_framework("onnx")
        model = reader.convert(reader.load(str(path)))
    except Exception as error:  # its exceptions share no base but this
        raise _refusal(library, path, error) from error
    signature = [(port.any_name, port.element_type.get_type_name(),
                  [side.get_length() if side.is_static else None for side in port.partial_shape][1:])
                 for port in (*model.inputs, *model.outputs)]
    expected = [("crops", "u8", [bundle.height, bundle.width, 3]), ("embeddings", "f32", [bundle.dimension])]
    if signature != expected:
        raise BundleError(f"{path}: expected {expected}, found {signature}; export again")
    gates_at_once(library, model)
    return model


def _refusal(library: Any, path: object, error: Exception) -> BundleError:
    version = library.__version__.partition("-")[0]
    return BundleError(f"{path}: OpenVINO {version} cannot run it ({_reason(error)}); export again")


def _reason(error: Exception) -> str:
    """Its last line: those before say where in OpenVINO's own source."""
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]
