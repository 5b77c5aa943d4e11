"""A run's figures for TensorBoard, where tensorboardX is installed; nothing a run could fail by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Scalars"]


class Scalars:
    """Curves in a folder of their own; silent without tensorboardX, or once the folder can't be written.

    Args:
        folder: Where they go; made at the first figure.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._silent = False

    def add(self, row: Mapping[str, Any]) -> None:
        """Draw every number of a row of the log at its step; nested names are joined by a slash."""
        if self._silent:
            return
        try:
            if self._writer is None:
                from tensorboardX import SummaryWriter  # noqa: PLC0415 - optional

                # What lies beyond this step was taken back when the run was picked up.
                self._writer = SummaryWriter(str(self._folder), purge_step=int(row["step"]))
            for name, value in _flat(row, ""):
                if name not in ("step", "minutes"):
                    self._writer.add_scalar(name, value, int(row["step"]))
        except (ImportError, OSError):
            self._silent = True

    def close(self) -> None:
        """Finish the file; the next figure begins another."""
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except OSError:
                self._silent = True


def _flat(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            yield prefix + name, float(value)
