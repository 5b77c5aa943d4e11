"""Files that only their owner may read, and what is told when they cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cmnas_edge.errors import unwritable

__all__ = ["folder", "opened", "put", "writing"]


def folder(path: Path) -> None:
    """Make a folder, or make it its owner's only."""
    if path.is_dir():
        path.chmod(0o700)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)


def opened(path: Path) -> BinaryIO:
    """A file to write from its start, mode 0600; one that was there keeps its mode.

    Raises:
        OSError: It cannot be written.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def put(path: Path, data: bytes) -> None:
    """Write a file, mode 0600.

    Raises:
        OSError: It cannot be written.
    """
    with opened(path) as file:
        file.write(data)


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Say in a sentence why pictures cannot be written below a folder.

    Raises:
        DiskFull: The disk has no room.
        ConfigError: Anything else is in the way.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(where, "pictures", error, "choose another --out",
                         again="give the same command again: recordings that are done are kept") from error
