"""ONNX Runtime on the processor: the engine every device has.

Inputs and outputs bound to memory of our own (``io_binding``) were no faster: ONNX Runtime reads numpy's memory in
place anyway and keeps its buffers from call to call. So that is left out.

What it keeps is as much as its largest call took. So a call is no larger than helps (with one thread a crop costs the
same among 8 as among 32: `benchmarks.latency`), and the largest is made at once: what memory there is to be had is had
when the engine opens, not in the night of the first crowd. Plans of memory for each size of batch, which take as much
again when a size comes the second time, are left out; they made nothing faster.
"""

from __future__ import annotations

from types import TracebackType

import numpy as np
import numpy.typing as npt
import onnxruntime

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import Modality
from cmnas_edge.errors import BundleError, DeviceError
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["RUNS", "OnnxRuntimeEngine", "missing"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
RUNS: tuple[Precision, ...] = ("fp32", "int8")
_ENOUGH = 8 # crops in a call of one thread
_QUIET = 3  # ONNX Runtime logs errors only; what matters is raised


def missing() -> str | None:
    """Say what this device lacks to run this engine: nothing, since every camera carries it."""
    return None


class OnnxRuntimeEngine:
    """Runs a graph with the threads it was given and no others."""

    name: EngineName = "onnxruntime"

    def __init__(self, bundle: Bundle, modality: Modality, *, precision: Precision = "fp32", threads: int,
                 max_batch: int) -> None:
        if threads < 1 or max_batch < 1:
            raise ValueError(f"expected at least 1 thread and batch, found {threads} and {max_batch}")
        if precision not in RUNS:
            raise DeviceError(f"engine 'onnxruntime': expected {' or '.join(RUNS)}, which a processor computes as they "
                              f"say, found {precision}; choose another precision or engine")
        self.precision: Precision = precision
        self.max_batch = max_batch
        self._shape = (bundle.height, bundle.width, 3)
        self._dimension = bundle.dimension
        self._at_once = min(max_batch, _ENOUGH) if threads == 1 else max_batch
        self._session: onnxruntime.InferenceSession | None = _session(bundle, modality, precision, threads)
        self.embed(np.zeros((self._at_once, *self._shape), np.uint8))

    def embed(self, crops: U8) -> F32:
        """Embed crops ``(n, h, w, 3)`` to ``(n, d)``; see `cmnas_edge.engine.Engine`."""
        if self._session is None:
            raise ValueError("expected an open engine, found it closed")
        if crops.ndim != 4 or crops.shape[1:] != self._shape or crops.dtype != np.uint8:
            raise ValueError(f"expected uint8 crops of shape (n, {', '.join(map(str, self._shape))}), "
                             f"found {crops.dtype} {crops.shape}")
        embeddings = np.empty((len(crops), self._dimension), np.float32)
        for start in range(0, len(crops), self._at_once):
            rows = slice(start, start + self._at_once)
            embeddings[rows] = self._session.run(["embeddings"], {"crops": crops[rows]})[0]
        return embeddings

    def close(self) -> None:
        """Free the graph; again is harmless."""
        self._session = None

    def __enter__(self) -> OnnxRuntimeEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def _session(bundle: Bundle, modality: Modality, precision: Precision, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _QUIET
    options.enable_mem_pattern = False
    # A thread that spins while it waits for work takes a core from decoding and detection.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = bundle.graph(modality, precision)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        reason = str(error).splitlines()[0]
        raise BundleError(f"{path}: ONNX Runtime {onnxruntime.__version__} cannot run it ({reason}); "
                          "export again") from error
    signature = [(value.name, value.type, list(value.shape)[1:])
                 for value in (*session.get_inputs(), *session.get_outputs())]
    expected = [("crops", "tensor(uint8)", [bundle.height, bundle.width, 3]),
                ("embeddings", "tensor(float)", [bundle.dimension])]
    if signature != expected:
        raise BundleError(f"{path}: expected {expected}, found {signature}; export again")
    return session
