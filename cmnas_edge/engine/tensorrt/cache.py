"""The folder plans and timings are kept in: whole files or none, and one builder at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from cmnas_edge.errors import unwritable
from cmnas_edge.private import to_disk

__all__ = ["cache_folder", "check_writable", "exclusive", "write_together"]

_CACHE = "XDG_CACHE_HOME, for the daemon too, or --cache for this once"


def cache_folder(setting: Path | None = None) -> Path:
    """Where plans and timings are kept: the setting, else ``$XDG_CACHE_HOME``, else ``~/.cache``."""
    if setting is not None:
        return setting
    named = os.environ.get("XDG_CACHE_HOME", "")
    if named.startswith("/"):
        return Path(named) / "cmnas-edge"
    try:
        home = Path.home()
    except RuntimeError:    # a user with neither HOME nor an entry has nothing kept, and is told so when something is
        home = Path("/nonexistent")
    return home / ".cache" / "cmnas-edge"


def check_writable(folder: Path, option: str = _CACHE) -> None:
    """Meet a disk that takes nothing before minutes of work, not after.

    Args:
        folder: Made if it is not there.
        option: What names another, for the message.

    Raises:
        DiskFull: There is no room.
        ConfigError: The folder cannot be written to.
    """
    with _explained(folder, option):
        _make(folder)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part") as probe:
            probe.write(b"x" * 65536)
            probe.flush()


def write_together(*files: tuple[Path, bytes], option: str = _CACHE) -> None:
    """Write files that are whole or not there, even when the power fails; each vouches for those before it.

    All of them lie on the disk before the first gets its name, and what vouches for others has none while
    they change: so whoever is stopped in between leaves the old ones, the new ones, or nothing that vouches.

    Raises:
        DiskFull: There is no room; the old files are as they were.
        ConfigError: The folder cannot be written to.
    """
    staged: list[Path] = []
    with _explained(files[0][0], option):
        try:
            for path, data in files:
                _make(path.parent)
                handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
                staged.append(Path(name))
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                staged[-1].chmod(0o644)
            for path, _ in files[:0:-1]:
                path.unlink(missing_ok=True)
            for part, (path, _) in zip(staged, files, strict=True):
                part.replace(path)
        finally:
            for part in staged:
                part.unlink(missing_ok=True)
        for folder in {path.parent for path, _ in files}:
            to_disk(folder)


@contextlib.contextmanager
def exclusive(cache: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Be the only one that builds into a cache; call ``waiting`` once if somebody else does, and wait.

    What an earlier builder left half-written, killed, is swept away.

    Raises:
        DiskFull: There is no room.
        ConfigError: The folder cannot be written to.
    """
    with _explained(cache):
        _make(cache / "plans")
        file = (cache / "plans" / ".lock").open("ab")
    with file:
        with _explained(cache):
            alone = _locked_at_once(file)
        if not alone:
            waiting()
            with _explained(cache):
                fcntl.flock(file, fcntl.LOCK_EX)
        with _explained(cache):
            for folder in ("plans", "timing"):
                for left in (cache / folder).glob("**/.*.part"):
                    left.unlink(missing_ok=True)
        check_writable(cache / "plans")
        yield


def _make(folder: Path) -> None:
    """A folder and those above it, none that others may write to, whatever the umask: plans are code."""
    try:
        folder.mkdir(0o755, exist_ok=True)
    except FileNotFoundError:
        _make(folder.parent)
        folder.mkdir(0o755, exist_ok=True)


def _locked_at_once(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _explained(path: Path, option: str = _CACHE) -> Iterator[None]:
    """Say in the house's words why a folder cannot be written to."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, "it", error, f"name another with {option}") from error
