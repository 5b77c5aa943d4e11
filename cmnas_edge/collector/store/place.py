"""Whether files that are open still lie where they were opened: written elsewhere, what is acknowledged is lost."""

from __future__ import annotations

from pathlib import Path

from cmnas_edge.errors import ConfigError

__all__ = ["Place"]


class Place:
    """Where some open files lie. Once one was moved, that holds until they are opened again."""

    def __init__(self, *paths: Path) -> None:
        self._files = {path: _number(path) for path in paths}
        self._moved: Path | None = None

    def check(self) -> None:
        """Refuse to go on where a file was moved or deleted.

        Raises:
            ConfigError: One was. What was written last is in that one, wherever it is.
        """
        if self._moved is None:
            self._moved = next((path for path, number in self._files.items() if _number(path) != number), None)
        if self._moved is not None:
            raise ConfigError(f"{self._moved}: expected the file that is in use, found it moved or deleted; nothing is "
                              "acknowledged any more: put it back, if you can, and start the collector again")


def _number(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
