"""A real Milvus, of the package ``milvus``, in a network of its own: it binds every interface, so it gets none of ours.

The server lives in a network namespace that has nothing but loopback. A thread of this process that enters the
namespace connects to it, and hands the bytes on to and from a port on this side's loopback.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Collection
from pathlib import Path

from cmnas_edge.collector.store import milvus_collection
from cmnas_edge.collector.store.milvus import MilvusStore

DIMENSION = 16

_LAUNCHER = r"""
import fcntl, socket, struct, sys
with socket.socket() as any_socket:     # loopback is down in a new namespace
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))    # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
from milvus import MilvusServer, MilvusServerConfig
server = MilvusServer(MilvusServerConfig(data_dir=sys.argv[1]))
server.start()
print(server.server_proc.pid, server.listen_port, flush=True)
sys.stdin.read()    # until whoever started this is gone
server.server_proc.kill()
"""
_NEW_NETWORK = 0x40000000   # CLONE_NEWNET


def missing() -> str:
    """Say what a real server lacks here, or nothing."""
    if importlib.util.find_spec("pymilvus") is None:
        return "no real Milvus: the package pymilvus is not installed here (make milvus)"
    if importlib.util.find_spec("milvus") is None:
        return "no real Milvus: the package milvus 2.3.5 (x86-64 alone) is not installed here (make milvus)"
    tried = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    return "no real Milvus: it binds every interface, and this user may make it no network" if tried.returncode else ""


class Server:
    """A Milvus on one data folder, as often as it is started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._launcher: subprocess.Popen[str] | None = None
        self._pid = self._port = 0
        self._open: set[socket.socket] = set()
        self._reachable = False
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def start(self) -> None:
        """Start it on what it has on the disk, and wait until it is ready."""
        self._launcher = subprocess.Popen(
            ["unshare", "-n", sys.executable, "-c", _LAUNCHER, str(self._folder)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._launcher.stdout is not None
        words = self._launcher.stdout.readline().split()
        assert len(words) == 2, f"Milvus did not start; see {self._folder}/logs"
        self._pid, self._port = map(int, words)
        self._reachable = True

    def kill(self) -> None:
        """End it as a power cut would end a process, whatever it is asked just now."""
        os.kill(self._pid, signal.SIGKILL)
        self.cut()
        self._gone()

    def cut(self) -> None:
        """Make it unreachable while it runs on."""
        self._reachable = False
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Make it reachable again."""
        self._reachable = True

    def close(self) -> None:
        """End it for good."""
        self.cut()
        self._gone()
        self._listener.close()

    def _gone(self) -> None:
        if self._launcher is not None:
            assert self._launcher.stdin is not None
            assert self._launcher.stdout is not None
            self._launcher.stdin.close()
            self._launcher.wait(30)
            self._launcher.stdout.close()
            self._launcher = None

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(near,), daemon=True).start()

    def _relay(self, near: socket.socket) -> None:
        """Connect from inside its network; the thread that does so is there for good, and ends."""
        with contextlib.suppress(OSError), near:
            if not self._reachable:
                return
            with Path(f"/proc/{self._pid}/ns/net").open() as there:
                if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), _NEW_NETWORK):
                    raise OSError(ctypes.get_errno(), "setns")
            with socket.create_connection(("127.0.0.1", self._port), 5) as far:
                far.settimeout(None)
                self._open |= {near, far}
                back = threading.Thread(target=_copy, args=(far, near), daemon=True)
                back.start()
                _copy(near, far)
                back.join()
                self._open -= {near, far}


class Milvus:
    """A real one, and the stores that a test opened on it."""

    def __init__(self, server: Server) -> None:
        self.server, self.now = server, 0.0
        self.opened: list[MilvusStore] = []

    def store(self, name: str = "", *, owner: str = "us", dimension: int = DIMENSION, start: bool = True,
              fingerprint: bytes = bytes(32), also: Collection[bytes] = ()) -> MilvusStore:
        """A store on a collection of this name, or of one of its own."""
        there = milvus_collection.Server(self.server.address, collection=name or f"t{secrets.token_hex(8)}")
        store = MilvusStore(there, owner=owner, fingerprint=fingerprint, dimension=dimension, also=also,
                            clock=lambda: self.now, again_s=0.05)
        self.opened.append(store)
        if start:
            store.start()
        return store

    def settle(self, store: MilvusStore) -> None:
        """Have everything there, and seen there, and nothing in memory."""
        for _ in range(30):     # it may look through again what is there, and count from then
            with store._changed:
                assert store._changed.wait_for(lambda: not store.trouble and store.backlog == 0, 90), store.trouble
            assert store._there.count() == len(store)       # waits until what was written until now is seen
            self.now += 11
            with store._changed:
                store._changed.notify_all()
                if store._changed.wait_for(lambda: len(store._recent) == 0, 2):
                    return
        raise AssertionError("memory still holds some")


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
