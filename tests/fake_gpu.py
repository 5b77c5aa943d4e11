"""A GPU in numpy that holds its callers to the rules of a context.

They are: one thread, nothing before `enter`, everything freed before `leave`; and what is queued on a stream has not
happened before somebody waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cmnas_edge.engine.tensorrt.device import Gpu

ORIN = Gpu("Orin", "8.7", 8, integrated=True, memory_mib=7620, driver="12.6")


class FakeBuffer:
    """Two halves, so that who forgets to copy reads what was there before."""

    def __init__(self, cuda: FakeCuda, shape: tuple[int, ...], dtype: str) -> None:
        self.host = np.zeros(shape, dtype)
        self.device = np.full(shape, 113, dtype)
        self.address = 4096 * (1 + len(cuda.buffers))
        self._cuda = cuda
        cuda.buffers[self.address] = self

    def upload(self, rows: int, stream: FakeStream) -> None:
        self._cuda.inside()
        stream.waiting.append(lambda: self.device.__setitem__(slice(rows), self.host[:rows]))

    def download(self, rows: int, stream: FakeStream) -> None:
        self._cuda.inside()
        stream.waiting.append(lambda: self.host.__setitem__(slice(rows), self.device[:rows]))

    def free(self) -> None:
        self._cuda.inside()
        self._cuda.events.append("free buffer")
        del self._cuda.buffers[self.address]


@dataclass
class FakeStream:
    """What was queued; it happens when somebody waits."""

    handle: int = 77
    waiting: list[Callable[[], None]] = field(default_factory=list)


class FakeCuda:
    """A `cmnas_edge.engine.tensorrt.cuda.Cuda`; see the module."""

    def __init__(self, gpu: Gpu = ORIN) -> None:
        self._gpu = gpu
        self.thread: int | None = None
        self.buffers: dict[int, FakeBuffer] = {}
        self.streams: dict[int, FakeStream] = {}
        self.events: list[str] = []
        self.broken = ""        # what the next wait for a stream fails with

    def gpu(self) -> Gpu:
        return self._gpu

    def inside(self) -> None:
        assert self.thread == threading.get_ident(), "a context belongs to the thread it was entered in"

    def enter(self) -> None:
        assert self.thread is None, "entered twice"
        self.thread = threading.get_ident()

    def leave(self) -> None:
        self.inside()
        assert not self.buffers, "memory outlives its context"
        self.thread = None
        self.events.append("leave")

    def stream(self) -> FakeStream:
        self.inside()
        stream = FakeStream(77 + len(self.streams))
        self.streams[stream.handle] = stream
        return stream

    def handle(self, stream: FakeStream) -> int:
        return stream.handle

    def synchronize(self, stream: FakeStream) -> None:
        self.inside()
        if self.broken:
            raise RuntimeError(self.broken)
        while stream.waiting:
            stream.waiting.pop(0)()

    def buffer(self, shape: tuple[int, ...], dtype: str) -> FakeBuffer:
        self.inside()
        return FakeBuffer(self, shape, dtype)

    def memory(self) -> tuple[int, int]:
        self.inside()
        return 4 << 30, 8 << 30
