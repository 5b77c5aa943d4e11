"""The certificates that ``make certificates`` makes, and where this machine is to be reached from others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[3]


def elsewhere() -> str:
    """An address of this machine that is not loopback; empty if it has none."""
    return next((each.address for name, every in psutil.net_if_addrs().items() for each in every
                 if each.family.name == "AF_INET" and not each.address.startswith("127.")), "")


def make(folder: Path, names: str, devices: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "--no-print-directory", "certificates", f"OUT={folder}", f"ARGS={names}",
                           f"DEVICES={devices}"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
