"""What is gone is known by its number, in as few rows as can be, and in so many however it came."""

from __future__ import annotations

import logging
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.collector.store import gone
from cmnas_edge.collector.store.gone import gone_of, note_gone
from cmnas_edge.collector.store.schema import _SINCE_2

END = 2**63 - 1
spans = st.tuples(st.sampled_from("ab"), st.sampled_from("st"), st.one_of(st.integers(1, 40), st.just(END - 6)),
                  st.integers(0, 6)).map(lambda span: (*span[:3], span[2] + span[3]))


def table() -> sqlite3.Connection:
    """A journal's table of it alone."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute(next(statement for statement in _SINCE_2.split(";") if "TABLE gone" in statement))
    return db


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(gone, "MOST", 40)
    return 40


@given(st.lists(spans, max_size=20))
def test_what_is_gone_is_what_was_noted_and_neighbours_are_one_row(noted: list[tuple[str, str, int, int]]) -> None:
    db, meant = table(), set()
    for each in noted:
        note_gone(db, [each])
        meant |= {(*each[:2], number) for number in range(each[2], each[3] + 1)}
    asked = [*range(50), *range(END - 10, END + 1)]
    assert {(d, s, n) for d in "ab" for s in "st" for n in gone_of(db, d, s, asked)} == meant
    assert all(gone_of(db, d, s, [n]) == {n} for d, s, n in meant)
    rows = db.execute("SELECT device, spool, first, last FROM gone").fetchall()
    ends = {(d, s, last) for d, s, _, last in rows}
    assert not any((d, s, first - 1) in ends for d, s, first, _ in rows)
    assert sum(last - first + 1 for *_, first, last in rows) == len(meant)


def test_a_device_that_leaves_out_every_second_number_takes_so_many_rows_and_its_newest_stay_exact(
        few: int, caplog: pytest.LogCaptureFixture) -> None:
    db = table()
    for number in range(1, 401, 2):
        note_gone(db, [("gate", "s", number, number), ("yard", "s", number // 2, number // 2)])
        assert db.execute("SELECT max(n) FROM (SELECT count(*) n FROM gone GROUP BY device)").fetchone()[0] <= few
    kept = gone_of(db, "gate", "s", range(401))
    assert set(range(1, 401, 2)) <= kept, "what was stored is never stored again"
    exact = set(range(400 - few, 401))
    assert kept & exact == exact & set(range(1, 401, 2)), "and what a spool may still hold is not taken for gone"
    assert [line.split(":")[0] for line in caplog.messages if "never came" in line] == ["gate"] * 9
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_a_device_that_makes_up_spools_takes_so_many_rows_and_the_spool_it_has_is_kept(few: int) -> None:
    db = table()
    for number in range(1, 401):
        note_gone(db, [("gate", f"{number:03}", 1, 1), ("gate", f"{number:03}", 3, 3)])
        note_gone(db, [("gate", "its own", 7 * number, 7 * number)] if number < 8 else [])
        assert db.execute("SELECT count(*) FROM gone").fetchone()[0] <= few
    assert gone_of(db, "gate", "its own", range(50)) >= {42, 49}
