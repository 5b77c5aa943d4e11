"""A bundle put in the place of one, so that at every moment a whole bundle lies there."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cmnas_edge.errors import ConfigError, unwritable
from cmnas_edge.private import to_disk

__all__ = ["exchange", "put", "replaced"]

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2     # linux/fs.h


@contextmanager
def replaced(bundle: Path) -> Iterator[Path]:
    """A copy of a bundle to change, which takes its place when the block ends well; otherwise nothing changes.

    Raises:
        ConfigError: It is a link, which is switched instead (``cmnas-edge bundle install``); or its folder cannot
            be written to.
        DiskFull: There is no room.
    """
    if bundle.is_symlink():
        raise ConfigError(f"{bundle}: expected a bundle's own folder, found a link; name the folder, and put the "
                          "result on devices with: cmnas-edge bundle install")
    bundle = bundle.resolve()
    try:
        with tempfile.TemporaryDirectory(dir=bundle.parent, prefix=f".{bundle.name}.") as scratch:
            copy = Path(shutil.copytree(bundle, Path(scratch) / "bundle"))
            yield copy
            put(copy, bundle, replace=True)
    except OSError as error:
        raise unwritable(bundle, "a bundle", error, "copy it to a folder of yours") from error


def put(folder: Path, where: Path, *, replace: bool = False) -> None:
    """Give a folder that is done its place, all of it on the disk before; what was there has the folder's then.

    Args:
        folder: On the same file system.
        where: Its place.
        replace: Whether something may be there.

    Raises:
        OSError: It cannot be moved, or something is there.
    """
    for path in (*folder.rglob("*"), folder):
        to_disk(path)
    if replace and where.exists():
        exchange(folder, where)
    else:
        folder.rename(where)
    to_disk(where.parent)


def exchange(a: Path, b: Path) -> None:
    """Let two paths of one file system change places, in one step where the system can (Linux, ``renameat2``).

    Raises:
        OSError: They cannot.
    """
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):   # another C library
        swap = None
    if swap is not None and swap(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0:
        return
    aside = a.with_name(f"{a.name}.aside")
    b.rename(aside)
    try:
        a.rename(b)
    except BaseException:   # Ctrl-C between the two must not take both
        if not b.exists():
            aside.rename(b)
        raise
    aside.rename(a)
