"""The audit log: nothing in it can be changed or removed unseen, and a crash leaves half a line, which is said."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from cmnas_edge.collector.access.audit_log import AuditLog, Entry
from cmnas_edge.errors import ConfigError, DiskFull

_fresh = itertools.count()


def filled(folder: Path, count: int = 6) -> AuditLog:
    log = AuditLog(folder, clock=lambda: 1000.0)
    for number in range(1, count + 1):
        log.add("search", who=f"person{number}", role="operator", origin="192.0.2.7", asked={"k": number}, reason="why")
    return log


def test_entries_come_back_as_they_were_noted_page_by_page_newest_first(tmp_path: Path) -> None:
    log = filled(tmp_path, 7)
    pages, before = [], None
    while page := log.page(before=before, limit=3):
        pages.append([entry.number for entry in page])
        before = page[-1].number
    assert pages == [[7, 6, 5], [4, 3, 2], [1]]
    newest = log.page(limit=1)[0]
    assert (newest.at, newest.kind, newest.who, newest.role, newest.origin, newest.asked, newest.reason) == (
        1000.0, "search", "person7", "operator", "192.0.2.7", {"k": 7}, "why")
    assert AuditLog(tmp_path).page(before=3, limit=9)[0].number == 2
    assert AuditLog(tmp_path / "none").page() == []
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_that_is_whole_is_said_to_be_and_its_head_proves_it_later(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    found = log.check()
    assert (found.last, found.faults, found.torn) == (3, [], 0)
    log.add("export", who="bo", asked={})
    assert AuditLog(tmp_path).check((found.last, found.digest)).faults == []
    assert "entry 3: expected the one that was noted" in AuditLog(tmp_path).check((3, "0" * 64)).faults[0]
    assert AuditLog(tmp_path / "none").check() == (0, "0" * 64, [], 0, 0)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_any_change_or_removal_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / str(next(_fresh))
    filled(folder)
    path = folder / "audit.log"
    before = path.read_bytes()
    lines = before.splitlines(keepends=True)
    way = data.draw(st.sampled_from(["byte", "line", "swap", "end", "twice", "empty"]))
    if way == "byte":
        at = data.draw(st.integers(0, len(before) - 2))
        after = before[:at] + bytes([data.draw(st.integers(0, 255))]) + before[at + 1:]
    elif way == "line":
        gone = data.draw(st.integers(0, len(lines) - 1))
        after = b"".join(lines[:gone] + lines[gone + 1:])
    elif way == "swap":
        a, b = data.draw(st.lists(st.integers(0, 5), min_size=2, max_size=2, unique=True))
        lines[a], lines[b] = lines[b], lines[a]
        after = b"".join(lines)
    elif way == "twice":
        again = data.draw(st.integers(0, 5))
        after = b"".join(lines[:again + 1] + lines[again:])
    elif way == "end":
        after = b"".join(lines[:data.draw(st.integers(1, 5))])
    else:
        after = b""
    path.write_bytes(after)
    assert bool(AuditLog(folder).check().faults) == (after != before)


def test_who_writes_the_chain_anew_behind_a_change_is_found_by_the_head_and_by_one_noted_elsewhere(
        tmp_path: Path) -> None:
    noted = filled(tmp_path).check()
    path = tmp_path / "audit.log"
    entries = [msgspec.json.decode(line, type=Entry) for line in path.read_bytes().splitlines()]
    forged, other = AuditLog(tmp_path / "forged", clock=lambda: 1000.0), tmp_path / "forged"
    for entry in entries:
        forged.add(entry.kind, who="nobody" if entry.number == 2 else entry.who, role=entry.role, origin=entry.origin,
                   asked=entry.asked, reason=entry.reason)
    assert forged.check().faults == []
    path.write_bytes((other / "audit.log").read_bytes())
    assert "entry 6: expected it as it was written" in AuditLog(tmp_path).check().faults[0]
    (tmp_path / "audit.head").write_bytes((other / "audit.head").read_bytes())
    assert AuditLog(tmp_path).check().faults == [], "both files and the knowledge how: nothing here can tell"
    assert AuditLog(tmp_path).check((noted.last, noted.digest)).faults != []


def test_a_log_that_was_taken_away_is_missed_though_it_goes_on(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    (tmp_path / "audit.log").unlink()
    assert "the end was cut off" in log.check().faults[0]
    log.add("search", who="anna", asked={})
    assert log.page()[0].number == 4
    assert "expected entry 1 after entry 0, found entry 4" in log.check().faults[0]


@pytest.mark.parametrize("left", [1, 20, -30, -2])
def test_half_a_line_is_said_and_is_no_fault_and_the_log_goes_on(tmp_path: Path, left: int) -> None:
    filled(tmp_path, 3)
    path = tmp_path / "audit.log"
    whole = path.read_bytes()
    half = msgspec.json.encode(Entry(4, 1.0, "search", "x", "", "", {}, "", "0" * 64)) + b"\n"
    path.write_bytes(whole + half[:left])
    found = AuditLog(tmp_path).check()
    assert (found.last, found.faults, found.torn) == (3, [], 1)
    log = AuditLog(tmp_path, clock=lambda: 5.0)
    log.add("search", who="anna", asked={})
    assert [(e.number, e.kind) for e in log.page(limit=3)] == [(5, "search"), (4, "torn"), (3, "search")]
    assert path.read_bytes().startswith(whole + half[:left])    # nothing is ever taken away
    found = log.check()
    assert (found.last, found.faults, found.torn) == (5, [], 1)
    path.write_bytes(path.read_bytes().replace(half[:left].rstrip(b"\n") + b"\n", b"#\n", 1))
    assert "found a line that is none" in log.check().faults[0]


def test_a_crash_before_the_end_of_a_line_that_was_whole_keeps_it(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    path = tmp_path / "audit.log"
    path.write_bytes(path.read_bytes()[:-1])
    log = AuditLog(tmp_path)
    log.add("search", who="anna", asked={})
    assert [(e.number, e.kind) for e in log.page()] == [(4, "search"), (3, "search"), (2, "search"), (1, "search")]
    assert log.check().faults == []


def test_half_a_line_about_half_a_line_is_said_too(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    path = tmp_path / "audit.log"
    path.write_bytes(path.read_bytes() + b'{"number":3,"at\n{"numb')
    log = AuditLog(tmp_path)
    log.add("search", who="anna", asked={})
    assert [(e.number, e.kind) for e in log.page()] == [(4, "search"), (3, "torn"), (2, "search"), (1, "search")]
    assert log.check() == (4, log.check().digest, [], 1, 0)


def _write(folder: Path, name: str, count: int) -> None:
    log = AuditLog(folder)
    for number in range(count):
        log.add("search", who=name, asked={"k": number})


def test_several_processes_write_one_chain(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=_write, args=(tmp_path, f"w{n}", 15)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    log = AuditLog(tmp_path)
    assert log.check().faults == []
    entries = log.page(limit=100)
    assert sorted((e.who, e.asked["k"]) for e in entries) == [(f"w{n}", k) for n in range(3) for k in range(15)]


_ENDLESS = """
import sys
from pathlib import Path
from cmnas_edge.collector.access.audit_log import AuditLog
log, number = AuditLog(Path(sys.argv[1])), 0
while True:
    number += 1
    log.add("search", who="anna", asked={"k": number, "words": "x" * (number % 9000)})
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("run", range(3))
def test_what_was_noted_before_a_kill_is_there_after_it(tmp_path: Path, run: int) -> None:
    for _ in range(2):      # the second goes on where the first was killed
        writer = subprocess.Popen([sys.executable, "-c", _ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(5 + 7 * run)]
        writer.kill()
        rest = writer.stdout.read().split("\n")
        said += [int(line) for line in rest[:-1]]
        writer.wait()
        writer.stdout.close()
    log = AuditLog(tmp_path)
    log.add("search", who="bo", asked={})
    assert log.check().faults == []
    kept = [entry.asked["k"] for entry in log.page(limit=100_000)[::-1] if entry.who == "anna"]
    second = len(kept) - 1 - kept[::-1].index(1)
    assert kept[second:][:len(said)] == said


def test_no_room_or_no_right_to_write_is_one_sentence_and_nothing_is_noted(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(tmp_path, 2)

    def full(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match=r"audit.log: expected room for what is to be done"):
            log.add("search", who="anna", asked={})
    log.add("search", who="bo", asked={})
    assert log.check().faults == []
    (tmp_path / "audit.head").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"audit\.head"):
        log.check()
    (tmp_path / "audit.log").unlink()
    (tmp_path / "audit.log").mkdir()
    with pytest.raises(ConfigError, match="nothing was done"):
        log.add("search", who="anna", asked={})


def test_a_page_of_a_long_log_is_read_without_the_rest(tmp_path: Path) -> None:
    """Compared in one run: a page near the end, once known where lines begin, and all of it."""
    log = AuditLog(tmp_path)
    before, lines = "0" * 64, []
    import hashlib

    for number in range(1, 20_001):
        line = msgspec.json.encode(Entry(number, 1.0, "search", "anna", "operator", "192.0.2.7", {"k": 1}, "", before))
        before = hashlib.sha256(line).hexdigest()
        lines.append(line + b"\n")
    (tmp_path / "audit.log").write_bytes(b"".join(lines))
    assert log.check().faults == []
    log.page(limit=1)
    began = time.process_time()
    assert [e.number for e in log.page(before=10_000, limit=50)] == list(range(9_999, 9_949, -1))
    page_s = time.process_time() - began
    began = time.process_time()
    log.check()
    assert page_s < (time.process_time() - began) / 10
