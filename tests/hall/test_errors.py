"""What cannot be written is told one way everywhere; and what is Ctrl-C, and what only looks like it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cmnas_edge.errors import ConfigError, DiskFull, interrupted, unwritable

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("number", "kind", "says"), [
    (errno.ENOSPC, DiskFull, "x.pt: expected room for a checkpoint, found a full disk; free some space and try again"),
    (errno.EDQUOT, DiskFull, "x.pt: expected room for a checkpoint, found a full disk; free some space and try again"),
    (errno.EFBIG, DiskFull, "x.pt: expected room for a checkpoint, found a full disk; free some space and try again"),
    (errno.EROFS, ConfigError, "x.pt: expected a file this user may write to, found Read-only file system; choose"),
    (errno.ENOTDIR, ConfigError, "x.pt: expected a file this user may write to, found Not a directory; choose"),
])
def test_a_disk_without_room_may_have_some_later_and_anything_else_wants_another_place(
        number: int, kind: type[Exception], says: str) -> None:
    error = unwritable(Path("x.pt"), "a checkpoint", OSError(number, os.strerror(number)), "choose",
                       kind="a file", again="try again")
    assert (type(error), str(error)) == (kind, says)
    assert "found torn; name" in str(unwritable("x", "y", OSError("torn"), "name another"))     # a library's own


def test_nobody_else_tells_a_full_disk_by_its_number() -> None:
    # The list of devices counts a failing disk too; room for pictures is reserved, which some file systems cannot; and
    # a spool that finds no room for its own file goes on in memory.
    known = {"cmnas_edge/errors.py", "cmnas_edge/collector/receiving/devices.py",
             "cmnas_edge/camera/sending/database.py", "train/data/shards.py"}
    tells = {str(path.relative_to(ROOT)) for folder in ("cmnas_edge", "train", "export")
             for path in (ROOT / folder).rglob("*.py") if "errno.ENOSPC" in path.read_text("utf-8")}
    assert tells == known


@pytest.mark.parametrize(("chain", "is_ctrl_c"), [
    ([KeyboardInterrupt], True), ([ImportError, KeyboardInterrupt], True),
    ([ModuleNotFoundError, ImportError, KeyboardInterrupt], True),
    ([ValueError, KeyboardInterrupt], False),   # a fault of ours in what is done on Ctrl-C
    ([ImportError, ValueError, KeyboardInterrupt], False), ([ImportError], False), ([SystemExit], False)])
def test_only_what_a_package_that_starts_makes_of_ctrl_c_is_ctrl_c(
        chain: list[type[BaseException]], is_ctrl_c: bool) -> None:
    error: BaseException | None = None
    for kind in reversed(chain):
        cause, error = error, kind("found")
        error.__cause__ = cause
    assert error is not None
    assert interrupted(error) is is_ctrl_c
