"""While a daemon runs, what it began with is set aside, and garbage does not wait for there to be much of it."""

from __future__ import annotations

import gc
import weakref
from contextlib import suppress

from cmnas_edge.camera.running.settled import settled


class Knot:
    """Refers to itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.own = self


def test_garbage_that_outlived_young_collections_goes_without_being_asked_for() -> None:
    begun_with: list[object] = [[] for _ in range(200_000)]
    gc.collect()
    threshold = gc.get_threshold()
    with settled():
        knot = Knot()
        gc.collect(1)   # old enough for a full collection alone to find it
        gone = weakref.ref(knot)
        del knot
        kept: list[object] = [[] for _ in range(20_000)]
        assert gone() is None
    assert gc.get_threshold() == threshold
    assert len(kept) < len(begun_with) // 4     # with which Python, left to itself, would have waited


def test_what_was_there_is_set_aside_only_meanwhile() -> None:
    held = Knot()
    with suppress(ZeroDivisionError), settled():
        seen = any(one is held for one in gc.get_objects())
        _ = 1 / 0
    assert not seen
    assert any(one is held for one in gc.get_objects())
    assert gc.get_freeze_count() == 0
