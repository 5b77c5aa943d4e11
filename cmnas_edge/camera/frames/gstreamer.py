"""Live cameras read by GStreamer: hardware decoders, cameras on a ribbon, and the sender's own clock.

It runs in a child process per camera (`gst_child`). ``gi`` is built for the system's
Python and this daemon lives in an environment of its own. A decoder driver that hangs or crashes, as no
timeout of ours could end, takes one camera along and not all; software decoding needs this least (in one
process 60 connections left 80 MiB at 80 MiB), and hardware was not measured. And a child cannot leave
anything behind when it ends. The price is two copies of each picture through a pipe, and half a second to
start.

Only the newest picture is ever on its way: the child's sink holds one, drops what it replaces, and gives it
away when asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.frames.capture import Picture
from cmnas_edge.camera.frames.gst_child import HEADER, MESSAGE, PICTURE
from cmnas_edge.errors import CmnasError, ConfigError, DeviceError, SourceLost

__all__ = ["PRESETS", "Child", "describe", "interpreter", "look", "properties"]

U8 = npt.NDArray[np.uint8]
_CHILD = Path(__file__).with_name("gst_child.py")
_SYSTEM = "/usr/bin/python3"
_PIPE_BYTES = 1 << 20           # what Linux lets anyone ask for
_SET_PIPE_SIZE = 1031           # F_SETPIPE_SZ, which Python names from 3.10 on Linux only
_MOST_SIDE = 16384
_LOOK_S = 30.0                  # GStreamer's first start on a machine looks at all its plug-ins
_PARTING_S = 2.0
_LATENCY_MS = 100               # for packets that come in another order; over TCP none do, and nothing waits
_TO_MEMORY = "nvvidconv ! video/x-raw,format=BGRx"
_RTSP = f"rtspsrc name=source protocols=tcp latency={_LATENCY_MS} drop-on-latency=true ! application/x-rtp,media=video"

# From the source to decoded video, by the preset's name and the location's scheme; {size} is a caps filter's
# width and height. Those of Jetson follow NVIDIA's accelerated GStreamer guide (L4T R36) and need its elements.
PRESETS: dict[str, dict[str, str]] = {
    "software": {
        "rtsp": f"{_RTSP} ! decodebin",
        "http": "souphttpsrc name=source is-live=true do-timestamp=true ! decodebin",
        "device": "v4l2src name=source ! capsfilter caps=\"video/x-raw{size};image/jpeg{size}\" ! decodebin",
    },
    "jetson": {
        "rtsp": f"{_RTSP} ! rtph264depay ! h264parse ! nvv4l2decoder enable-max-performance=1 ! {_TO_MEMORY}",
        "device": "v4l2src name=source ! image/jpeg{size} ! nvv4l2decoder mjpeg=1 enable-max-performance=1 ! "
                  f"{_TO_MEMORY}",
        "csi": f"nvarguscamerasrc name=source ! video/x-raw(memory:NVMM){{size}} ! {_TO_MEMORY}",
    },
    "jetson-h265": {
        "rtsp": f"{_RTSP} ! rtph265depay ! h265parse ! nvv4l2decoder enable-max-performance=1 ! {_TO_MEMORY}",
    },
}


def describe(pipeline: str, location: str, size: tuple[int, int] | None) -> str:
    """Put together what is to be run: a preset for this kind of location, or the operator's own words.

    Raises:
        ConfigError: The preset has nothing for such a location.
    """
    if pipeline not in PRESETS:
        return pipeline
    scheme = _scheme(location)
    if scheme not in PRESETS[pipeline]:
        known = ", ".join(name for name, kinds in PRESETS.items() if scheme in kinds) or "a description of your own"
        raise ConfigError(f"source.pipeline: expected one that reads {scheme}, found \"{pipeline}\"; write {known}")
    return PRESETS[pipeline][scheme].replace("{size}", f",width={size[0]},height={size[1]}" if size else "")


def properties(location: str) -> dict[str, Any]:
    """What the element called ``source`` is told, as far as it has such properties.

    Raises:
        ConfigError: The location names a camera on a ribbon by something else than its number.
    """
    scheme = _scheme(location)
    if scheme == "device":
        return {"device": location}
    if scheme == "csi":
        number = urlsplit(location).netloc
        if not (number.isascii() and number.isdigit() and len(number) < 3):
            raise ConfigError("source.location: expected the number of a camera, as in csi://0, found another word; "
                              "count from 0")
        return {"sensor-id": int(number)}
    return {"location": location, "add-reference-timestamp-meta": True}  # the latter from GStreamer 1.22 on


def _scheme(location: str) -> str:
    scheme = "device" if location.startswith("/dev/") else urlsplit(location).scheme
    return {"rtsps": "rtsp", "https": "http"}.get(scheme, scheme)


@functools.cache
def interpreter() -> str:
    """Find a Python that has ``gi``: this one, or else the system's."""
    return sys.executable if importlib.util.find_spec("gi") or not Path(_SYSTEM).exists() else _SYSTEM


@functools.cache
def look(name: str, description: str) -> None:
    """See whether a pipeline could be made here, without touching a camera.

    Raises:
        ConfigError: GStreamer does not understand it, or pictures could leave by it.
        DeviceError: This machine has no GStreamer for Python, or lacks an element.
    """
    with Child(name, description, {}, _LOOK_S, look_only=True) as child:
        child.read()


class Child:
    """GStreamer at work in a process of its own, as a capture."""

    def __init__(self, name: str, description: str, told: dict[str, Any], patience_s: float, *,
                 why: Callable[[], str] | None = None, look_only: bool = False, python: str | None = None) -> None:
        """Start it.

        Args:
            name: What messages call the camera, without credentials.
            description: From source to decoded video, as for ``gst-launch-1.0``.
            told: Properties for the element called ``source``.
            patience_s: A read that takes longer is the end.
            why: Finds out why there was no first picture, better than GStreamer tells it.
            look_only: Make the pipeline, don't run it.
            python: What runs it, instead of the one that was found.
        """
        self._name = name
        self._patience_s = patience_s
        self._why = why
        self._begun = False
        try:
            # In a session of its own, so that Ctrl-C ends it by way of this daemon, with a goodbye to the camera.
            self._process = subprocess.Popen(
                [python or interpreter(), "-I", str(_CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, bufsize=0, start_new_session=True)
        except OSError as error:
            raise SourceLost(f"{name}: expected a process for GStreamer, found none ({error.strerror}); free some "
                             "memory") from None
        assert self._process.stdin
        assert self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout
        with contextlib.suppress(OSError):  # less of it only means more calls
            fcntl.fcntl(self._output, _SET_PIPE_SIZE, _PIPE_BYTES)
        order = {"pipeline": description, "properties": told, "look_only": look_only}
        self._say(json.dumps(order).encode() + b"\n")

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def read(self) -> Picture | None:
        """Wait for the next picture.

        Raises:
            SourceLost: The stream cannot be had, or no more.
            ConfigError: GStreamer does not understand the pipeline.
            DeviceError: Something is missing on this machine.
        """
        self._say(b"n")
        head = bytearray(HEADER.size)
        if not self._fill(memoryview(head)):
            if self._process.poll() is None:
                if self._why is not None:
                    raise SourceLost(f"{self._name}: expected a stream, found {self._why()}")
                return None
            raise SourceLost(f"{self._name}: expected pictures from GStreamer, found that its process died (code "
                             f"{self._process.wait()}); see whether a decoder's driver is at fault")
        kind, width, height, depth, stride, missed_count, sent_at = HEADER.unpack(head)
        if kind == MESSAGE:
            content = bytearray(width)
            self._fill(memoryview(content))
            self._heed(**json.loads(bytes(content)))
            return None
        assert kind == PICTURE
        if max(width, height) > _MOST_SIDE:     # the camera's word, which must not end the others
            raise SourceLost(f"{self._name}: expected pictures of at most {_MOST_SIDE} pixels a side, found {width} x "
                             f"{height}; set the camera to a smaller size")
        rows = np.empty((height, stride), np.uint8)
        if not self._fill(rows.data.cast("B")):
            return None
        self._begun, self._why = True, None
        return Picture(_as_bgr(rows, width, depth), None if math.isnan(sent_at) else sent_at, missed_count)

    def hurry(self) -> None:
        """Let the child end, and with it a read that waits."""
        self._process.terminate()

    def release(self) -> None:
        """Ask it to end, and see to it."""
        self._input.close()  # which is the order
        self._output.close()
        try:
            self._process.wait(_PARTING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _say(self, order: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # it ended; reading tells why
            self._input.write(order)

    def _fill(self, place: memoryview) -> bool:
        """Read as many bytes as there is place for; False when they don't come in time, or never will."""
        deadline = time.monotonic() + self._patience_s
        readable = select.poll()
        readable.register(self._output, select.POLLIN)
        while place:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not readable.poll(left_s * 1000):
                return False
            count = os.readv(self._output.fileno(), [place])
            if not count:
                self._process.wait()
                return False
            place = place[count:]
        return True

    def _heed(self, kind: str, text: str) -> None:
        failure: CmnasError
        if kind == "right":
            return
        if kind == "wrong":
            failure = ConfigError(f"{self._name}: expected in source.pipeline a description that ends in decoded "
                                  f"video, found {text}; try it with gst-launch-1.0")
        elif kind == "missing":
            failure = DeviceError(f"{self._name}: expected GStreamer for Python and its elements, found: {text}; "
                                  "install python3-gi, gir1.2-gstreamer-1.0 and the gstreamer1.0 plug-ins (on a "
                                  "Jetson those of JetPack), or leave out source.pipeline")
        elif kind == "undecodable":
            failure = SourceLost(f"{self._name}: expected video that GStreamer has plug-ins for, found that it lacks "
                                 f"{text}; set the camera to H.264 or H.265, or install the package with that "
                                 "plug-in (many are in gstreamer1.0-libav and gstreamer1.0-plugins-bad)")
        elif self._why is not None:
            failure = SourceLost(f"{self._name}: expected a stream, found {self._why()}")
        elif self._begun:
            failure = SourceLost(f"{self._name}: expected more pictures, found \"{text}\"; check the camera and the "
                                 "network")
        else:
            failure = SourceLost(f"{self._name}: expected video, found \"{text}\"; check the address, the "
                                 "credentials and the camera")
        raise failure


def _as_bgr(rows: U8, width: int, depth: int) -> U8:
    image = rows[:, :width * depth].reshape(len(rows), width, depth)
    if depth == 4:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2BGR), np.uint8)
    return np.ascontiguousarray(image)
