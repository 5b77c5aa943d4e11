"""Where figures are kept: one JSON line a run, with what it ran on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "commit", "keep", "kept"]

RESULTS = Path(__file__).resolve().parent / "results"
_PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless")


def keep(question: str, figures: Mapping[str, object]) -> None:
    """Append figures to ``results/QUESTION.jsonl`` with date, commit, machine and versions."""
    row = {"date": time.strftime("%Y-%m-%d"), "commit": commit(), "cpu": _cpu(), "cores": os.cpu_count(),
           "python": platform.python_version(), "versions": {name: version(name) for name in _PACKAGES}, **figures}
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{question}.jsonl").open("a", encoding="utf-8") as results:
        results.write(json.dumps(row) + "\n")


def kept(question: str, which: Mapping[str, object], measured: Sequence[str]) -> dict[str, Any] | None:
    """Find the newest row that says all of ``which`` and was made by the code as it is; None if there is none.

    Args:
        question: Of which results.
        which: Fields and their values.
        measured: Files and folders, from the repository's root, that decide what comes out. A row whose commit had
            them otherwise is of another thing.
    """
    path = RESULTS / f"{question}.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    for row in reversed(rows):
        if all(row.get(name) == value for name, value in which.items()) and subprocess.run(
                ["git", "diff", "--quiet", row["commit"], "--", *measured], check=False, capture_output=True,
                cwd=RESULTS.parents[1]).returncode == 0:
            return dict(row)
    return None


def commit() -> str:
    """What is checked out, in short; of changes that are not committed it knows nothing."""
    ran = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False,
                         cwd=RESULTS.parent)
    return ran.stdout.strip() or "unknown"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
