"""Storing goes on while deciding lags, and what waits is decided about in order, once, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmnas_edge.collector import behind
from cmnas_edge.collector.behind import Behind, Rush
from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.journal import Arrival, Journal, Record
from tests.collector.house import House
from tests.collector.people import DIMENSION, FINGERPRINT, People

F32 = npt.NDArray[np.float32]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12))
def test_what_goes_in_comes_out_once_in_order_and_memory_is_bounded(
        steps: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "MOST", 5)
    journal, people = Journal(tmp_path_factory.mktemp("journal")), People()
    waiting = Behind(journal, {FINGERPRINT: DIMENSION})
    added: list[int] = []
    taken: list[int] = []
    for adding, taking in steps:
        seen = [people.sighting(1, at=len(added) + row) for row in range(adding)]
        for number, one in zip(journal.append([Arrival("gate", list(seen), 1.0)])[0], seen, strict=True):
            assert number is not None
            waiting.add(record_of(number, one), one.vector)
            added.append(number)
        for _ in range(taking):
            if (got := waiting.pop()) is not None:
                taken.append(got[0].id)
            assert len(waiting._held) <= 5
    while (got := waiting.pop()) is not None:
        taken.append(got[0].id)
    assert taken == added
    assert len(waiting) == 0
    assert waiting.pop() is None
    journal.close()


def record_of(number: int, one: object) -> Record:
    fields = {name: getattr(one, name) for name in Record.__struct_fields__ if hasattr(one, name)}
    return Record(id=number, received_at=1.0, **fields)     # type: ignore[arg-type]


def test_what_was_erased_while_it_waited_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "MOST", 2)
    journal, people = Journal(tmp_path), People()
    waiting = Behind(journal, {FINGERPRINT: DIMENSION})
    seen = [people.sighting(1, at=row) for row in range(6)]
    ids = [number for number in journal.append([Arrival("gate", list(seen), 1.0)])[0] if number]
    for number, one in zip(ids, seen, strict=True):
        waiting.add(record_of(number, one), one.vector)
    journal.remove(ids[3:])
    found = []
    while (got := waiting.pop()) is not None:
        found.append(got[0].id)
    assert found == ids[:3]
    journal.close()


def test_a_device_is_answered_before_anything_it_sent_is_decided_about(
        house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    people, add, answered = People(), house.gallery.add, threading.Event()

    def later(record: Record, vector: F32) -> list[Link]:
        assert answered.wait(30)
        return add(record, vector)

    monkeypatch.setattr(house.gallery, "add", later)
    for start in range(0, 40, 20):      # the second while the first is being decided about
        if start:
            answered.set()
        outcomes = house.send(*(people.sighting(1, at=start + row) for row in range(20)))
        assert {outcome.result for outcome in outcomes} == {"stored"}
        assert start or (house.intake.behind_count >= 19 and house.gallery.counts()[0] == 0)
    house.settle()
    assert (house.intake.behind_count, house.gallery.counts()[0]) == (0, 40)


def test_a_stop_leaves_what_waits_to_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cmnas_edge.collector.intake._SLICE_S", -1.0)
    monkeypatch.setattr("cmnas_edge.collector.intake._LAST_S", -1.0)
    house, people = House(tmp_path), People()
    house.send(*(people.sighting(row % 7, at=10 * row) for row in range(60)))
    house.close()
    again = House(tmp_path)
    assert again.gallery.counts() == (60, 7)
    again.close()


def test_a_rush_is_what_came_in_the_last_second_or_so() -> None:
    now = [0.0]
    rush = Rush(100, clock=lambda: now[0])
    assert not rush.is_on
    rush.note(64)
    assert not rush.is_on
    rush.note(64)
    assert rush.is_on
    now[0] = 0.2
    assert rush.is_on           # 128 exp(-0.2) = 105
    now[0] = 0.3
    assert not rush.is_on       # 95
    rush.note(10)
    assert rush.is_on
