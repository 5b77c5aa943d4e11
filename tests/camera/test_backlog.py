"""Who is served when there are more people than the engine can take: in a simulation, and by the daemon itself."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.camera import backlog as module
from cmnas_edge.camera.backlog import Backlog
from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.settings import EngineSettings
from cmnas_edge.camera.tally import Tally
from tests.camera.clock import Clock

CROP = np.zeros((1, 2, 2, 3), np.uint8)


def pick(tracklet: int, seen_at: float = 0.0, views: int = 1) -> Pick:
    return Pick(tracklet, np.repeat(CROP, views, 0), (seen_at,) * views, seen_at, seen_at, 1.0, 10, 30, "visible")


def backlog(clock: Clock, **settings: float) -> tuple[Backlog, Tally]:
    tally = Tally()
    return Backlog(EngineSettings(**{"batch_wait_s": 0.0, **settings}), tally, clock), tally


class Crowd(NamedTuple):
    """What came of a simulated crowd."""

    delays: list[float]
    told: dict[tuple[str, int], list[float]]
    people: int
    arrived: int
    shed: int
    shed_by_camera: dict[str, int]


def simulate(cameras: dict[str, int], *, crops_per_s: float, period_s: float, budget_s: float = 2.0,
             seconds: float = 120.0, turn_s: float = 0.01, views: int = 2, stays_s: float = 1e9) -> Crowd:
    """Everybody in view is due every period; an engine takes so many crops a second, and a little for each turn."""
    clock = Clock(0.0)
    found, tally = backlog(clock, budget_s=budget_s)
    rng = np.random.default_rng(0)
    events: list[tuple[float, str, int, float]] = []
    number = 0
    for camera, people in cameras.items():
        for _ in range(people):
            number += 1
            due = rng.uniform(0, period_s)
            heapq.heappush(events, (due, camera, number, due - rng.uniform(0, stays_s)))    # some have long been here
    delays: list[float] = []
    told: dict[tuple[str, int], list[float]] = defaultdict(list)
    arrived = 0
    people: set[int] = set()

    def arrive() -> None:
        nonlocal arrived, number
        while events and events[0][0] <= clock.now:
            due, camera, tracklet, born = heapq.heappop(events)
            found.put(camera, [pick(tracklet, due, views)], due, recorded=False)
            arrived += 1
            people.add(tracklet)
            if due + period_s - born > stays_s:     # somebody else comes
                number += 1
                tracklet, born = number, due + period_s
            if due + period_s < seconds:
                heapq.heappush(events, (due + period_s, camera, tracklet, born))

    while events or len(found):
        arrive()
        turn = found.take(0.0)
        if not turn:
            clock.now = events[0][0] if events else clock.now
            continue
        spent = turn_s + sum(w.pick.view_count for w in turn) / crops_per_s
        clock.now += spent
        found.done(turn, spent)
        for waiting in turn:
            delays.append(clock.now - waiting.arrived_at)
            told[waiting.camera, waiting.pick.tracklet].append(clock.now)
    return Crowd(delays, told, len(people), arrived, tally["shed"], dict(found.shed))


def test_with_time_for_all_nobody_is_shed() -> None:
    crowd = simulate({"north": 100, "south": 100}, crops_per_s=100, period_s=10.0)
    assert (crowd.shed, len(crowd.delays)) == (0, crowd.arrived)
    assert max(crowd.delays) < 2.0


@pytest.mark.parametrize("budget_s", [0.5, 2.0, 8.0])
def test_four_times_overloaded_what_is_told_is_on_disk_within_the_budget(budget_s: float) -> None:
    crowd = simulate({"north": 150, "south": 50}, crops_per_s=10, period_s=10.0, budget_s=budget_s)
    assert crowd.arrived == len(crowd.delays) + crowd.shed
    assert np.quantile(crowd.delays, 0.99) <= budget_s
    # The engine is not left idle by it: after its learning, 10 crops a second are 5 picks.
    assert len(crowd.delays) > 0.85 * 5 * 120


def test_an_overloaded_device_tells_of_everybody_once_before_it_tells_of_somebody_again() -> None:
    crowd = simulate({"north": 200}, crops_per_s=20, period_s=4.0)
    assert len(crowd.told) == 200
    last_first = sorted(times[0] for times in crowd.told.values())[-10]
    assert last_first < 200 / 10 * 1.5      # ten picks a second, for 200 people
    # And then in turn: nobody is told of much more often than others.
    counts = Counter(len(times) for times in crowd.told.values())
    assert max(counts) <= 2 * min(counts) + 1, counts


def test_with_people_coming_and_going_those_never_told_of_come_first() -> None:
    crowd = simulate({"north": 100}, crops_per_s=40, period_s=2.0, stays_s=20.0, seconds=200.0)
    # 50 picks a second are due, 20 are served, 5 of them of somebody new: they all fit.
    assert crowd.shed > 0.3 * crowd.arrived
    # But of the hundred who were all there at the start.
    assert sum(tracklet > 100 for _, tracklet in crowd.told) == crowd.people - 100 > 700


def test_a_crowd_before_one_camera_does_not_silence_another() -> None:
    crowd = simulate({"crowd": 196, "quiet": 4}, crops_per_s=10, period_s=10.0)
    assert crowd.shed_by_camera["crowd"] > 1000
    # Five picks a second: after a minute everybody was told of once, and the quiet camera's four are never shed again.
    quiet = [[time for time in times if time > 60] for (camera, _), times in crowd.told.items() if camera == "quiet"]
    assert [len(times) for times in quiet] == [6] * 4


def test_an_engine_slower_than_the_budget_still_serves_one_at_a_time() -> None:
    crowd = simulate({"north": 20}, crops_per_s=0.5, period_s=10.0, budget_s=1.0, views=4)
    assert len(crowd.delays) >= 13      # eight seconds each


def test_what_an_engine_that_hangs_holds_up_is_bounded_by_the_budget() -> None:
    clock = Clock(0.0)
    found, tally = backlog(clock, budget_s=2.0)
    for step in range(1000):    # nobody takes
        clock.now = step / 10
        found.put("north", [pick(step, views=4)], clock.now, recorded=False)
        assert len(found) <= 21
    assert tally["shed"] == 1000 - len(found)


def test_memory_is_bounded_too_and_the_least_claims_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_CROPS", 10)
    clock = Clock(0.0)
    found, tally = backlog(clock, max_batch=4)
    known = pick(1)
    found.put("north", [known], 0.0, recorded=False)
    found.done(found.take(0.0) or [], 0.001)
    found.put("north", [pick(1, 5.0), *(pick(row, 5.0) for row in range(2, 12))], 0.0, recorded=False)
    assert tally["shed"] == 1
    told = [w.pick.tracklet for _ in range(3) for w in found.take(0.0) or []]
    assert told == list(range(2, 12))


def test_a_batch_waits_for_others_only_so_long_and_not_when_it_is_full() -> None:
    patient = Backlog(EngineSettings(batch_wait_s=3600.0, budget_s=1e5, max_batch=4), Tally())
    patient.put("north", [pick(row) for row in range(4)], time.monotonic(), recorded=False)
    assert len(patient.take(3600.0) or []) == 4
    brisk = Backlog(EngineSettings(batch_wait_s=0.02), Tally())
    brisk.put("north", [pick(1)], time.monotonic(), recorded=False)
    assert len(brisk.take(3600.0) or []) == 1
    assert brisk.take(0.0) == []


def test_two_cameras_share_a_batch() -> None:
    shared = Backlog(EngineSettings(batch_wait_s=3600.0, budget_s=1e5, max_batch=2), Tally())
    taken: list[list[module.Waiting] | None] = []
    taking = threading.Thread(target=lambda: taken.append(shared.take(3600.0)))
    taking.start()
    for camera in ("north", "south"):
        shared.put(camera, [pick(1)], time.monotonic(), recorded=False)
    taking.join(20)
    assert [[w.camera for w in turn or []] for turn in taken] == [["north", "south"]]


def test_recorded_footage_waits_for_room_and_loses_nothing_and_keeps_its_order() -> None:
    clock = Clock(0.0)
    found, tally = backlog(clock)
    row = 0
    while found.put("north", [pick(row)], -100.0, recorded=True, wait_s=0.0):
        row += 1
    assert row == module._MOST_RECORDED
    found.close()
    told = []
    while (turn := found.take(0.0)) is not None:
        told += [w.pick.tracklet for w in turn]
    assert told == list(range(row))
    assert tally["shed"] == 0


def test_at_the_end_nothing_is_shed() -> None:
    clock = Clock(0.0)
    found, tally = backlog(clock, budget_s=1.0)
    found.keep_all()
    found.put("north", [pick(row) for row in range(50)], -100.0, recorded=False)
    found.close()
    assert sum(len(turn) for turn in iter(lambda: found.take(0.0) or [], [])) == 50
    assert found.take(0.0) is None
    assert tally["shed"] == 0


STEP = st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.integers(1, 3), st.floats(0, 0.4))


@given(st.lists(STEP, max_size=60))
def test_everybody_is_served_once_or_shed_once(steps: list[tuple[str, int, int, float]]) -> None:
    clock = Clock(0.0)
    found, tally = backlog(clock, budget_s=0.5, max_batch=4)
    served = 0

    def serve() -> Iterator[int]:
        turn = found.take(0.0) or []
        assert sum(w.pick.view_count for w in turn) <= 4 or len(turn) == 1
        if turn:
            clock.now += 0.1 * len(turn)
            found.done(turn, 0.1 * len(turn))
        yield len(turn)

    for camera, tracklet, views, pause in steps:
        clock.now += pause
        found.put(camera, [pick(tracklet, clock.now, views)], clock.now, recorded=False)
        if tracklet % 2:
            served += sum(serve())
    while len(found):
        clock.now += 0.01
        served += sum(serve())
    assert served + tally["shed"] == len(steps)
    assert sum(found.shed.values()) == tally["shed"]


def test_who_was_shed_comes_again_so_that_the_engine_never_idles_before_a_crowd() -> None:
    """All are due in the same instant, as when a train arrives."""
    clock = Clock(0.0)
    found, tally = backlog(clock, budget_s=2.0)
    due_at = dict.fromkeys(range(200), 0.0)
    told: Counter[int] = Counter()
    busy_s = 0.0
    while clock.now < 60.0:
        picks = []
        for tracklet, due in due_at.items():
            if due <= clock.now:
                picks.append(pick(tracklet, clock.now)._replace(seen_from=due))
                due_at[tracklet] = clock.now + 10.0
        found.put("north", picks, clock.now, recorded=False)
        for untold in found.untold("north"):
            due_at[untold.tracklet] = untold.seen_from
        turn = found.take(0.0) or []
        if turn:
            found.done(turn, len(turn) / 8)     # eight a second, of twenty that are due
        told.update(waiting.pick.tracklet for waiting in turn)
        busy_s += len(turn) / 8
        clock.now += max(0.1, len(turn) / 8)
    assert busy_s > 0.95 * clock.now
    assert len(told) == 200
    assert max(told.values()) - min(told.values()) <= 2
    assert tally["shed"]


def test_who_has_left_is_forgotten_and_who_is_in_view_or_waits_is_not() -> None:
    found, _ = backlog(Clock(0.0), budget_s=100.0, max_batch=64)
    for camera in ("north", "south"):
        found.put(camera, [pick(row) for row in range(1, 6)], 0.0, recorded=False)
    found.done(found.take(0.0) or [], 0.1)
    found.put("north", [pick(2)], 0.0, recorded=False)  # has left, and this is the last of them
    found.forget("north", {1})
    assert (set(found._told_at["north"]), set(found._told_at["south"])) == ({1, 2}, set(range(1, 6)))
    found.put("north", [pick(9)], 0.0, recorded=False)
    assert [waiting.pick.tracklet for waiting in found._ranked()] == [9, 2]
    found.done(found.take(0.0) or [], 0.1)
    found.forget("north", {1})
    assert set(found._told_at["north"]) == {1}


def test_who_was_shed_is_told_to_its_camera_once() -> None:
    clock = Clock(0.0)
    found, _ = backlog(clock, budget_s=1.0)
    found.put("north", [pick(1, 5.0), pick(1, 7.0), pick(2, 6.0)], 0.0, recorded=False)
    assert found.untold("north") == []
    clock.now = 1.5
    found.put("south", [pick(3)], 1.5, recorded=False)
    assert found.untold("north") == [(1, 5.0), (2, 6.0)]
    assert found.untold("north") == found.untold("south") == []


def test_a_pick_that_comes_before_its_camera_asked_tells_of_what_was_shed_too() -> None:
    clock = Clock(0.0)
    found, _ = backlog(clock, budget_s=1.0)
    found.put("north", [pick(1, 5.0)], 0.0, recorded=False)
    clock.now = 1.5
    assert found.take(0.0) == []
    found.put("north", [pick(1, 7.0)], 1.5, recorded=False)
    assert [w.pick.seen_from for w in found.take(0.0) or []] == [5.0]
    assert found.untold("north") == []
