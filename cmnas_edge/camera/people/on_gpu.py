"""A detector's network on the GPU, where this device has a TensorRT plan of it.

On a Jetson a detector on the processor takes most of the time there is. Its plan is made by ``cmnas-edge engine build
--detector NETWORK.onnx``, kept and checked like those of a bundle, and run by the same GPU thread. It has no golden
pair, so before it serves it must agree with ONNX Runtime on two pictures. Cameras with the same network share one.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from cmnas_edge.errors import BundleError, CmnasError, DeviceError

__all__ = ["on_gpu"]

F32 = npt.NDArray[np.float32]
_log = logging.getLogger("cmnas.detector")
# Raw outputs differ by rounding, which grows through a hundred layers; another graph's differ by everything.
_TOLERANCE = 1e-2
_shared: WeakValueDictionary[str, Any] = WeakValueDictionary()


def on_gpu(path: Path, session: Any, name: str, shape: tuple[int, ...],
           engine: Literal["auto", "onnxruntime", "tensorrt"], reopen: Callable[[], Any]) -> Any:
    """Put TensorRT in the place of ONNX Runtime, if that is asked for and can be.

    Args:
        path: The network.
        session: Of ONNX Runtime, which is what TensorRT must agree with.
        name: Of its one input.
        shape: Of that input.
        engine: ``auto`` takes TensorRT where there is a plan; ``tensorrt`` takes nothing else.
        reopen: Opens ONNX Runtime again, should the GPU fail.

    Returns:
        Something with ONNX Runtime's ``run(names, feeds)``.

    Raises:
        DeviceError: ``tensorrt`` is asked for and cannot be had.
        BundleError: It is asked for, and its plan is damaged.
    """
    if engine == "onnxruntime":
        return session
    from cmnas_edge.engine.tensorrt import missing  # noqa: PLC0415 - not before a GPU may be wanted

    if (lacking := missing()) is not None:
        if engine == "tensorrt":
            raise DeviceError(f"detector {path}: expected {lacking}; or set engine = \"onnxruntime\" in its settings")
        return session
    try:
        return _GpuSession(path, _runner(path, session, name, shape), reopen)
    except CmnasError as error:
        if engine == "tensorrt":
            raise
        _log.warning("detector on the processor: %s", error)
        return session


def _runner(path: Path, session: Any, name: str, shape: tuple[int, ...]) -> Any:
    from cmnas_edge.engine.tensorrt import Workplace  # noqa: PLC0415
    from cmnas_edge.engine.tensorrt.cache import cache_folder  # noqa: PLC0415
    from cmnas_edge.engine.tensorrt.plan import detector_graph  # noqa: PLC0415

    graph = detector_graph(path)
    if (runner := _shared.get(graph.sha256)) is not None:
        return runner
    command = f"cmnas-edge engine build --detector {shlex.quote(str(path))}"
    # Nobody closes a detector: its engine goes with the last camera that has it, and the GPU's thread after it.
    runner = Workplace().open(graph, cache_folder(), command)
    try:
        _agree(runner, path, session, name, shape, command)
    except BaseException:
        runner.close()
        raise
    _shared[graph.sha256] = runner
    return runner


def _agree(runner: Any, path: Path, session: Any, name: str, shape: tuple[int, ...], command: str) -> None:
    found = runner.plan.input
    if (found.dtype, found.shape[1:]) != ("float32", shape[1:]):
        raise BundleError(f"{path}: expected a plan for pictures of {shape[1:]}, found {found.dtype} {found.shape}; "
                          f"build again: {command}")
    for seed in (0, 1):
        picture = np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)
        expected = np.asarray(session.run(None, {name: picture})[0], np.float32)
        worst = float(np.abs(runner(picture) - expected).max() / max(1.0, float(np.abs(expected).max())))
        if not worst <= _TOLERANCE:
            raise BundleError(f"{path}: expected TensorRT to find what ONNX Runtime does, found {worst:.1e} of the "
                              f"largest value between them; build again: {command}")


class _GpuSession:
    """TensorRT in the form of a session of ONNX Runtime's, which takes its place again should the GPU fail."""

    def __init__(self, path: Path, runner: Any, reopen: Callable[[], Any]) -> None:
        self._path = path
        self._runner = runner
        self._reopen = reopen
        self._spare: Any = None

    def run(self, names: object, feeds: dict[str, F32]) -> list[F32]:
        """Run the network on the one array that is fed."""
        if self._spare is None:
            (picture,) = feeds.values()
            try:
                return [self._runner(picture)]
            except DeviceError as error:
                _log.error("detector %s: TensorRT failed (%s); ONNX Runtime goes on from here", self._path,
                           str(error))    # the error itself would keep what its frames hold
                self._runner = None     # the last camera to let go of it frees it
                self._spare = self._reopen()
        found: list[F32] = self._spare.run(names, feeds)
        return found
