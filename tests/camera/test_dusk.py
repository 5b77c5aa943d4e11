"""Drawn dusks, through a real encoder, machine, tracker and engines: told in time, and nothing mixed or lost."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace as changed

from benchmarks.dusk import sightings, watch
from benchmarks.dusk_series import CAMERAS, count, day
from benchmarks.dusks import DUSKS, Drawn, Dusk, Moment, Stage, coded
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.camera.embedder import Embedder
from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.people.detection import Detections
from cmnas_edge.camera.people.track import Tracks
from cmnas_edge.camera.pipeline import Pipeline
from cmnas_edge.camera.settings import CameraSettings, SelectSettings, SourceSettings, SpectrumSettings
from cmnas_edge.camera.spectrum import chroma
from cmnas_edge.camera.tally import Tally
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.engine import open_engine
from tests.camera.fakes import film as clothed

U8 = npt.NDArray[np.uint8]
needs_h264 = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="no encoder: the extra 'demo' has one")
FPS = 3.0
SEED = 7


def short(name: str, start_s: float, end_s: float, seed: int = SEED, people: int = 0) -> Iterator[Drawn]:
    return Stage(seed, end_s, people, FPS).film(DUSKS[name], start_s, end_s)


@pytest.mark.parametrize(("name", "start_s", "end_s"), [
    ("dusk", 34, 52), ("dawn", 14, 32), ("flash", 33, 52), ("purple", 34, 52), ("purple and daylight", 34, 52)])
def test_a_move_of_the_filter_is_told_within_ten_seconds(name: str, start_s: float, end_s: float) -> None:
    told = list(watch(short(name, start_s, end_s), DUSKS[name]))[-1]
    (delay_s,) = told.delays_s
    assert delay_s is not None
    assert delay_s <= 10
    assert (told.false_switches, told.wrong_share) == (0, 0)


@pytest.mark.parametrize(("name", "start_s", "end_s"), [
    ("white lamp", 36, 52), ("sodium lamp", 36, 52), ("snow", 0, 14), ("headlights, visible", 20, 44),
    ("headlights, infrared", 20, 44), ("lamps out", 17, 33)])
def test_what_is_no_move_of_the_filter_switches_nothing(name: str, start_s: float, end_s: float) -> None:
    told = list(watch(short(name, start_s, end_s), DUSKS[name]))[-1]
    assert (told.false_switches, told.wrong_share) == (0, 0)
    assert len({modality for *_, modality, _ in told.trail} - {None}) == 1


def test_a_filter_that_goes_to_and_fro_is_followed_once_it_stays() -> None:
    told = list(watch(short("flapping", 18, 56), DUSKS["flapping"]))[-1]
    assert told.delays_s[0] is not None
    assert told.delays_s[0] <= 10
    assert told.wrong_share == 0


def test_a_snowy_day_and_its_night_are_told_apart_both_ways() -> None:
    dusk = DUSKS["snow, a night"]
    told = list(watch(short("snow, a night", 14, 62), dusk))[-1]
    assert all(delay_s is not None and delay_s <= 10 for delay_s in told.delays_s)
    assert (told.false_switches, told.wrong_share) == (0, 0)


@needs_h264
@pytest.mark.parametrize("crf", [20, 28, 40])
def test_a_stream_keeps_grey_grey_and_snow_visible(crf: int) -> None:
    grey = DUSKS["headlights, infrared"]
    pictures = [one.image for one in Stage(SEED, 10, 0, FPS).film(
        Dusk(10, lambda _: Moment(filter_in=False, noise=3.0), ""), 8)]
    for rounded in (False, True):
        sent = list(coded(pictures, crf, FPS, rounded=rounded))
        assert len(sent) == len(pictures)
        assert max(chroma(picture)[0] for picture in sent) < 1.5, "a first picture may be worse"
        assert np.median([chroma(picture)[0] for picture in sent]) < 0.36 * SpectrumSettings().infrared_below
    assert grey.moves == ()
    if crf < 40:    # at 40 there is no colour left in drawn snow
        snow = [one.image for one in short("snow", 0, 3)]
        told = list(watch((Drawn(image, row / FPS, "visible") for row, image in enumerate(coded(snow, crf, FPS))),
                          DUSKS["snow"]))[-1]
        assert told.trail[-1][2] == "visible"


@needs_h264
def test_the_encoder_gives_back_every_picture_in_order() -> None:
    pictures = [np.full((48, 64, 3), 10 * level, np.uint8) for level in range(20)]
    sent = list(coded(pictures, 20, FPS))
    assert [round(float(picture.mean()) / 10) for picture in sent] == list(range(20))


def test_people_who_walk_through_a_dusk_are_told_of_without_a_mixed_sighting() -> None:
    stage = Stage(SEED, 58.0, 6, 5.0)
    sent = list(sightings(stage.film(DUSKS["dusk"], 24)))[-1]
    assert sent.count >= 2
    assert (sent.mixed, sent.wrong) == (0, 0)


class Seen:
    """Counts what came out of a pipeline, as a trace does."""

    def __init__(self) -> None:
        self.modalities: list[Modality | None] = []

    def write(self, camera: str, frame: Frame, tracks: Tracks, modality: Modality | None) -> None:
        self.modalities.append(modality)


class Standing:
    """Finds the one who always stands there."""

    def detect(self, image: U8, index: int) -> Detections:
        return Detections(np.array([[50, 30, 74, 100]], np.float32), np.ones(1, np.float32))

    def reset(self) -> None:
        pass


def test_a_switch_loses_no_frame_and_both_resident_engines_embed_what_is_theirs() -> None:
    bundle = Bundle.open(default_path())
    tally, seen = Tally(), Seen()
    settings = CameraSettings(
        name="north", source=SourceSettings(location="drawn"), spectrum=SpectrumSettings(dwell_s=2.0, apart_s=2.0),
        select=SelectSettings(min_height=20, period_s=3.0))
    pipeline = Pipeline(settings, Standing(), tally, height=bundle.height, width=bundle.width, first_tracklet=1,
                        trace=seen)
    parts: Sequence[tuple[int, int, int]] = ((40, 90, 200), (120, 120, 120), (40, 90, 200))
    pictures = [picture for clothes in parts for picture in clothed(100, clothes)]
    picks = []
    for row, picture in enumerate(pictures):
        picks += [(pick, row) for pick in pipeline.process(Frame(picture, row, row / 10, row / 10))]
    picks += [(pick, len(pictures)) for pick in pipeline.end()]
    assert len(seen.modalities) == tally["frames"] == len(pictures) == 300
    changes = [now for was, now in zip([None, *seen.modalities], seen.modalities, strict=False) if was != now]
    assert [modality for modality in changes if modality] == ["visible", "infrared", "visible"]
    for pick, _ in picks:
        truths = {"infrared" if 10 <= at_s < 20 else "visible" for at_s in pick.times}
        assert truths == {pick.modality}
    assert {pick.modality for pick, _ in picks} == set(MODALITIES)
    with open_engine(bundle, "visible") as visible, open_engine(bundle, "infrared") as infrared:
        embedder = Embedder("gate", bundle.fingerprint, {"visible": visible, "infrared": infrared}, "fp16", tally)
        records = embedder.records([("north", pick) for pick, _ in picks])
    assert len(records) == len(picks)
    assert tally["crops"] == sum(pick.view_count for pick, _ in picks)


@pytest.mark.parametrize("kind", CAMERAS, ids=[kind.name for kind in CAMERAS])
def test_a_day_of_each_camera_has_no_false_switch(kind: object) -> None:
    found = count(kind, SEED, 1)  # type: ignore[arg-type]
    assert found.false_switches == 0
    assert found.missed == 0


def test_the_counting_of_days_sees_false_switches_where_there_are_some() -> None:
    hasty = changed(SpectrumSettings(), dwell_s=0.0, apart_s=0.0, visible_above=40.0, infrared_below=25.0)
    assert count(CAMERAS[0], SEED, 1, hasty).false_switches > 0


def test_a_day_is_drawn_the_same_again_and_another_is_another() -> None:
    once, again, other = (day(CAMERAS[0], seed, 0) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(once, again, strict=True))
    assert not np.array_equal(once.colour, other.colour, equal_nan=True)
