"""What every run found: one JSON line each in a tracked file, which nothing else is read from.

A line holds everything that `train.evidence.report` tells, so that tables and pictures can be made
again without training anything.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import subprocess
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmnas_edge.errors import ConfigError, unwritable

__all__ = ["PATH", "Records", "machine", "packed", "unpacked"]

PATH = Path(__file__).resolve().parents[2] / "docs" / "evidence.jsonl"


class Records:
    """The lines of a file by the name of their run; the last of a name holds.

    A last line without its end was being written when the power failed: it counts as never written.

    Args:
        path: The file; it need not be there yet.

    Raises:
        ConfigError: A line is no record.
    """

    def __init__(self, path: Path = PATH) -> None:
        self._path = path
        self._found: dict[str, dict[str, Any]] = {}
        text = path.read_text("utf-8") if path.exists() else ""
        self._whole = len(text[:text.rfind("\n") + 1].encode())  # bytes of whole lines
        lines = text[:text.rfind("\n") + 1].splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                self._found[row["run"]] = row
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ConfigError(f"{path}, line {number}: expected a record with a run, found {error}; delete the "
                                  "line, and the run is made again") from error

    def __contains__(self, run: str) -> bool:
        return run in self._found

    def __getitem__(self, run: str) -> dict[str, Any]:
        return self._found[run]

    def get(self, run: str) -> dict[str, Any] | None:
        """The record of a run, or None."""
        return self._found.get(run)

    def keep(self, row: Mapping[str, Any]) -> None:
        """Append a record; it is on the disk when this returns.

        Raises:
            DiskFull: There is no room for it; the lines before it are whole.
            ConfigError: The file cannot be written.
        """
        line = (json.dumps(row) + "\n").encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.truncate(self._whole)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self._path, f"the record of {row['run']!r}", error, "choose another with --records",
                             kind="a file", again="give the same command again: this run is made again") from error
        self._whole += len(line)
        self._found[row["run"]] = dict(row)


def packed(values: npt.NDArray[np.uint8]) -> str:
    """Bytes as text: deflated, then base64."""
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()


def unpacked(text: str) -> npt.NDArray[np.uint8]:
    """Undo `packed`."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def machine() -> dict[str, Any]:
    """Where and when a run was made: date, commit, processor, versions."""
    import torch  # noqa: PLC0415 - reading records needs no torch

    here = Path(__file__).parent
    ran = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], cwd=here,
                         capture_output=True, text=True, check=False)
    names = (line.partition(":")[2].strip() for line in _processor() if line.startswith("model name"))
    return {"date": time.strftime("%Y-%m-%d"), "commit": ran.stdout.strip() or "unknown",
            "cpu": next(names, platform.machine()), "torch": torch.__version__, "numpy": np.__version__}


def _processor() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return []
