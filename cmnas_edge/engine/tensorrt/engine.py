"""A bundle's graph on TensorRT: finds its plan, checks everything, and keeps the `Engine` contract."""

from __future__ import annotations

import importlib
import logging
import shlex
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import Modality
from cmnas_edge.engine.tensorrt.build import How, Job, build
from cmnas_edge.engine.tensorrt.cache import cache_folder
from cmnas_edge.engine.tensorrt.cuda import Cuda, PyCuda
from cmnas_edge.engine.tensorrt.device import Device, device, missing
from cmnas_edge.engine.tensorrt.plan import Graph, Plan, bundle_graph, find
from cmnas_edge.engine.tensorrt.run import Runner
from cmnas_edge.engine.tensorrt.worker import GpuWorker, give_back, take
from cmnas_edge.errors import BundleError, DeviceError
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["RUNS", "TensorRtEngine", "Workplace", "build_command"]

log = logging.getLogger("cmnas.tensorrt")
U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
# Not bf16: in a strongly typed network precision stands in the graph, and no bundle has a bf16 one.
RUNS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int8_fp16")


class Workplace:
    """This device, with TensorRT and the GPU's one thread; shared by everything of this process, given back at its end.

    Args:
        cuda: What to ask of CUDA; None: pycuda, after `missing` has found nothing missing.
        trt: The module tensorrt; None: the one that is installed.

    Raises:
        DeviceError: Something is missing; the message says what brings it.
    """

    def __init__(self, cuda: Cuda | None = None, trt: Any = None) -> None:
        if cuda is None and (lacking := missing()) is not None:
            raise DeviceError(f"engine 'tensorrt': expected {lacking}")
        self.trt: Any = importlib.import_module("tensorrt") if trt is None else trt
        self.worker: GpuWorker = GpuWorker(cuda) if cuda is not None else take(PyCuda)
        self._end = weakref.finalize(self, give_back if cuda is None else self.worker.close)
        try:
            self.device: Device = device(self.trt, self.worker.cuda.gpu())
        except Exception as error:  # pycuda's errors are RuntimeErrors of several kinds
            self.close()    # pycuda ends a process that leaves a thread with a context
            raise DeviceError(f"GPU: expected one that says what it is, found {type(error).__name__} ({error}); look "
                              "at nvidia-smi or dmesg") from error

    def close(self) -> None:
        """Give the GPU's thread back, once everything on it is closed; again is harmless."""
        self._end()

    def __enter__(self) -> Workplace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def build(self, job: Job, how: How, cache: Path, *, again: bool = False,
              say: Callable[[str], None] = log.info) -> tuple[Path, Plan]:
        """Build a plan here; see `cmnas_edge.engine.tensorrt.build.build`."""
        return build(job, how, cache, self.device, self.worker, self.trt, again=again, say=say)

    def open(self, graph: Graph, cache: Path, command: str) -> Runner:
        """Find a graph's plan for this device and load it.

        Raises:
            BundleError: It is damaged, or made from another graph.
            DeviceError: There is none for this device, or TensorRT does not take it.
        """
        return Runner(find(cache, graph, self.device, command), self.worker, self.trt, command, self)


class TensorRtEngine:
    """Runs a bundle's plan; made by ``cmnas-edge engine build``, which needs minutes, so never here.

    Args:
        bundle: Where the graph comes from.
        modality: Which of its graphs.
        precision: One of `RUNS`.
        max_batch: Most crops at once; the plan's own limit may be lower.
        cache: Where plans are kept; None: see `cmnas_edge.engine.tensorrt.cache.cache_folder`.
        workplace: This device; None: opened here, and closed with the engine.

    Raises:
        DeviceError: Something is missing, or there is no plan for this device.
        BundleError: The plan is damaged, or made from another graph.
    """

    name: EngineName = "tensorrt"

    def __init__(self, bundle: Bundle, modality: Modality, *, precision: Precision = "fp16", max_batch: int = 32,
                 cache: Path | None = None, workplace: Workplace | None = None) -> None:
        if max_batch < 1:
            raise ValueError(f"expected at least 1 crop in a batch, found {max_batch}")
        if precision not in RUNS:
            raise DeviceError(f"engine 'tensorrt': expected {', '.join(RUNS[:-1])} or {RUNS[-1]}, found {precision}; "
                              "choose another precision or engine")
        if workplace is None and (lacking := missing()) is not None:
            raise DeviceError(f"engine 'tensorrt': expected {lacking}; or set name = \"onnxruntime\" in [engine]")
        graph = bundle_graph(bundle, modality, precision)
        self.precision: Precision = precision
        self._own = Workplace() if workplace is None else None
        place = workplace or self._own
        assert place is not None
        try:
            self._runner = place.open(graph, cache_folder(cache), build_command(bundle.path))
            self._check(bundle)
        except BaseException:
            self.close()
            raise
        self.max_batch = min(max_batch, self._runner.max_batch)
        self.plan = self._runner.plan

    def _check(self, bundle: Bundle) -> None:
        plan = self._runner.plan
        found = [(tensor.name, tensor.dtype, tensor.shape) for tensor in (plan.input, plan.output)]
        expected = [("crops", "uint8", (-1, bundle.height, bundle.width, 3)),
                    ("embeddings", "float32", (-1, bundle.dimension))]
        if found != expected:
            raise BundleError(f"{bundle.path}: expected a plan of {expected}, found {found}; build again: "
                              f"{build_command(bundle.path)}")

    def embed(self, crops: U8) -> F32:
        """Embed crops ``(n, h, w, 3)`` to ``(n, d)``; see `cmnas_edge.engine.Engine`.

        Raises:
            DeviceError: The GPU failed; close the engine and use another.
        """
        if crops.ndim != 4 or crops.shape[1:] != self.plan.input.shape[1:] or crops.dtype != np.uint8:
            raise ValueError(f"expected uint8 crops of shape (n, {', '.join(map(str, self.plan.input.shape[1:]))}), "
                             f"found {crops.dtype} {crops.shape}")
        parts = [self._runner(crops[start:start + self.max_batch])
                 for start in range(0, max(1, len(crops)), self.max_batch)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @property
    def runner(self) -> Runner:
        """The plan at work."""
        return self._runner

    def close(self) -> None:
        """Free the plan, then the GPU's thread if it was opened for this; again is harmless."""
        runner: Runner | None = getattr(self, "_runner", None)
        if runner is not None:
            runner.close()
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> TensorRtEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def build_command(bundle: Path) -> str:
    """The command that makes a bundle's plans, to be pasted."""
    return f"cmnas-edge engine build {shlex.quote(str(bundle))}"


