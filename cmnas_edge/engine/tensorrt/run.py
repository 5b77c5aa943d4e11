"""A plan at work: rows in, rows out, on the GPU's thread.

What is made once: runtime, engine, execution context, a stream, and two buffers for the largest batch,
whose addresses TensorRT is told once. What happens per batch: rows are written to the input, the batch's
size is told if it changed, and the stream carries copy, network and copy. More rows than the plan's
largest batch go through in several, and none at all give none.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cmnas_edge.engine.tensorrt.build import DTYPES
from cmnas_edge.engine.tensorrt.cuda import Buffer
from cmnas_edge.engine.tensorrt.logger import Log, reason
from cmnas_edge.engine.tensorrt.plan import Found, Plan, Tensor
from cmnas_edge.engine.tensorrt.worker import GpuWorker
from cmnas_edge.errors import BundleError, CmnasError, DeviceError

__all__ = ["Runner"]

T = TypeVar("T")
Rows = npt.NDArray[Any]
_log = logging.getLogger("cmnas.tensorrt")
# What TensorRT logs when it is given a plan of another kind, and what that means to whoever reads it.
_MEANINGS = (
    (("version tag does not match", "serialization assertion", "expecting library version", "magic tag"),
     "it was made with another version of TensorRT"),
    (("compute capability", "different gpu", "different device", "sm version", "incompatible device"),
     "it was made for another GPU"),
    (("platform", "different operating system", "endian"), "it was made for another platform"),
    (("out of memory", "outofmemory", "allocat"), "there is not enough memory on the GPU"),
    (("cuda initialization", "no cuda-capable device", "cuda runtime error", "error code 1: cuda"),
     "the GPU does not answer"),
)


class Runner:
    """A plan on the GPU. Any thread may call it; one batch goes through at a time.

    Args:
        found: A plan whose manifest and bytes were checked.
        worker: Owns the GPU; it outlives this.
        trt: The module tensorrt.
        build: The command that makes the plan again, for messages.
        owner: Kept alive as long as this is; the worker's.

    Raises:
        BundleError: The plan is not what its manifest says.
        DeviceError: TensorRT does not take it, or the GPU has no room.
    """

    def __init__(self, found: Found, worker: GpuWorker, trt: Any, build: str, owner: object = None) -> None:
        self.plan: Plan = found.plan
        self.max_batch = int(found.plan.profile.most[0])
        self._path = found.path
        self._worker = worker
        state = worker(lambda: _State(found, worker, trt, build))
        self._state: _State | None = state
        # Whoever forgets to close it: nothing of a plan may outlive the GPU's thread, not even at the process's end.
        self._end = weakref.finalize(self, _end, worker, state, owner)

    def __call__(self, rows: Rows) -> Rows:
        """Run the network.

        Args:
            rows: Shape ``(n, ...)`` and type of the plan's input; n from 0 up.

        Returns:
            Shape ``(n, ...)``, the caller's to keep.

        Raises:
            ValueError: Other rows, or it is closed.
            DeviceError: The GPU or TensorRT failed. It will fail again: close it.
        """
        if self._state is None:
            raise ValueError("expected an open engine, found it closed")
        tensor = self.plan.input
        if rows.ndim != len(tensor.shape) or rows.shape[1:] != tensor.shape[1:] or rows.dtype != np.dtype(tensor.dtype):
            raise ValueError(f"expected {tensor.dtype} of shape (n, {', '.join(map(str, tensor.shape[1:]))}), "
                             f"found {rows.dtype} {rows.shape}")
        out = np.empty((len(rows), *self.plan.output.shape[1:]), np.dtype(self.plan.output.dtype))
        step = self.max_batch
        if tensor.shape[0] != -1 and len(rows) % step:
            raise ValueError(f"expected a multiple of {step} rows, which the graph has built in, found {len(rows)}")
        for start in range(0, len(rows), step):
            self._run(rows[start:start + step], out[start:start + step])
        return out

    def _run(self, rows: Rows, out: Rows) -> None:
        state = self._state
        assert state is not None
        try:
            self._worker(lambda: state.run(rows, out))
        except CmnasError:
            raise
        except Exception as error:  # pycuda's errors are RuntimeErrors of several kinds
            raise DeviceError(f"{self._path}: expected the GPU to run it, found {type(error).__name__} ({error}); look "
                              "at dmesg, and start again") from error

    def memory_bytes(self) -> int:
        """What the plan takes for its activations on the GPU, as TensorRT says.

        Raises:
            DeviceError: It does not say.
        """
        state = self._state
        return 0 if state is None else self._asked(lambda: int(state.engine.device_memory_size_v2))

    def layers(self) -> str:
        """What TensorRT made of the graph, as JSON of its own.

        Raises:
            DeviceError: It does not say.
        """
        state = self._state
        return "" if state is None else self._asked(state.layers)

    def _asked(self, what: Callable[[], T]) -> T:
        try:
            return self._worker(what)
        except Exception as error:  # of the bindings, and of several kinds
            raise DeviceError(f"{self._path}: expected TensorRT to say what it made of the graph, found "
                              f"{type(error).__name__} ({error}); look at dmesg, and start again") from error

    def close(self) -> None:
        """Free context, engine, runtime, buffers and stream, in this order; again is harmless."""
        self._state = None
        self._end()


def _end(worker: GpuWorker, state: _State, _: object) -> None:
    worker(state.close)


class _State:
    """Everything of a plan that lives on the GPU; the worker's thread alone touches it."""

    def __init__(self, found: Found, worker: GpuWorker, trt: Any, build: str) -> None:
        self._path: Path = found.path
        self._cuda = worker.cuda
        self._trt = trt
        self._log = Log(trt)
        self._rows = -1
        self.runtime: Any = None
        self.engine: Any = None
        self.context: Any = None
        self._buffers: list[Buffer] = []
        self._stream: Any = None
        plan = found.plan
        try:
            self._load(found, build)
            _compare(found.path, plan, _tensors(trt, self.engine), self._profile(plan), build)
            self._prepare(plan)
        except CmnasError:
            self.close()
            raise
        except Exception as error:  # pycuda's errors are RuntimeErrors of several kinds
            self.close()
            raise DeviceError(f"{found.path}: expected room for it on the GPU, found {type(error).__name__} ({error}); "
                              "free its memory, or build for smaller batches") from error

    def _load(self, found: Found, build: str) -> None:
        try:
            self.runtime = self._trt.Runtime(self._log.native)
        except TypeError:   # so pybind11 says that TensorRT made none
            raise DeviceError(f"TensorRT {self._trt.__version__}: expected a runtime, found that it makes none "
                              f"({reason(self._log.taken())}); look at nvidia-smi or dmesg, and update the driver if "
                              "it is older than this TensorRT's CUDA") from None
        # Without a working GPU the runtime is there, logs errors, and crashes at the next call.
        if errors := self._log.taken():
            raise DeviceError(f"TensorRT {self._trt.__version__}: expected a runtime without complaints, found "
                              f"{reason(errors)}; look at nvidia-smi or dmesg, and start again")
        self.engine = self.runtime.deserialize_cuda_engine(found.data)
        errors = self._log.taken()
        if self.engine is None or errors:
            raise DeviceError(f"{found.path}: expected a plan TensorRT {self._trt.__version__} takes on this device, "
                              f"found that it does not: {_meaning(errors)} ({reason(errors)}); build here: {build}")

    def _profile(self, plan: Plan) -> tuple[tuple[int, ...], ...]:
        if -1 not in plan.input.shape:
            return (plan.profile.least, plan.profile.usual, plan.profile.most)
        shapes = self.engine.get_tensor_profile_shape(plan.input.name, 0)
        return tuple(tuple(int(side) for side in shape) for shape in shapes)

    def _prepare(self, plan: Plan) -> None:
        self.context = self.engine.create_execution_context()
        errors = self._log.taken()
        if self.context is None or errors:
            raise DeviceError(f"{self._path}: expected room to run it in, found that TensorRT has none "
                              f"({reason(errors)}); free memory on the GPU, or build for smaller batches")
        self._stream = self._cuda.stream()
        self._handle = int(self._cuda.handle(self._stream))
        if not self._handle:
            raise DeviceError(f"{self._path}: expected a stream of its own, found CUDA's default one; restart")
        most = plan.profile.most[0]
        for tensor in (plan.input, plan.output):
            buffer = self._cuda.buffer((most, *tensor.shape[1:]), tensor.dtype)
            self._buffers.append(buffer)
            if not self.context.set_tensor_address(tensor.name, int(buffer.address)):
                raise self._refused(f"to take its {tensor.name} at an address")
        self._input = plan.input

    def run(self, rows: Rows, out: Rows) -> None:
        """One batch."""
        source, target = self._buffers
        n = len(rows)
        np.copyto(source.host[:n], rows)
        if n != self._rows and self._input.shape[0] == -1:
            self._rows = -1
            if not self.context.set_input_shape(self._input.name, (n, *(int(side) for side in rows.shape[1:]))):
                raise self._refused(f"to take a batch of {n}")
            self._rows = n
        source.upload(n, self._stream)
        if not self.context.execute_async_v3(stream_handle=self._handle):
            raise self._refused(f"to run a batch of {n}")
        target.download(n, self._stream)
        self._cuda.synchronize(self._stream)
        if errors := self._log.taken():     # all went well, it says; and yet it complains
            raise DeviceError(f"{self._path}: expected a batch of {n} without complaints, found {reason(errors)}; look "
                              "at dmesg, and start again")
        np.copyto(out, target.host[:n])

    def layers(self) -> str:
        inspector = self.engine.create_engine_inspector()
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _refused(self, what: str) -> DeviceError:
        return DeviceError(f"{self._path}: expected TensorRT {what}, found that it does not "
                           f"({reason(self._log.taken())}); look at dmesg, and start again")

    def close(self) -> None:
        """Free everything, dependants first. A GPU that failed may fail here too; that is only logged."""
        if self._stream is not None:
            self._quietly(lambda: self._cuda.synchronize(self._stream))
        self.context = None
        self.engine = None
        self.runtime = None
        for buffer in self._buffers:
            self._quietly(buffer.free)
        self._buffers = []
        self._stream = None

    @staticmethod
    def _quietly(free: Callable[[], None]) -> None:
        try:
            free()
        except Exception as error:  # pycuda's errors are RuntimeErrors of several kinds
            _log.warning("what a plan had on the GPU could not be freed: %s", str(error))  # not what its frames hold


def _tensors(trt: Any, engine: Any) -> tuple[Tensor, ...]:
    found = []
    for index in range(int(engine.num_io_tensors)):
        name = engine.get_tensor_name(index)
        mode = engine.get_tensor_mode(name)
        found.append(Tensor(str(name), "input" if mode == trt.TensorIOMode.INPUT else "output",
                            DTYPES.get(engine.get_tensor_dtype(name).name, "?"),
                            tuple(int(side) for side in engine.get_tensor_shape(name))))
    return tuple(sorted(found, key=lambda tensor: tensor.mode))


def _compare(path: Path, plan: Plan, tensors: tuple[Tensor, ...], profile: tuple[tuple[int, ...], ...],
             build: str) -> None:
    """Hold what a plan takes and gives against what its manifest says."""
    said = tuple(sorted(plan.tensors, key=lambda tensor: tensor.mode))
    if tensors != said:
        raise BundleError(f"{path}: expected {_shown(said)}, found {_shown(tensors)}; build again: {build}")
    expected = (plan.profile.least, plan.profile.usual, plan.profile.most)
    if profile != expected:
        raise BundleError(f"{path}: expected batches of shape {expected}, found {profile}; build again: {build}")


def _shown(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(f"{tensor.mode} {tensor.name} {tensor.dtype} {tensor.shape}" for tensor in tensors) or "no tensors"


def _meaning(errors: list[str]) -> str:
    text = " ".join(errors).lower()
    for signs, meaning in _MEANINGS:
        if any(sign in text for sign in signs):
            return meaning
    return "it is damaged, or of another device" if errors else "it gives no reason"

