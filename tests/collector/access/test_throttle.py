"""Tries are slowed, come back with time, and are counted in bounded memory; passwords take bounded work."""

from __future__ import annotations

import threading

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cmnas_edge.collector.access import passwords, throttle
from cmnas_edge.collector.access.passwords import Passwords
from cmnas_edge.collector.access.throttle import LANES, Throttle
from cmnas_edge.errors import ConfigError, Transient


@given(st.lists(st.floats(0, 200), max_size=80), st.sampled_from(sorted(LANES)))
def test_in_no_stretch_of_time_are_there_more_tries_than_at_once_and_what_came_back(
        pauses: list[float], kind: str) -> None:
    now, taken = 0.0, []
    slowed = Throttle(clock=lambda: now)
    most, every_s = LANES[kind]
    for pause in pauses:
        now += pause
        wait_s = slowed.wait_s([(kind, "anna")])
        if not wait_s:
            taken.append(now)
        else:
            assert wait_s <= every_s + 1e-6, "nobody waits for longer than one try takes to come back"
    for first, began in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= most + (taken[last] - began) / every_s + 1e-6


def test_a_try_that_one_lane_refuses_costs_the_others_nothing_and_a_right_one_nobody() -> None:
    slowed = Throttle(clock=lambda: 0.0)
    for _ in range(LANES["name"][0]):
        assert slowed.wait_s([("name", "anna"), ("address", "192.0.2.1")]) == 0
    for _ in range(100):
        assert slowed.wait_s([("name", "anna"), ("address", "192.0.2.1")]) > 0
    rest = LANES["address"][0] - LANES["name"][0]
    assert [slowed.wait_s([("address", "192.0.2.1")]) > 0 for _ in range(rest + 1)] == [False] * rest + [True]
    for _ in range(100):
        assert slowed.wait_s([("name", "bo")]) == 0
        slowed.give_back([("name", "bo")])


def test_a_flood_of_names_is_forgotten_before_one_that_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_MOST", 100)
    slowed = Throttle(clock=lambda: 0.0)
    for _ in range(LANES["name"][0]):
        slowed.wait_s([("name", "anna")])
    for number in range(1000):
        slowed.wait_s([("name", f"flood{number}")])
        assert len(slowed._full_at) <= 100
    assert slowed.wait_s([("name", "anna")]) > 0


def test_more_passwords_than_can_wait_are_turned_away_and_let_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_WAITING", 3)
    hall = Passwords(memory_kib=64, passes=1)
    kept = hall.hash("a long password")
    go_on = threading.Event()
    real = hall._is

    def slow(*given: str) -> bool:
        assert go_on.wait(30)
        return real(*given)

    monkeypatch.setattr(hall, "_is", slow)
    waiting = [hall.check(kept, "a long password") for _ in range(3)]
    with pytest.raises(Transient, match="too many try at this moment"):
        hall.check(kept, "a long password")
    go_on.set()
    assert [future.result(30) for future in waiting] == [True] * 3
    while True:     # room is made just after an answer is known
        try:
            assert hall.check(kept, "another").result(30) is False
            break
        except Transient:
            continue
    hall.close()


@pytest.mark.parametrize("password", ["", "x" * 11, "ä" * 513])
def test_a_password_too_short_or_too_long_is_refused_and_not_repeated(password: str) -> None:
    hall = Passwords(memory_kib=64, passes=1)
    with pytest.raises(ConfigError, match="at least 12 characters") as said:
        hall.hash(password)
    assert not password or password not in str(said.value)
    hall.close()


def test_two_hashes_of_a_password_differ_and_say_their_cost() -> None:
    hall = Passwords()
    one = hall.hash("a long password")
    assert one.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    cheap = Passwords(memory_kib=64, passes=1)
    assert cheap.hash("a long password") != cheap.hash("a long password")
    assert cheap.is_old(one)
    assert not hall.is_old(one)
    for each in (hall, cheap):
        each.close()
