"""What is made ahead is what would have been made when asked for, and is made while others compute."""

from __future__ import annotations

import threading

import pytest

from train.data.ahead import Ahead


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_each_step_gets_its_own_whatever_the_order(workers: int) -> None:
    with Ahead(lambda step: step * step, end=20, workers=workers) as ahead:
        for step in (0, 1, 2, 3, 9, 10, 3, 19, 25, 4, 4):
            assert ahead.at(step) == step * step


def test_the_next_steps_are_made_before_they_are_asked_for_and_none_twice() -> None:
    made: list[int] = []
    enough = threading.Event()

    def make(step: int) -> int:
        made.append(step)
        if len(made) == 4:
            enough.set()
        return step

    with Ahead(make, end=100, workers=2) as ahead:
        ahead.at(0)
        assert enough.wait(20)  # 0 and three more
        assert sorted(made) == [0, 1, 2, 3]
        assert [ahead.at(step) for step in (1, 2)] == [1, 2]
    assert len(made) == len(set(made))


def test_several_steps_are_made_at_once() -> None:
    together = threading.Barrier(3)

    def make(step: int) -> int:
        together.wait(20)  # breaks unless three threads are here
        return step

    with Ahead(make, end=3, workers=3) as ahead:
        assert [ahead.at(step) for step in range(3)] == [0, 1, 2]


def test_nothing_is_made_beyond_the_end() -> None:
    made: list[int] = []
    with Ahead(made.append, end=5, workers=2) as ahead:
        for step in range(5):
            ahead.at(step)
    assert sorted(made) == [0, 1, 2, 3, 4]


def test_what_goes_wrong_is_told_at_its_step() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("step 2")
        return step

    with Ahead(make, end=9, workers=2) as ahead:
        assert [ahead.at(step) for step in (0, 1)] == [0, 1]
        with pytest.raises(ValueError, match="step 2"):
            ahead.at(2)
        assert ahead.at(3) == 3


def test_no_thread_is_left() -> None:
    with Ahead(lambda step: step, end=9, workers=3) as ahead:
        ahead.at(0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_what_is_not_wanted_any_more_is_let_go() -> None:
    with Ahead(bytes, end=1000, workers=2) as ahead:
        for step in range(0, 900, 50):
            ahead.at(step)
        assert len(ahead._waiting) <= 3
