"""A real RTSP server for tests: started, told what to do, killed; and raw ones that misbehave.

On Debian: ``apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 python3-gst-1.0
gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav``.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cmnas_edge.camera.frames.gstreamer import look
from cmnas_edge.errors import DeviceError

SCRIPT = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"     # Debian's GStreamer bindings belong to Debian's Python
U8 = npt.NDArray[np.uint8]


@functools.cache
def missing() -> str | None:
    """What this machine lacks for a real RTSP server, or None."""
    try:
        done = subprocess.run([PYTHON, str(SCRIPT), "--probe"], capture_output=True, text=True, check=False, timeout=60)
    except OSError as error:
        return f"{PYTHON}: {error.strerror}"
    return (done.stderr.strip().splitlines() or ["?"])[-1] if done.returncode else None


@functools.cache
def lacking() -> str | None:
    """What this machine lacks for reading with GStreamer, or None."""
    try:
        look("probe", "videotestsrc ! jpegenc ! decodebin")
    except DeviceError as error:
        return str(error)
    return None


# Looked for when the first test that needs them begins, not when tests are collected.
needs_gstreamer = pytest.mark.usefixtures("gstreamer_here")
needs_rtsp = pytest.mark.usefixtures("rtsp_here")


class RtspServer:
    """Debian's GStreamer RTSP server in a process of its own; its end is this context's."""

    def __init__(self, *more: str, port: int = 0) -> None:
        """Start it.

        Args:
            more: Arguments of the script.
            port: Where; 0 takes a free one.
        """
        self._process = subprocess.Popen([PYTHON, str(SCRIPT), "--port", str(port), *more], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def url(self, credentials: str = "", path: str = "/live") -> str:
        """Where the film is shown."""
        return f"rtsp://{credentials}127.0.0.1:{self.port}{path}"

    def say(self, order: str) -> None:
        """Tell it what to do; see the script."""
        assert self._process.stdin
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()

    def freeze(self) -> None:
        """Let its machine hang: connections stay, and nothing comes."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Pull its plug."""
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def encoded(path: Path, width: int, height: int, count: int) -> Path:
    """Write so many pictures of H.264 into a file, coded as those that the server shows."""
    subprocess.run(["gst-launch-1.0", "-q", *(
        f"videotestsrc num-buffers={count} ! video/x-raw,format=I420,width={width},height={height},framerate=25/1 ! "
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=500 ! video/x-h264,profile=baseline ! "
        f"h264parse ! matroskamux ! filesink location={path}").split()],
        check=True, capture_output=True, timeout=60)
    return path


def made_at(image: U8) -> float:
    """When the server made a picture: seconds of the monotonic clock, which on one machine is one for all."""
    bits = image.mean((0, 2)).reshape(32, -1).mean(1) > 125
    return int((bits.astype(np.int64) << np.arange(32)).sum()) / 1000


@contextlib.contextmanager
def peer(answer: Callable[[socket.socket], object]) -> Iterator[tuple[int, list[bytes]]]:
    """Listen on a port, and let a function answer each connection; gives the port and what was asked first."""
    asked: list[bytes] = []

    def meet(one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.settimeout(10)
            asked.append(one.recv(4096))
            answer(one)

    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.append(server.accept()[0])
                    threading.Thread(target=meet, args=(held[-1],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for one in held:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
