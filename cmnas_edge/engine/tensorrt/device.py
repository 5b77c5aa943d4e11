"""What a plan depends on: the GPU, the platform, and the versions that made or run it.

`missing` asks the driver itself, through ctypes: without a GPU that answers with a number, where
TensorRT's ``Runtime`` hands out an object whose every use is a segmentation fault.
"""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Any

import msgspec

__all__ = ["OLDEST", "Device", "Gpu", "device", "missing", "power_mode"]

OLDEST = (10, 3)    # of TensorRT: JetPack 6's
_L4T = Path("/etc/nv_tegra_release")
_PATIENCE_S = 5.0
Line = Annotated[str, msgspec.Meta(max_length=200)]
Size = Annotated[int, msgspec.Meta(ge=0)]


class Gpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The GPU and its driver.

    Attributes:
        name: As the driver calls it; every Jetson Orin is called ``Orin``, so it says little alone.
        capability: Compute capability, such as ``8.7``.
        sm_count: Multiprocessors; they tell an Orin NX from an AGX Orin.
        integrated: Shares its memory with the processor, as on a Jetson.
        memory_mib: All of its memory.
        driver: Version of CUDA the driver can run, such as ``12.6``.
    """

    name: Line
    capability: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,3}\.[0-9]{1,2}\Z",
                                            description="a compute capability such as 8.7")]
    sm_count: Size
    integrated: bool
    memory_mib: Size
    driver: Line


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a plan was made, or is to run.

    Attributes:
        platform: Operating system and processor, such as ``linux-aarch64``.
        tensorrt: Its version, as long as it gives it.
        gpu: The GPU and its driver.
        l4t: NVIDIA's release of a Jetson, else empty.
        power_mode: What ``nvpmodel`` says, else empty; plans run in any, times hold for one.
    """

    platform: Line
    tensorrt: Line
    gpu: Gpu
    l4t: Line = ""
    power_mode: Line = ""

    @property
    def key(self) -> str:
        """What tells devices apart that cannot run each other's plans, fit for a file name."""
        words = (self.gpu.name, f"sm{self.gpu.capability}x{self.gpu.sm_count}", self.platform, f"trt{self.tensorrt}")
        return _slug("-".join(words))

    @property
    def timing_key(self) -> str:
        """What tells devices apart whose kernels take other times: the power mode, too."""
        return _slug(f"{self.key}-{self.power_mode}")

    def __str__(self) -> str:
        """One line for people."""
        gpu = self.gpu
        shared = " shared with the processor" if gpu.integrated else ""
        words = [f"{gpu.name}, {gpu.sm_count} multiprocessors of compute capability {gpu.capability}",
                 f"{gpu.memory_mib} MiB{shared}", self.platform, f"TensorRT {self.tensorrt}", f"CUDA {gpu.driver}"]
        words += [f"L4T {self.l4t}"] if self.l4t else []
        return ", ".join(words + ([f"power mode {self.power_mode}"] if self.power_mode else []))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def missing() -> str | None:
    """Say what this machine lacks for TensorRT and which step brings it; None: nothing.

    Quick where there is no GPU, and safe: nothing of TensorRT is touched before the driver has counted one.
    """
    if reason := _no_gpu():
        return reason
    if importlib.util.find_spec("tensorrt") is None:
        return ("the Python package tensorrt; on a Jetson JetPack brings it (make the environment with "
                "--system-site-packages), elsewhere: pip install 'cmnas-edge[tensorrt]'")
    try:
        import pycuda.driver  # noqa: F401, PLC0415
    except ImportError as error:
        return f"the Python package pycuda ({error}); install it with: pip install pycuda"
    try:
        import tensorrt  # noqa: PLC0415
    except ImportError as error:
        return f"a TensorRT whose libraries load ({error}); install it again, all of one version"
    return too_old(str(tensorrt.__version__))


def too_old(version: str) -> str | None:
    """Say so if a version of TensorRT is older than what graphs with types in them need."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers >= OLDEST:
        return None
    return (f"TensorRT {'.'.join(map(str, OLDEST))} or newer: this is {version}; install a newer one (JetPack 6 or "
            "newer on a Jetson)")


def _no_gpu() -> str | None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ("an NVIDIA driver (libcuda.so.1); install it, or JetPack on a Jetson; without such a GPU use another "
                "engine")
    count = ctypes.c_int(0)
    if code := driver.cuInit(0):
        return (f"a GPU that the driver can start (cuInit answers {code}); look at nvidia-smi or dmesg, restart after "
                "a driver's update, and give a container its GPU")
    if (code := driver.cuDeviceGetCount(ctypes.byref(count))) or not count.value:
        return (f"a GPU that this process may see (the driver counts {count.value}, code {code}); correct "
                "CUDA_VISIBLE_DEVICES or give the container its GPU")
    return None


def device(trt: Any, gpu: Gpu) -> Device:
    """This machine, with a GPU that a `cmnas_edge.engine.tensorrt.cuda.Cuda` described."""
    return Device(f"{platform.system()}-{platform.machine()}".lower(), str(trt.__version__), gpu, _l4t(), power_mode())


def _l4t() -> str:
    try:
        text = _L4T.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text)
    return f"R{found[1]}.{found[2]}" if found else ""


def power_mode() -> str:
    """The power mode of a Jetson by its ``nvpmodel``; empty where there is none."""
    if (tool := shutil.which("nvpmodel")) is None:
        return ""
    try:
        ran = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"NV Power Mode:\s*(\S+)", ran.stdout)
    return found[1] if found else ""
