"""Run the tests of `on_bindings` over one version of NVIDIA's bindings.

``python -m tests.tensorrt.on 10.3.0 -k golden`` does it by hand; further arguments are pytest's. It is a process
of its own: the loader reads ``LD_LIBRARY_PATH`` when a process starts, only one version fits into it, and a
segmentation fault takes it along.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.tensorrt import wheels

REAL_PYCUDA = (wheels.VERSIONS[0], wheels.VERSIONS[-1])  # where there is one; the stand-in has the others
ROOT = Path(__file__).resolve().parents[2]


def environment(version: str) -> dict[str, str]:
    """What a process needs to find these bindings, and the stand-ins under them.

    Raises:
        Missing: They are not at hand.
    """
    stand_ins, bindings = wheels.libraries(), wheels.bindings(version)
    pycuda = wheels.pycuda_folder() if version in REAL_PYCUDA else None
    found = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    found |= {"CMNAS_STAND_INS": str(stand_ins), "LD_LIBRARY_PATH": str(stand_ins), "OMP_NUM_THREADS": "1",
              "PYTHONPATH": os.pathsep.join([str(bindings), *([str(pycuda)] if pycuda else [])])}
    if pycuda:
        found["CMNAS_PYCUDA"] = str(pycuda)
    return found


def run(version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run them, all or those that pytest's arguments choose.

    Raises:
        Missing: They cannot run here.
    """
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-p", "no:xdist",
               "-p", "tests.tensorrt.stage", "--rootdir", str(ROOT), *(arguments or ["-x"]),
               str(Path(__file__).parent / "on_bindings")]
    return subprocess.run(command, env=environment(version), cwd=ROOT, text=True, check=False, timeout=200,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


if __name__ == "__main__":
    ran = run(sys.argv[1], *sys.argv[2:])
    sys.stdout.write(ran.stdout)
    sys.exit(ran.returncode)
