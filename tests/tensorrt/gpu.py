"""A device made of host memory: what is copied to it and computed on it happens when somebody waits, not before.

Memory is poisoned when it is allocated, and work on a stream only runs when the stream is waited for. So a result
that is read too early is poison, not by luck what was asked for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field

POISON = 0xFF  # four of them are a NaN


@dataclass
class Gpu:
    """Addresses, streams, and the rules that were broken."""

    broken: list[str] = field(default_factory=list)
    memory: dict[int, ctypes.Array[ctypes.c_char]] = field(default_factory=dict)
    pinned: set[int] = field(default_factory=set)
    mapped: set[int] = field(default_factory=set)
    integrated: bool = False
    streams: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    _next: int = 0x5EED0000

    def allocate(self, size: int, *, pinned: bool = False, mapped: bool = False) -> int:
        """Poisoned memory; its address."""
        buffer = ctypes.create_string_buffer(size)
        ctypes.memset(buffer, POISON, size)
        address = ctypes.addressof(buffer)
        self.memory[address] = buffer
        if pinned:
            self.pinned.add(address)
        if mapped:
            self.mapped.add(address)
        self.log.append(f"allocate {'pinned ' if pinned else ''}{size}")
        return address

    def free(self, address: int) -> None:
        """Memory that queued work may still need is not free to go."""
        waiting = [handle for handle, work in self.streams.items() if work]
        self.rule(not waiting, f"memory was freed while work waits on streams {waiting}")
        self.rule(self.memory.pop(address, None) is not None, f"{address:#x} was freed, but is not allocated")
        self.pinned.discard(address)
        self.mapped.discard(address)
        self.log.append("free")

    def reaches(self, address: int, size: int) -> bool:
        """Whether one allocation that the GPU can use covers these bytes."""
        return any(start <= address and address + size <= start + len(buffer)
                   and (start not in self.pinned or start in self.mapped) for start, buffer in self.memory.items())

    def copy(self, target: int, source: int, size: int, handle: int) -> None:
        """Queue a copy; one half of it lies in pinned memory, or it would wait."""
        def work() -> None:
            ctypes.memmove(target, source, size)

        held = [address for address in (target, source)
                if any(start <= address < start + len(self.memory[start]) for start in self.pinned)]
        self.rule(len(held) == 1, "a copy between pageable memory and the GPU is no asynchronous copy")
        self.log.append(f"copy {size}")
        self.enqueue(handle, work)

    def stream(self) -> int:
        """A new stream's handle."""
        self._next += 0x10
        self.streams[self._next] = []
        self.log.append("stream")
        return self._next

    def end(self, handle: int) -> None:
        """Destroy a stream."""
        work = self.streams.pop(handle, None)
        self.rule(work == [], f"stream {handle:#x} was destroyed with {work} waiting")
        self.log.append("end stream")

    def enqueue(self, handle: int, work: Callable[[], None]) -> None:
        """Do something when the stream is waited for."""
        if self.rule(handle in self.streams, f"work on stream {handle:#x}, which nobody made"):
            self.streams[handle].append(work)
        else:
            work()

    def wait(self, handle: int) -> None:
        """Do all the stream was given."""
        self.log.append("wait")
        work, self.streams[handle] = self.streams[handle], []
        for one in work:
            one()

    def die(self) -> None:
        """Give up what was queued."""
        for work in self.streams.values():
            work.clear()

    def clear(self) -> None:
        """Begin anew."""
        for kept in (self.broken, self.memory, self.pinned, self.mapped, self.streams, self.log):
            kept.clear()
        self.integrated = False

    def rule(self, kept: bool, broken: str) -> bool:
        """Note a rule that was broken."""
        if not kept:
            self.broken.append(broken)
        return kept
