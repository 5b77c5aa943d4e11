"""What a proof says of the device it was made on: its processor, versions, memory and heat; nothing of whose it is."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["anonymous", "hottest", "layers", "processor", "resident_mib", "versions"]

_THERMAL = Path("/sys/class/thermal")
_PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "pycuda", "tensorrt")


def layers(text: str) -> dict[str, int]:
    """Count what TensorRT made of a graph: ``{"CaskConvolution Half": 12}``; empty if it is not to be read.

    Its JSON changed with version 11 (``Datatype`` on its own), so both are looked for.
    """
    with suppress(ValueError, TypeError, AttributeError):
        found: Counter[str] = Counter()
        for layer in msgspec.json.decode(text)["Layers"]:
            if isinstance(layer, dict):
                out: dict[str, Any] = next(iter(layer.get("Outputs") or [{}]))
                kind = str(out.get("DataType") or out.get("Datatype") or out.get("Format/Datatype") or "?")
                found[f"{layer.get('LayerType', '?')} {kind}"] += 1
        return dict(found.most_common())
    return {}


def resident_mib() -> float:
    """Memory of this process; 0 where the system does not say."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def hottest() -> float | None:
    """The hottest sensor in degrees Celsius; None where there is none."""
    found = []
    for path in _THERMAL.glob("thermal_zone*/temp"):
        with suppress(OSError, ValueError):
            found.append(int(path.read_text(encoding="ascii")) / 1000)
    return max((value for value in found if 0 < value < 150), default=None)


def processor() -> str:
    """What the processor calls itself."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if named := re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE):
            return named[1].strip()
    return platform.machine()


def versions(tensorrt: str) -> dict[str, str]:
    """The packages that matter here, and TensorRT's own version, where it was asked."""
    found = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    if tensorrt:
        found["tensorrt"] = tensorrt    # JetPack's has no metadata
    return found


def anonymous(text: str) -> str:
    """A message without the folders of whoever ran it."""
    return re.sub(r"(?:/[^/\s'\"();:,]+)+/([^/\s'\"();:,]+)", r".../\1", text)
