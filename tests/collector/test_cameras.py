"""What is told of a camera counts what the hot window holds of it, whatever came, went, and was told of twice."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from cmnas_edge.collector import cameras
from cmnas_edge.collector.gallery import Gallery
from cmnas_edge.collector.store.records import Arrival, Record
from tests.collector.people import F32, People
from tests.collector.test_rollout import NEW, OLD

WINDOW_S = 100.0
PEOPLE = {False: People(1, dimension=OLD.dimension), True: People(1, dimension=NEW.dimension)}
# Camera, tracklet, when it was seen, by which bundle, and how long since the one before was received.
CAME = st.tuples(st.sampled_from(["north", "south"]), st.integers(1, 3), st.integers(0, 9), st.booleans(),
                 st.integers(-90, 90))
STEPS = st.lists(st.one_of(CAME, CAME, st.sampled_from(["expire", "erase", "start"])), min_size=8, max_size=30)


def held(gallery: Gallery) -> dict[str, int]:
    """How many sightings the window holds of each camera, each once however often it was told of."""
    told = {(one.camera, one.tracklet, one.seen_from, one.seen_at) for one in gallery.sightings(limit=1000).sightings}
    return dict(Counter(camera for camera, *_ in told))


@settings(max_examples=200, deadline=None)
@given(STEPS, st.booleans(), st.integers(1, 12))
def test_a_camera_counts_what_the_window_holds_of_it_and_each_appearance_once(
        steps: list[tuple[str, int, int, bool, int] | str], several: bool, limit: int) -> None:
    def empty() -> Gallery:
        return Gallery(OLD, also=[NEW] if several else [])

    gallery, journal, now = empty(), dict[int, tuple[Record, F32]](), 1000.0
    sent = set[object]()
    for number, step in enumerate(steps, start=1):
        if isinstance(step, tuple):
            camera, tracklet, at, second, later = step
            now, model = now + later, NEW if second and several else OLD
            if (camera, tracklet, at, model.fingerprint) in sent:   # a bundle tells of an appearance once
                continue
            sent.add((camera, tracklet, at, model.fingerprint))
            seen = PEOPLE[model is NEW].sighting(tracklet, at=at, camera=camera, tracklet=tracklet, sequence=number)
            record = Record.of(number, Arrival("gate", [], now), structs.replace(seen, fingerprint=model.fingerprint))
            journal[number] = record, seen.vector
            gallery.add(*journal[number])
        elif step == "expire":
            gallery.expire(now - WINDOW_S, limit)
        else:   # what was erased is not in the one that is made anew; what had left the window may be
            if step == "erase" and journal:
                del journal[min(journal)]
            anew = empty()
            anew.restore(list(journal.values()), ())
            if step == "start":
                gallery = anew
            else:
                gallery.become(anew)
        counted = {one.camera: one.sighting_count for one in gallery.cameras(now).cameras}
        assert {camera: count for camera, count in counted.items() if count} == held(gallery)
    gallery.expire(now + 1000, 0)
    assert gallery.cameras(now).cameras == []


def test_names_that_a_device_makes_up_take_no_more_memory_than_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "MOST_BARE", 5)
    gallery, people = Gallery(OLD), PEOPLE[False]
    for number in range(1, 61):
        seen = people.sighting(number, at=10.0 * number, camera=f"made up {number}", sequence=number)
        gallery.add(Record.of(number, Arrival("gate", [], 1000.0 + number), seen), seen.vector)
        gallery.expire(0.0, 10)
    shown = gallery.cameras(1060.0).cameras
    assert {one.camera: one.sighting_count for one in shown} == {
        f"made up {number}": int(number > 50) for number in range(46, 61)}
