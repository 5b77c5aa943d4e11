"""One device cannot have the whole collector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cmnas_edge.collector.receiving.rates import AT_ONCE, BURST_S, Rates
from cmnas_edge.wire import MAX_SIGHTINGS, encode_batch
from tests.collector.house import House
from tests.collector.people import People


class Clock:
    """One that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, MAX_SIGHTINGS)), max_size=200), st.floats(1, 50))
def test_a_device_that_waits_when_told_sends_no_more_than_its_rate_allows(
        steps: list[tuple[float, int]], per_s: float) -> None:
    clock = Clock()
    rates, sent = Rates(per_s, clock=clock), 0
    for pause, count in steps:
        clock.now += pause
        if not rates.wait_s("gate"):
            rates.charge("gate", count)
            sent += max(1, count)
        # The purse, what went into it since, and the one batch that may overdraw it.
        assert sent <= per_s * (BURST_S + clock.now) + MAX_SIGHTINGS + 1e-6


@given(st.integers(1, 2000), st.floats(0.5, 100))
def test_the_time_told_is_enough_and_not_a_record_longer(count: int, per_s: float) -> None:
    clock = Clock()
    rates = Rates(per_s, clock=clock)
    rates.charge("gate", count)
    wait = rates.wait_s("gate")
    clock.now += wait + 1e-6
    assert rates.wait_s("gate") == 0
    assert wait <= max(0.0, (count + 1) / per_s - BURST_S) + 1e-6


def test_what_one_device_spends_no_other_pays() -> None:
    rates = Rates(10, clock=Clock())
    rates.charge("loud", 10_000)
    assert rates.wait_s("loud") > 100
    assert rates.wait_s("calm") == 0


def test_no_limit_is_none() -> None:
    rates = Rates(0, clock=Clock())
    rates.charge("gate", 10**9)
    assert rates.wait_s("gate") == 0


def test_so_many_requests_of_a_device_are_inside_at_once_and_no_more() -> None:
    rates = Rates(0)
    assert [rates.enter("gate") for _ in range(AT_ONCE + 2)] == [True] * AT_ONCE + [False] * 2
    assert rates.enter("yard")
    rates.leave("gate")
    assert rates.enter("gate")
    for _ in range(AT_ONCE):
        rates.leave("gate")
    assert all(rates.enter("gate") for _ in range(AT_ONCE))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path, device_rate=1.0)
    yield house
    house.close()


def test_a_device_beyond_its_rate_is_told_how_long_to_wait_and_others_are_not(house: House) -> None:
    people = People()
    first = [people.sighting(1, at=10 + number) for number in range(12)]
    assert {outcome.result for outcome in house.send(*first)} == {"stored"}     # the purse holds 10
    again = house.post(encode_batch([people.sighting(1, at=30)]))
    assert again.status_code == 429
    assert int(again.headers["retry-after"]) >= 3
    assert "1 records a second" in again.text
    assert house.send(replace(people.sighting(1, at=40), device="yard"), device="yard")[0].result == "stored"


def test_a_body_that_is_no_batch_is_paid_for_too(house: House) -> None:
    assert [house.post(b"\xff" * 9).status_code for _ in range(2)] == [400, 429]
