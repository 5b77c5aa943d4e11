"""pycuda's names, arguments and errors in Python, for machines where nobody has built pycuda itself.

`pycuda.json` holds the real signatures and kinds of errors; a test holds this against them.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np

from tests.tensorrt.cuda_driver import Driver

Error = type("Error", (Exception,), {})
LogicError = type("LogicError", (Error,), {})
RuntimeError = type("RuntimeError", (Error,), {})  # noqa: A001 - pycuda's own name; it is not Python's
MemoryError = type("MemoryError", (Error,), {})  # noqa: A001
LaunchError = type("LaunchError", (Error,), {})
TEXTS = {1: "invalid argument", 2: "out of memory", 100: "no CUDA-capable device is detected",
         101: "invalid device ordinal", 201: "invalid device context", 400: "invalid resource handle",
         700: "an illegal memory access was encountered", 719: "unspecified launch failure",
         801: "operation not supported"}
_driver: Driver
_stack = threading.local()


def _do(name: str, *arguments: int) -> None:
    code = _driver.answer(name, *arguments)
    if code:
        kind = {2: MemoryError, 100: RuntimeError, 719: LaunchError}.get(code, LogicError)
        raise kind(f"{name.partition('_v')[0]} failed: {TEXTS.get(code, 'unrecognized error code')}")


def _ask(name: str, *arguments: int, out: Any = ctypes.c_uint64) -> int:
    value = out(0)
    _do(name, ctypes.addressof(value), *arguments)
    return int(value.value)


class device_attribute(IntEnum):  # noqa: N801 - pycuda's own name
    """What a device may be asked."""

    MULTIPROCESSOR_COUNT = 16
    INTEGRATED = 18
    CAN_MAP_HOST_MEMORY = 19


class host_alloc_flags:  # noqa: N801 - pycuda's own name
    """How pinned memory may be."""

    PORTABLE = 1
    DEVICEMAP = 2


class Context:
    """A primary context that was retained."""

    def __init__(self) -> None:
        self._valid = True

    def push(self) -> None:
        _do("cuCtxPushCurrent_v2", 0)
        _stack.__dict__.setdefault("contexts", []).append(self)

    @staticmethod
    def pop() -> None:
        if not getattr(_stack, "contexts", []):
            raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
        _ask("cuCtxPopCurrent_v2")
        _stack.contexts.pop()

    def detach(self) -> None:
        if not self._valid:
            raise LogicError("context::detach failed: invalid device context - cannot detach from invalid context")
        self._valid = False
        _do("cuDevicePrimaryCtxRelease_v2", 0)


class Device:
    """A GPU."""

    def __init__(self, number: int) -> None:
        self._number = _ask("cuDeviceGet", number, out=ctypes.c_int)

    @staticmethod
    def count() -> int:
        return _ask("cuDeviceGetCount", out=ctypes.c_int)

    def name(self) -> str:
        text = ctypes.create_string_buffer(256)
        _do("cuDeviceGetName", ctypes.addressof(text), 256, self._number)
        return text.value.decode()

    def compute_capability(self) -> tuple[int, int]:
        major, minor = ctypes.c_int(0), ctypes.c_int(0)
        _do("cuDeviceComputeCapability", ctypes.addressof(major), ctypes.addressof(minor), self._number)
        return major.value, minor.value

    def total_memory(self) -> int:
        return _ask("cuDeviceTotalMem_v2", self._number)

    def get_attribute(self, attribute: device_attribute) -> int:
        return _ask("cuDeviceGetAttribute", int(attribute), self._number, out=ctypes.c_int)

    def retain_primary_context(self) -> Context:
        _ask("cuDevicePrimaryCtxRetain", self._number)
        return Context()


class Stream:
    """A queue of work."""

    def __init__(self, flags: int = 0) -> None:
        self.handle = _ask("cuStreamCreate", flags)

    def synchronize(self) -> Stream:
        _do("cuStreamSynchronize", self.handle)
        return self

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            _do("cuStreamDestroy_v2", self.handle)


class DeviceAllocation:
    """Memory on the GPU, freed with the object."""

    def __init__(self, address: int) -> None:
        self._address = address

    def __int__(self) -> int:
        return self._address

    __index__ = __int__

    def free(self) -> None:
        if not self._address:
            raise LogicError("device_allocation::free failed: invalid resource handle")
        address, self._address = self._address, 0
        _do("cuMemFree_v2", address)

    def __del__(self) -> None:
        if self._address:
            self.free()


class PagelockedHostAllocation:
    """Pinned memory, freed with the object; the base of an array."""

    def __init__(self, address: int, size: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._address = address
        self.__array_interface__ = {"data": (address, False), "shape": shape, "typestr": dtype.str, "version": 3}

    def get_device_pointer(self) -> int:
        return _ask("cuMemHostGetDevicePointer_v2", self._address, 0)

    def free(self) -> None:
        if not self._address:
            raise LogicError("pagelocked_host_allocation::free failed: invalid resource handle")
        address, self._address = self._address, 0
        _do("cuMemFreeHost", address)

    def __del__(self) -> None:
        if self._address:
            self.free()


def init(flags: int = 0) -> None:
    _do("cuInit", flags)


def get_driver_version() -> int:
    return _ask("cuDriverGetVersion", out=ctypes.c_int)


def mem_get_info() -> tuple[int, int]:
    free, total = ctypes.c_uint64(0), ctypes.c_uint64(0)
    _do("cuMemGetInfo_v2", ctypes.addressof(free), ctypes.addressof(total))
    return free.value, total.value


def mem_alloc(arg1: int) -> DeviceAllocation:
    return DeviceAllocation(_ask("cuMemAlloc_v2", arg1))


def pagelocked_empty(shape: tuple[int, ...], dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray[Any, Any]:
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    return np.asarray(PagelockedHostAllocation(_ask("cuMemHostAlloc", size, mem_flags), size, tuple(shape), kind))


def memcpy_htod_async(dest: DeviceAllocation, src: np.ndarray[Any, Any], stream: Stream | None = None) -> None:
    _do("cuMemcpyHtoDAsync_v2", int(dest), _contiguous(src), src.nbytes, stream.handle if stream else 0)


def memcpy_dtoh_async(dest: np.ndarray[Any, Any], src: DeviceAllocation, stream: Stream | None = None) -> None:
    _do("cuMemcpyDtoHAsync_v2", _contiguous(dest), int(src), dest.nbytes, stream.handle if stream else 0)


def _contiguous(array: np.ndarray[Any, Any]) -> int:
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        raise ValueError("ndarray is not contiguous")
    return int(array.ctypes.data)


def install(driver: Driver) -> None:
    """Be pycuda, in this process."""
    global _driver  # noqa: PLW0603 - a module is what pycuda is
    _driver = driver
    package = ModuleType("pycuda")
    package.__dict__["driver"] = sys.modules[__name__]
    sys.modules["pycuda"], sys.modules["pycuda.driver"] = package, sys.modules[__name__]
