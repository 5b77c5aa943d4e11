"""The audit log goes on from file to file: nothing is lost between them, what is too old goes and is said to have."""

from __future__ import annotations

import errno
import itertools
import logging
import os
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from cmnas_edge.collector.access.audit_log import FILE_S, AuditLog
from cmnas_edge.errors import DiskFull

DAY = 86400.0
_fresh = itertools.count()


class Log:
    """An audit log of small files, and its clock."""

    def __init__(self, folder: Path, *, keep_s: float | None = None, file_bytes: int = 700) -> None:
        self.folder, self.now = folder, 1000.0
        self.log = AuditLog(folder, keep_s=keep_s, file_bytes=file_bytes, clock=lambda: self.now)

    def note(self, count: int, *, every_s: float = 1.0) -> None:
        for _ in range(count):
            self.now += every_s
            self.log.add("search", who="anna", asked={"at": self.now})

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name.endswith(".log"))

    def numbers(self) -> list[int]:
        return [entry.number for entry in self.log.page(limit=10_000)]


def test_a_full_file_is_put_by_and_the_chain_goes_on_in_the_next(tmp_path: Path) -> None:
    kept = Log(tmp_path)
    kept.note(20)
    files = kept.files()
    assert len(files) > 4
    assert files[0] == "audit-000000000001.log"
    assert files[-1] == "audit.log"
    assert all((tmp_path / name).stat().st_size < 1100 for name in files)
    assert kept.numbers() == list(range(20, 0, -1))
    for again in (kept.log, AuditLog(tmp_path)):
        found = again.check()
        assert (found.last, found.faults, found.let_go) == (20, [], 0)
    assert [line for name in files for line in (tmp_path / name).read_bytes().splitlines(keepends=True)] == list(
        kept.log.lines())
    pages, before = [], None
    while page := kept.log.page(before=before, limit=3):
        pages += [entry.number for entry in page]
        before = page[-1].number
    assert pages == list(range(20, 0, -1))


def test_a_file_is_full_by_age_too(tmp_path: Path) -> None:
    kept = Log(tmp_path, file_bytes=10**9)
    kept.note(3)
    kept.now += FILE_S - 5
    kept.note(1)
    assert kept.files() == ["audit.log"]
    kept.now += 5
    kept.note(1)
    assert kept.files() == ["audit-000000000001.log", "audit.log"]
    assert kept.numbers() == [5, 4, 3, 2, 1]


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_a_change_or_removal_in_any_file_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    kept = Log(tmp_path / str(next(_fresh)))
    kept.note(14)
    files = kept.files()
    path = kept.folder / data.draw(st.sampled_from(files))
    before = path.read_bytes()
    way = data.draw(st.sampled_from(["file", "line", "byte", "swap"]))
    if way == "file":
        path.unlink()
    elif way == "line":
        lines = before.splitlines(keepends=True)
        del lines[data.draw(st.integers(0, len(lines) - 1))]
        path.write_bytes(b"".join(lines))
    elif way == "byte":
        at = data.draw(st.integers(0, len(before) - 2))
        path.write_bytes(before[:at] + bytes([(before[at] + 1) % 256]) + before[at + 1:])
    else:
        other = kept.folder / data.draw(st.sampled_from([name for name in files if name != path.name]))
        path.write_bytes(other.read_bytes())
        other.write_bytes(before)
    assert AuditLog(kept.folder).check().faults


def test_what_is_kept_no_longer_goes_by_whole_files_and_the_log_says_so(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = Log(tmp_path, keep_s=400 * DAY, file_bytes=10**9)
    noted = []
    for _ in range(20):     # a year and two thirds, a file a month
        kept.note(1, every_s=31 * DAY)
        found = kept.log.check()
        noted.append((found.last, found.digest))
    assert len(kept.files()) == 20
    with caplog.at_level(logging.INFO, "cmnas.collector"):
        kept.log.turn()
    # 20 months of 31 days: those whose last entry is over 400 days old are the first 7.
    assert kept.numbers() == [21, *range(20, 7, -1)]
    newest = kept.log.page(limit=1)[0]
    assert (newest.kind, newest.asked) == ("let go", {"first": 1, "last": 7, "digest": noted[6][1]})
    assert "entries 1 to 7 are kept no longer" in caplog.text
    found = AuditLog(tmp_path).check(noted[9])
    assert (found.last, found.faults, found.let_go) == (21, [], 7)
    assert "entry 3: is kept no longer" in AuditLog(tmp_path).check(noted[2]).faults[0]
    kept.log.turn()
    assert kept.numbers()[0] == 21      # at most once an hour
    kept.now += 4000
    kept.log.turn()
    assert kept.numbers()[0] == 21      # and nothing is said of nothing


def test_a_file_that_gets_the_inode_of_one_that_was_let_go_of_is_read_by_its_own_lines(tmp_path: Path) -> None:
    kept = Log(tmp_path / "old", file_bytes=10**9)
    kept.note(5)
    assert kept.numbers() == [5, 4, 3, 2, 1]
    new = Log(tmp_path / "new", file_bytes=10**9)
    for _ in range(9):
        new.log.add("search", who="somebody of a longer name", asked={})
    (tmp_path / "old" / "audit.log").write_bytes((tmp_path / "new" / "audit.log").read_bytes())
    assert kept.numbers() == new.numbers()
    with (tmp_path / "old" / "audit.log").open("r+b") as log:   # cut by somebody, behind two lines
        log.truncate(len(log.readline()) + len(log.readline()))
    assert kept.numbers() == [2, 1]


def test_a_file_that_somebody_else_removed_is_missed_though_older_ones_went_by_themselves(tmp_path: Path) -> None:
    kept = Log(tmp_path, keep_s=400 * DAY, file_bytes=10**9)
    kept.note(20, every_s=31 * DAY)
    kept.log.turn()
    assert AuditLog(tmp_path).check().faults == []
    (tmp_path / kept.files()[0]).unlink()
    assert "found entry 9: those before it were removed, and no entry says" in AuditLog(tmp_path).check().faults[0]


def test_a_log_nobody_wrote_to_for_years_goes_too_and_its_end_is_known(tmp_path: Path) -> None:
    kept = Log(tmp_path, keep_s=400 * DAY)
    kept.note(2)
    kept.now += 401 * DAY
    kept.log.turn()
    assert kept.files() == ["audit.log"]
    (entry,) = kept.log.page()
    assert (entry.number, entry.kind, entry.asked["last"]) == (3, "let go", 2)
    assert AuditLog(tmp_path).check().faults == []
    for_good = Log(tmp_path / "other")
    for_good.note(2)
    for_good.now += 10_000 * DAY
    for_good.log.turn()
    assert for_good.numbers() == [2, 1]


def test_a_crash_between_two_files_or_while_some_are_let_go_of_loses_and_hides_nothing(tmp_path: Path) -> None:
    kept = Log(tmp_path)
    kept.note(5)
    (tmp_path / "audit.log").rename(tmp_path / "audit-000000000005.log")    # and no next one yet
    (tmp_path / "audit.head").write_text(f"{4:020d} {'0' * 64}\n")          # which lagged
    assert AuditLog(tmp_path).page()[0].number == 5
    kept.note(1)
    fresh = AuditLog(tmp_path, clock=lambda: kept.now)
    fresh.add("search", who="bo", asked={})
    assert [entry.number for entry in fresh.page()] == [7, 6, 5, 4, 3, 2, 1]
    assert fresh.check().faults == []
    old = Log(tmp_path / "old", keep_s=DAY, file_bytes=100)
    old.note(3, every_s=2 * DAY)
    files = {name: (old.folder / name).read_bytes() for name in old.files()}
    old.log.turn()
    for name, data in files.items():    # it said so, and was killed before it removed them
        if name != "audit.log" and not (old.folder / name).exists():
            (old.folder / name).write_bytes(data)
    assert AuditLog(old.folder).check().faults == []
    old.now += 4000
    old.log.turn()
    assert old.log.check().faults == []
    assert old.log.check().let_go == 2


def test_where_files_cannot_be_put_by_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Log(tmp_path)
    kept.note(4)
    before = kept.files()

    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "rename", refused)
    kept.note(10)       # as under chattr +a
    assert kept.files() == before
    assert kept.numbers() == list(range(14, 0, -1))
    assert kept.log.check().faults == []


def test_a_file_in_its_place_is_not_written_over_and_is_told_as_what_it_is(tmp_path: Path) -> None:
    kept = Log(tmp_path)
    kept.note(1)
    (tmp_path / "audit-000000000001.log").write_text("somebody's notes\n")
    kept.note(9)
    assert (tmp_path / "audit-000000000001.log").read_text() == "somebody's notes\n"
    assert kept.files() == ["audit-000000000001.log", "audit.log"]
    assert kept.numbers() == list(range(10, 0, -1))
    assert kept.log.check().faults


def test_on_a_full_disk_nothing_is_noted_or_let_go_of_and_afterwards_it_goes_on(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    kept = Log(tmp_path, keep_s=DAY)
    kept.note(8, every_s=DAY)
    files = kept.files()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        for _ in range(3):      # the first puts the file by that is full, and cannot begin the next
            with pytest.raises(DiskFull):
                kept.note(1)
        kept.log.turn()
    assert "cannot be let go of" in caplog.text
    assert set(files) - {"audit.log"} <= set(kept.files())
    assert kept.numbers() == list(range(8, 0, -1))
    kept.note(1)
    assert kept.numbers()[0] == 9
    assert kept.log.check().faults == []


def test_two_collectors_tools_at_once_never_part_the_chain(tmp_path: Path) -> None:
    one, other = Log(tmp_path), Log(tmp_path)
    for turn in range(24):
        (one, other)[turn * 7 % 5 % 2].note(1)
    assert AuditLog(tmp_path).check().faults == []
    assert one.numbers() == list(range(24, 0, -1))
