"""What any device can be asked: Python, how it reads cameras, what runs networks, its clock and its cache."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from cmnas_edge import __version__
from cmnas_edge.camera.doctor.finding import Finding, fault, fine, note
from cmnas_edge.camera.frames.gstreamer import interpreter
from cmnas_edge.engine import onnx_runtime, openvino
from cmnas_edge.engine.tensorrt import device
from cmnas_edge.engine.tensorrt.cache import cache_folder, check_writable
from cmnas_edge.errors import DeviceError

__all__ = ["cache", "clock", "engines", "python", "reading"]

_PYTHONS = ((3, 10), (3, 12))
_UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)
_STATUS_WORD = 5        # of struct timex: modes, offset, freq, maxerror and esterror come first, a word each
_TIMEX_WORDS = 64
_GSTREAMER = """
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
print(Gst.version_string())
"""


def python(version: tuple[int, int] = sys.version_info[:2]) -> Iterator[Finding]:
    """This project's version and Python's."""
    found = f"cmnas-edge {__version__} on Python {platform.python_version()}, {platform.platform()}"
    if _PYTHONS[0] <= version <= _PYTHONS[1]:
        yield fine("python", found)
    else:
        first, last = (".".join(map(str, one)) for one in _PYTHONS)
        yield note("python", f"{found}; tested are {first} to {last}", f"use Python {first} to {last}")


def reading() -> Iterator[Finding]:
    """The libraries that decode cameras."""
    registry = cv2.videoio_registry
    backends = {registry.getBackendName(each) for each in registry.getBackends() if registry.hasBackend(each)}
    found = f"OpenCV {cv2.__version__} with {', '.join(sorted(backends))}"
    if "FFMPEG" in backends:
        yield fine("opencv", found)
    else:
        yield fault("opencv", DeviceError(f"{found}: expected FFMPEG among them, which reads RTSP and files, found "
                                          "none; install opencv-python-headless from the package index"))
    try:
        ran = subprocess.run([interpreter(), "-c", _GSTREAMER], capture_output=True, text=True, timeout=30, check=False)
        version = ran.stdout.strip() if ran.returncode == 0 else ""
    except (OSError, subprocess.TimeoutExpired):
        version = ""
    if version:
        yield fine("gstreamer", version)
    else:
        yield note("gstreamer", "not here; needed for csi:// cameras, hardware decoding and the sender's time",
                   "install python3-gi, gir1.2-gst-plugins-base-1.0 and gstreamer1.0-plugins-good, -bad and -libav")


def engines() -> Iterator[Finding]:
    """What could run networks, and what each lacks."""
    lacks: dict[str, Callable[[], str | None]] = {
        "onnxruntime": onnx_runtime.missing, "openvino": openvino.missing, "tensorrt": device.missing}
    for name, missing in lacks.items():
        reason = missing()
        if reason is None:
            yield fine(f"engine {name}", "can be used")
        else:
            lack, _, fix = reason.partition("; ")
            yield note(f"engine {name}", f"needs {lack}", fix)
    if shutil.which("nvidia-smi") or Path("/etc/nv_tegra_release").exists():
        for package in ("tensorrt", "pycuda"):
            if importlib.util.find_spec(package) is None:
                yield note(package, "not here, though this machine has a GPU of NVIDIA's",
                           "pip install 'cmnas-edge[tensorrt]'; on a Jetson JetPack brings tensorrt")


def cache() -> Iterator[Finding]:
    """Where engines and races are kept between runs."""
    folder = cache_folder()
    check_writable(folder)
    plans = len(list(folder.rglob("*.plan"))) if folder.is_dir() else 0
    yield fine("engine cache", f"{folder}, {plans} TensorRT plans")


def clock(synchronised: Callable[[], bool | None] | None = None) -> Iterator[Finding]:
    """Whether the kernel believes that its clock follows a time server."""
    held = (synchronised or _synchronised)()
    if held:
        yield fine("clock", "follows a time server")
    elif held is None:
        yield note("clock", "the kernel does not say whether it follows a time server", "look at timedatectl")
    else:
        yield note("clock", "the kernel does not know that it follows a time server; sightings carry its time",
                   "enable systemd-timesyncd or chrony; in a container see to it on the host")


def _synchronised() -> bool | None:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        words = (ctypes.c_long * _TIMEX_WORDS)()    # zeroed: only asks
        if os.name != "posix" or libc.adjtimex(words) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return not words[_STATUS_WORD] & _UNSYNCHRONISED
