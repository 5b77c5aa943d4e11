"""What the driver does behind `libcuda.cpp`: one GPU made of host memory, and a stack of contexts per thread."""

from __future__ import annotations

import ctypes
import threading
import traceback
from pathlib import Path

from tests.tensorrt.gpu import Gpu

LISTENER = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_char_p, *[ctypes.c_uint64] * 4)
SUCCESS, INVALID_VALUE, NO_MEMORY, NO_DEVICE, INVALID_CONTEXT, INVALID_HANDLE, UNSUPPORTED = 0, 1, 2, 100, 201, 400, 801
DEADLY = (700, 719)  # an illegal address, a failed launch: no work goes on after these
CONTEXT = 0xC0DE
DEVICEMAP = 2
# CUdevice_attribute: multiprocessors, integrated, can map host memory, unified addressing, capability.
ATTRIBUTES = {16: 8, 19: 1, 41: 1, 75: 8, 76: 7}
INTEGRATED = 18
NAME = b"Orin"


class Driver:
    """Answers each function of the driver by its name.

    Attributes:
        gpu: The device.
        taught: Codes that functions answer instead of doing what they do.
        calls: The functions called.
    """

    def __init__(self, path: Path, gpu: Gpu) -> None:
        self.native = ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)  # global, for a pycuda linked without its name
        self.gpu = gpu
        self.taught: dict[str, int] = {}
        self.calls: list[str] = []
        self._thread = threading.local()  # has how many contexts it has pushed
        self.retained = 0
        self._listener = LISTENER(self._called)
        self.native.fake_listen_cuda(self._listener)

    def leave(self) -> None:
        """Listen no more: from now on there is no GPU."""
        self.native.fake_listen_cuda(None)

    def _called(self, name: bytes, a: int, b: int, c: int, d: int) -> int:
        try:
            return self.answer(name.decode(), a, b, c, d)
        except BaseException:
            self.gpu.broken.append(traceback.format_exc())
            return UNSUPPORTED

    def answer(self, name: str, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
        """What a function does."""
        self.calls.append(name)
        if name in self.taught:
            if self.taught[name] in DEADLY:
                self.gpu.die()
            return self.taught[name]
        if name in ("cuInit", "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2", "cuCtxPushCurrent_v2",
                    "cuCtxPopCurrent_v2") or name.startswith(("cuDevice", "cuDriver")):
            return self._without_context(name, a, b, c)
        if not self._pushed():
            return INVALID_CONTEXT
        return self._in_context(name, a, b, c, d)

    def _pushed(self) -> int:
        return int(getattr(self._thread, "pushed", 0))

    def _without_context(self, name: str, a: int, b: int, c: int) -> int:
        if name == "cuDeviceGetCount":
            _int(a, 1)
        elif name == "cuDeviceGet":
            _int(a, b)
        elif name == "cuDeviceGetName":
            ctypes.memmove(a, NAME + b"\0", len(NAME) + 1)
        elif name == "cuDeviceComputeCapability":
            _int(a, 8), _int(b, 7)
        elif name == "cuDeviceTotalMem_v2":
            _word(a, 8 << 30)
        elif name == "cuDeviceGetAttribute":
            _int(a, int(self.gpu.integrated) if b == INTEGRATED else ATTRIBUTES[b])
        elif name == "cuDriverGetVersion":
            _int(a, 12060)
        elif name == "cuDevicePrimaryCtxRetain":
            self.retained += 1
            _word(a, CONTEXT)
        elif name == "cuDevicePrimaryCtxRelease_v2":
            self.retained -= 1
        elif name == "cuCtxPushCurrent_v2":
            self._thread.pushed = self._pushed() + 1
        elif name == "cuCtxPopCurrent_v2":
            if not self._pushed():
                return INVALID_CONTEXT
            self._thread.pushed -= 1
            _word(a, CONTEXT)
        elif name != "cuInit":
            return UNSUPPORTED
        return SUCCESS

    def _in_context(self, name: str, a: int, b: int, c: int, d: int) -> int:
        gpu = self.gpu
        if name in ("cuMemAlloc_v2", "cuMemHostAlloc"):
            host = name == "cuMemHostAlloc"
            _word(a, gpu.allocate(b, pinned=host, mapped=host and bool(c & DEVICEMAP)))
        elif name in ("cuMemFree_v2", "cuMemFreeHost"):
            gpu.free(a)
        elif name == "cuMemHostGetDevicePointer_v2":
            if b not in gpu.mapped:
                return INVALID_VALUE
            _word(a, b)
        elif name == "cuMemGetInfo_v2":
            _word(a, 6 << 30), _word(b, 8 << 30)
        elif name in ("cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"):
            if d not in gpu.streams:
                return INVALID_HANDLE
            gpu.copy(a, b, c, d)
        elif name == "cuStreamCreate":
            _word(a, gpu.stream())
        elif name == "cuStreamDestroy_v2":
            gpu.end(a)
        elif name == "cuStreamSynchronize":
            gpu.wait(a)
        elif name == "cuCtxSynchronize":
            for handle in gpu.streams:
                gpu.wait(handle)
        elif name == "cuCtxGetDevice":
            _int(a, 0)
        elif name == "cuCtxGetApiVersion":
            _int(b, 12060)
        else:
            return UNSUPPORTED
        return SUCCESS


def _int(address: int, value: int) -> None:
    ctypes.c_int.from_address(address).value = value


def _word(address: int, value: int) -> None:
    ctypes.c_uint64.from_address(address).value = value
