"""Whoever sets the clock neither reorders frames nor loses people, nor does a picture of another size."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.frames.times import Stamper, Timescale
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.pipeline import Pipeline
from cmnas_edge.camera.settings import (
    CameraSettings,
    DetectorSettings,
    SelectSettings,
    SourceSettings,
    SpectrumSettings,
)
from cmnas_edge.camera.tally import Tally
from cmnas_edge.camera.watch import Camera, watch
from tests.camera.clock import Clock
from tests.camera.fakes import FPS, HEIGHT, START, WIDTH, Clip, film, write_boxes

FRAMES = 80


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(-1e7, 1e7), st.floats(-20, 20) | st.none()), max_size=40))
def test_frames_keep_their_order_and_their_wall_time_whatever_the_clock_is_set_to(
        steps: list[tuple[float, float, float | None]]) -> None:
    wall, steady = Clock(1.7e9), Clock(50.0)
    stamper = Stamper(Timescale(wall, steady), 5.0)
    last = -float("inf")
    for passed_s, set_by_s, age_s in steps:
        steady.now += passed_s
        wall.now += passed_s + set_by_s
        stamp = stamper.stamp(None if age_s is None else wall.now - age_s)
        believed = age_s is not None and abs(age_s) <= 5
        assert stamp.seen_at >= last
        assert stamp.arrived_at == steady.now
        assert stamp.source == ("sender" if believed else "arrival")
        assert bool(stamp.foreign_s) == (age_s is not None and not believed)
        truth = wall.now - (age_s if believed and age_s else 0)
        # Only what would run backwards is held at the frame before, which was up to twice 5 s nearer.
        assert stamp.seen_at + stamp.shift_s == pytest.approx(truth, abs=1e-5) or stamp.seen_at == last
        last = stamp.seen_at


def test_a_senders_time_is_not_asked_for_by_who_believes_none() -> None:
    stamper = Stamper(Timescale(Clock(100.0), Clock()), 0.0)
    assert stamper.stamp(100.0)[:2] == (100.0, 0.0)
    assert stamper.stamp(10.0).source == "arrival"


class Live:
    """A camera whose frames are timed as live ones are, and whose device's clock is set on the way."""

    recorded = False
    fps = None
    dropped_count = 0

    def __init__(self, set_by_s: float, settings: Sequence[int]) -> None:
        self._wall, self._steady = Clock(START), Clock(5.0)
        self._stamper = Stamper(Timescale(self._wall, self._steady), 0.0)
        self._pictures = enumerate(film(FRAMES))
        self._set_by_s = set_by_s
        self._set_at = settings
        self.over = threading.Event()

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        for index, picture in self._pictures:
            self._wall.now += 1 / FPS + self._set_by_s * (index in self._set_at)
            self._steady.now += 1 / FPS
            stamp = self._stamper.stamp(None)
            yield Frame(picture, index, stamp.seen_at, stamp.arrived_at, stamp.shift_s, stamp.source)
        self.over.set()

    def __next__(self) -> Frame:
        raise NotImplementedError

    def close(self) -> None:
        pass


def watched(folder: Path, set_by_s: float, set_at: Sequence[int]) -> list[Pick]:
    settings = CameraSettings(
        name="c", source=SourceSettings(location="rtsp://c"), spectrum=SpectrumSettings(dwell_s=1.0),
        detector=DetectorSettings(kind="boxes", path=write_boxes(folder / "boxes.jsonl", FRAMES)),
        select=SelectSettings(min_height=20, period_s=2.0, view_gap_s=0.3))
    tally = Tally()
    camera = Camera(settings, Pipeline(settings, open_detector(settings.detector), tally, height=HEIGHT, width=WIDTH,
                                       first_tracklet=1), lambda: source)
    source, picks = Live(set_by_s, set_at), []
    watch(camera, lambda _, told, __: picks.extend(told) or (), source.over, tally, backoff=Backoff(clock=Clock()),
          clock=Clock())
    assert camera.time_source == "arrival"
    return picks


@pytest.mark.parametrize("set_by_s", [3600.0, -3600.0, -1.5, 1e9])
def test_a_clock_set_while_a_person_is_in_view_neither_ends_nor_repeats_nor_loses_them(
        tmp_path: Path, set_by_s: float) -> None:
    steady = watched(tmp_path, 0.0, [])
    picks = watched(tmp_path, set_by_s, [30])
    assert len(picks) == len(steady) > 2
    told_before = 0
    for pick, plain in zip(picks, steady, strict=True):
        assert (pick.tracklet, pick.view_count, pick.quality) == (plain.tracklet, plain.view_count, plain.quality)
        assert (pick.crops == plain.crops).all()
        # The clock's time at the moment of telling: of those told after it was set, the corrected one.
        moved_s = set_by_s if plain.seen_at > START + 30 / FPS else 0.0
        told_before += not moved_s
        assert (pick.seen_from, pick.seen_at) == pytest.approx((plain.seen_from + moved_s, plain.seen_at + moved_s),
                                                               abs=1e-5)
        assert pick.times == pytest.approx([time + moved_s for time in plain.times], abs=1e-5)
    assert 0 < told_before < len(picks)


def test_a_clock_that_runs_to_and_fro_changes_nothing_but_the_time_told(tmp_path: Path) -> None:
    steady = watched(tmp_path, 0.0, [])
    picks = watched(tmp_path, -7.0, range(0, FRAMES, 3))
    assert [(pick.tracklet, pick.view_count) for pick in picks] == [(one.tracklet, one.view_count) for one in steady]
    assert [pick.seen_at - pick.seen_from for pick in picks] == pytest.approx(
        [one.seen_at - one.seen_from for one in steady], abs=1e-5)


def test_nobody_is_followed_from_one_size_of_picture_into_another(tmp_path: Path) -> None:
    boxes = write_boxes(tmp_path / "boxes.jsonl", 40)
    settings = CameraSettings(
        name="c", source=SourceSettings(location="rtsp://c"), detector=DetectorSettings(kind="boxes", path=boxes),
        spectrum=SpectrumSettings(modality="visible"), select=SelectSettings(min_height=20, view_gap_s=0.3))
    tracklets = []
    for wider in (0, 16):
        pictures = [np.pad(picture, ((0, 0), (0, wider if row >= 20 else 0), (0, 0)))
                    for row, picture in enumerate(film(40))]
        picks: list[Pick] = []
        camera = Camera(settings, Pipeline(settings, open_detector(settings.detector), Tally(), height=HEIGHT,
                                           width=WIDTH, first_tracklet=1), lambda: Clip(pictures))  # noqa: B023
        watch(camera, lambda _, told, __: picks.extend(told) or (), threading.Event(), Tally())  # noqa: B023
        tracklets.append([pick.tracklet for pick in picks])
    assert tracklets == [[1], [1, 2]]
