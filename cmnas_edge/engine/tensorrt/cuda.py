"""A GPU's memory, streams and context, as few calls as a plan needs; pycuda makes them.

Everything happens in the *primary* context, the one that TensorRT, the CUDA runtime and torch share:
a context of our own gives "invalid resource handle" as soon as TensorRT touches its memory. On a GPU
that shares the processor's memory (a Jetson) a buffer is pinned host memory mapped into the GPU, and
nothing is copied; elsewhere it is a pinned half and a device half. Never the default stream: TensorRT
waits for the whole device there.
"""

from __future__ import annotations

import gc
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cmnas_edge.engine.tensorrt.device import Gpu

__all__ = ["Buffer", "Cuda", "PyCuda"]


class Buffer(Protocol):
    """Memory that both sides see: the processor as an array, the GPU at an address."""

    host: npt.NDArray[Any]

    @property
    def address(self) -> int:
        """Where it lies for the GPU."""

    def upload(self, rows: int, stream: Any) -> None:
        """Queue what the first rows of `host` hold on their way to the GPU."""

    def download(self, rows: int, stream: Any) -> None:
        """Queue the first rows on their way back; `host` holds them once the stream has been waited for."""

    def free(self) -> None:
        """Give both halves back."""


class Cuda(Protocol):
    """What the GPU worker asks of CUDA. Its thread alone calls `enter` and everything that follows it."""

    def gpu(self) -> Gpu:
        """Describe the GPU; any thread."""

    def enter(self) -> None:
        """Make the primary context current in this thread."""

    def leave(self) -> None:
        """Take back `enter`, once everything made in between is freed."""

    def stream(self) -> Any:
        """Make a stream; `handle` of it is what TensorRT takes."""

    def handle(self, stream: Any) -> int:
        """The number of a stream, never 0."""

    def synchronize(self, stream: Any) -> None:
        """Wait for a stream."""

    def buffer(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        """Make memory for an array."""

    def memory(self) -> tuple[int, int]:
        """Bytes free on the GPU, and all of them."""


class PyCuda:
    """The first GPU that CUDA shows to this process, by pycuda."""

    def __init__(self) -> None:
        from pycuda import driver  # noqa: PLC0415 - only where a GPU is

        driver.init()
        self._driver: Any = driver
        self._device = driver.Device(0)
        self._context: Any = None
        attribute = driver.device_attribute
        self._mapped = bool(self._device.get_attribute(attribute.INTEGRATED)
                            and self._device.get_attribute(attribute.CAN_MAP_HOST_MEMORY))

    def gpu(self) -> Gpu:
        """Describe the GPU."""
        attribute = self._driver.device_attribute
        version = int(self._driver.get_driver_version())
        major, minor = self._device.compute_capability()
        return Gpu(str(self._device.name()), f"{major}.{minor}",
                   int(self._device.get_attribute(attribute.MULTIPROCESSOR_COUNT)),
                   bool(self._device.get_attribute(attribute.INTEGRATED)), int(self._device.total_memory()) >> 20,
                   f"{version // 1000}.{version % 1000 // 10}")

    def enter(self) -> None:
        """Retain the primary context and push it; retaining alone does not."""
        context = self._device.retain_primary_context()
        try:
            context.push()
        except Exception:
            context.detach()
            raise
        self._context = context

    def leave(self) -> None:
        """Pop what `enter` pushed, and let go of it."""
        if self._context is not None:
            gc.collect()  # whatever still owns memory must be gone while its context is current
            self._context.pop()
            # Deleted alone, pycuda's object takes the primary context for one it made, and never releases it.
            self._context.detach()
            self._context = None

    def stream(self) -> Any:
        """Make a stream."""
        return self._driver.Stream()

    def handle(self, stream: Any) -> int:
        """The number of a stream."""
        return int(stream.handle)

    def synchronize(self, stream: Any) -> None:
        """Wait for a stream."""
        stream.synchronize()

    def buffer(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        """Make pinned memory, mapped where the GPU shares it, else with a half on the GPU."""
        if self._mapped:
            return _Mapped(self._driver, shape, dtype)
        return _Copied(self._driver, shape, dtype)

    def memory(self) -> tuple[int, int]:
        """Bytes free, and all."""
        free, every = self._driver.mem_get_info()
        return int(free), int(every)


class _Mapped:
    """Pinned memory at an address of the GPU's own; nothing is copied."""

    def __init__(self, driver: Any, shape: tuple[int, ...], dtype: str) -> None:
        self.host = driver.pagelocked_empty(shape, np.dtype(dtype), mem_flags=driver.host_alloc_flags.DEVICEMAP)
        self._allocation = self.host.base
        self.address = int(self._allocation.get_device_pointer())

    def upload(self, rows: int, stream: Any) -> None:
        """Nothing to do: the GPU reads it where it lies."""

    def download(self, rows: int, stream: Any) -> None:
        """Nothing to do: the GPU has written it where it lies."""

    def free(self) -> None:
        """Unpin the memory."""
        self.host = np.empty(0, np.uint8)
        self._allocation.free()


class _Copied:
    """Pinned memory, so that copies run beside everything else, and its twin on the GPU."""

    def __init__(self, driver: Any, shape: tuple[int, ...], dtype: str) -> None:
        self._driver = driver
        self.host = driver.pagelocked_empty(shape, np.dtype(dtype))
        self._allocation = self.host.base
        self._device = driver.mem_alloc(max(1, int(self.host.nbytes)))
        self.address = int(self._device)

    def upload(self, rows: int, stream: Any) -> None:
        """Queue a copy to the GPU."""
        self._driver.memcpy_htod_async(self._device, self.host[:rows], stream)

    def download(self, rows: int, stream: Any) -> None:
        """Queue a copy back."""
        self._driver.memcpy_dtoh_async(self.host[:rows], self._device, stream)

    def free(self) -> None:
        """Free the GPU's half, then the pinned one."""
        self._device.free()
        self.host = np.empty(0, np.uint8)
        self._allocation.free()
