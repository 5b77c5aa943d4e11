"""pycuda's signatures, of what the project calls: ``python -m tests.tensorrt.signatures`` writes `pycuda.json`.

Boost.Python keeps them in docstrings: ``memcpy_htod_async( (object)dest, (object)src [, (object)stream=None])``. That
needs a pycuda in the cache folder; the stand-in `fake_pycuda.py` is held against what was written.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from tests.tensorrt import on, wheels

FILE = Path(__file__).with_name("pycuda.json")
NAMES = ("init", "get_driver_version", "mem_get_info", "mem_alloc", "pagelocked_empty", "memcpy_htod_async",
         "memcpy_dtoh_async", "Device.count", "Device.name", "Device.compute_capability", "Device.total_memory",
         "Device.get_attribute", "Device.retain_primary_context", "Context.push", "Context.pop", "Context.detach",
         "Stream.__init__", "Stream.synchronize", "DeviceAllocation.free", "DeviceAllocation.__int__",
         "PagelockedHostAllocation.free", "PagelockedHostAllocation.get_device_pointer")
CONSTANTS = ("device_attribute.MULTIPROCESSOR_COUNT", "device_attribute.INTEGRATED",
             "device_attribute.CAN_MAP_HOST_MEMORY", "host_alloc_flags.DEVICEMAP")


def signatures(driver: ModuleType) -> dict[str, list[str] | int]:
    """Each function's arguments, "name" or "name=default"; one without a name is "_". Constants by value."""
    found: dict[str, list[str] | int] = {name: _arguments(_of(driver, name).__doc__ or "") for name in NAMES}
    return found | {name: int(_of(driver, name)) for name in CONSTANTS}  # type: ignore[call-overload]


def _of(value: object, name: str) -> object:
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _arguments(doc: str) -> list[str]:
    line = doc.strip().splitlines()[0].rpartition("->")[0]
    return [re.sub(r"^arg\d+", "_", found) for found in re.findall(r"\(\w+\)([^\s,\]\)]+)", line)]


def main() -> int:
    """Write `pycuda.json`."""
    if sys.argv[1:] == ["-"]:
        from pycuda import driver

        sys.stdout.write(json.dumps(signatures(driver)))
        return 0
    environment = on.environment(wheels.VERSIONS[-1])
    if "CMNAS_PYCUDA" not in environment:
        sys.exit("expected a pycuda in the cache folder, found none; see README.md")
    # Linked without the driver's name, as pip builds it where only a stub is: so the stand-in comes first.
    environment["LD_PRELOAD"] = f"{environment['CMNAS_STAND_INS']}/libcuda.so.1"
    found = json.loads(subprocess.run([sys.executable, "-m", "tests.tensorrt.signatures", "-"], env=environment,
                                      cwd=on.ROOT, text=True, check=True, stdout=subprocess.PIPE).stdout)
    FILE.write_text("{\n" + ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in found.items())
                    + "\n}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
