"""Visible or infrared, from the picture: what colour says, and how slowly the answer changes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.camera.frames.footage import video
from cmnas_edge.camera.settings import SpectrumSettings
from cmnas_edge.camera.spectrum import Spectrum, SpectrumState, chroma
from tests.camera.footage import film, grey, noisy, room
from tests.shared import SHARED, needs_shared

U8 = npt.NDArray[np.uint8]
COLOUR = room()
GREY = grey(room())
DARK = (room() * 0.03).astype(np.uint8)
BETWEEN = cv2.addWeighted(COLOUR, 0.085, GREY, 0.915, 0)  # chroma between the two thresholds, for this camera
PICTURES = {"colour": COLOUR, "grey": GREY, "dark": DARK, "between": np.asarray(BETWEEN, np.uint8)}


def watch(*scenes: tuple[str, float], fps: float = 10.0, **chosen: object) -> list[SpectrumState]:
    """Show scenes for some seconds each."""
    spectrum = Spectrum(SpectrumSettings(**chosen))  # type: ignore[arg-type]
    states = []
    for scene, seconds in scenes:
        for _ in range(round(seconds * fps)):
            states.append(spectrum.update(PICTURES[scene], len(states) / fps))
    return states


def judged(spectrum: Spectrum, start: float, seconds: float, colour: float) -> float:
    """Show a chroma at 5 frames a second; returns when it was last shown."""
    for step in range(round(seconds * 5)):
        spectrum.judge(colour, 100.0, start + step / 5)
    return start + seconds


def test_the_scenes_of_this_file_lie_where_their_names_say() -> None:
    default = SpectrumSettings()
    assert chroma(COLOUR)[0] > default.visible_above
    assert chroma(GREY)[0] == 0
    assert default.infrared_below < chroma(PICTURES["between"])[0] < default.visible_above
    assert chroma(DARK)[1] < default.dark_below


def test_a_camera_is_soon_certain_of_what_it_has_always_been() -> None:
    for scene, modality in (("colour", "visible"), ("grey", "infrared")):
        states = watch((scene, 3))
        assert states[0] == (None, False)
        assert [state.modality for state in states[5:]] == [modality] * 25
        assert sum(state.switched for state in states) == 1


def test_the_infrared_filter_makes_a_camera_uncertain_at_once_and_infrared_after_the_dwell() -> None:
    states = watch(("colour", 3), ("grey", 6), dwell_s=2.0, settle_s=1.0)
    assert [state.modality for state in states[25:30]] == ["visible"] * 5
    assert [state.modality for state in states[30:50]] == [None] * 20
    assert [state.modality for state in states[50:]] == ["infrared"] * 40
    assert [row for row, state in enumerate(states) if state.switched][-1] == 50


def test_a_short_grey_moment_switches_nothing() -> None:
    states = watch(("colour", 3), ("grey", 1), ("colour", 4))
    assert sum(state.switched for state in states[10:]) == 0
    assert states[-1].modality == "visible"
    assert {state.modality for state in states[10:]} == {"visible", None}


def test_a_camera_that_flickers_between_the_two_never_switches() -> None:
    states = watch(("colour", 3), *[("grey", 1), ("colour", 1)] * 10)
    assert sum(state.switched for state in states[10:]) == 0


def test_a_doubt_is_over_once_votes_have_agreed_that_nothing_changed() -> None:
    states = watch(("colour", 3), ("grey", 1), ("colour", 4), settle_s=1.5)
    assert [state.modality for state in states[30:55]] == [None] * 25
    assert [state.modality for state in states[55:]] == ["visible"] * 25


def test_the_next_switch_waits_however_certain_the_pictures_are() -> None:
    states = watch(("colour", 3), ("grey", 4), ("colour", 40), dwell_s=2.0, apart_s=20.0)
    assert [row for row, state in enumerate(states) if state.switched][1:] == [50, 250]
    assert {state.modality for state in states[70:250]} == {None}


def test_the_dark_votes_for_nothing() -> None:
    assert {state.modality for state in watch(("dark", 5))} == {None}
    states = watch(("colour", 3), ("dark", 60))
    assert states[-1].modality == "visible"
    assert sum(state.switched for state in states) == 1


def test_slowly_fallen_darkness_leaves_a_camera_what_it_was_and_sudden_darkness_in_doubt() -> None:
    for minutes, expected in ((20, "visible"), (0.01, None)):
        spectrum = Spectrum(SpectrumSettings())
        now = judged(spectrum, 0, 60, 40.0)
        for step in range(round(minutes * 60)):
            light = 0.03 ** (step / (minutes * 60))
            spectrum.judge(40 * light, 100 * light, now + step)
        now += minutes * 60
        assert {spectrum.judge(1.2, 3.0, now + step / 5).modality for step in range(100)} == {expected}


def test_a_grey_thing_before_a_colourful_place_makes_uncertain_for_a_while_and_switches_nothing() -> None:
    states = watch(("colour", 3), ("between", 60))
    assert [state.modality for state in states[30:329]] == [None] * 299
    assert states[-1].modality == "visible"
    assert sum(state.switched for state in states) == 1
    # Of a camera that showed nothing but grey it is colour enough.
    assert watch(("grey", 3), ("between", 60))[-1].modality == "visible"


def test_a_camera_that_has_only_ever_seen_a_scene_between_the_thresholds_still_decides() -> None:
    assert watch(("between", 2))[-1].modality is not None


def test_a_modality_that_is_set_is_believed_whatever_is_seen() -> None:
    states = watch(("grey", 2), modality="visible")
    assert {state.modality for state in states} == {"visible"}
    assert [state.switched for state in states] == [True] + [False] * 19


def test_one_frame_after_a_long_silence_switches_nothing() -> None:
    spectrum = Spectrum(SpectrumSettings())
    for frame in range(20):
        spectrum.update(COLOUR, frame / 10)
    assert spectrum.update(GREY, 2.0).modality is None
    assert not spectrum.update(GREY, 3600.0).switched  # an hour passed, but only two frames voted


@given(st.lists(st.tuples(st.sampled_from(sorted(PICTURES)), st.integers(1, 40)), min_size=1, max_size=8))
def test_whatever_is_seen_a_switch_is_always_to_the_other_modality_and_never_from_one_frame_to_the_next(
        scenes: list[tuple[str, int]]) -> None:
    dwell_s = 2.0
    states = watch(*[(scene, count / 10) for scene, count in scenes], dwell_s=dwell_s)
    certain: str | None = None
    since = -99
    for row, state in enumerate(states):
        if state.switched:
            assert state.modality is not None
            assert state.modality != certain
            assert certain is None or row - since >= dwell_s * 10
            certain, since = state.modality, row
        elif state.modality is not None:
            assert state.modality == certain


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.floats(0, 6), st.sampled_from([(120, 160), (360, 640), (1080, 1920), (37, 41)]))
def test_sensor_noise_does_not_colour_a_grey_scene(seed: int, spread: float, size: tuple[int, int]) -> None:
    scene = cv2.resize(GREY, (size[1], size[0]))
    picture = noisy(np.asarray(scene, np.uint8), np.random.default_rng(seed), spread)
    # Sixteen pixels are averaged: channels differ by about 1.7 sigma / 4. Rounding may part them by one level,
    # before and after.
    assert chroma(picture)[0] < 1.0 + (0.6 if size[0] >= 120 else 2.0) * spread


def test_one_brown_jacket_makes_a_grey_scene_visible() -> None:
    scene = GREY.copy()
    scene[100:160, 100:200] = (110, 120, 170)  # 8 % of the picture, so the mean alone would be under 5
    assert chroma(scene)[0] > SpectrumSettings().visible_above


def test_a_purple_cast_is_no_colour() -> None:
    # The filter is out, but the stream still says colour: every pixel has the same hue.
    cast = np.clip(GREY * np.array([1.1, 0.7, 1.05]), 0, 255).astype(np.uint8)
    assert (cast.max(2) - cast.min(2)).mean() > 20
    assert chroma(cast)[0] < SpectrumSettings().infrared_below


def test_a_picture_without_an_unclipped_pixel_tells_nothing() -> None:
    for level in (0, 255):
        assert np.isnan(chroma(np.full((90, 160, 3), level, np.uint8))[0])
    assert {state.modality for state in watch(("colour", 3))[10:]} == {"visible"}
    spectrum = Spectrum(SpectrumSettings())
    for frame in range(20):
        spectrum.update(COLOUR, frame / 10)
    white = np.full_like(COLOUR, 255)
    assert {spectrum.update(white, 2 + frame / 10).modality for frame in range(50)} == {None}
    assert [spectrum.update(COLOUR, 7 + frame / 10).modality for frame in range(50)][-1] == "visible"


def test_light_of_one_hue_is_colour_unless_it_is_purple() -> None:
    sodium = np.clip(GREY * np.array([0.25, 0.8, 1.0]), 0, 255).astype(np.uint8)
    assert chroma(sodium)[0] > SpectrumSettings().visible_above


def test_the_tint_that_rounding_leaves_is_no_colour() -> None:
    tinted = (GREY.astype(np.int16) + np.array([-2, 1, -1])).clip(0, 255).astype(np.uint8)
    assert chroma(tinted)[0] < 0.5
    assert watch(("grey", 1))[-1].modality == "infrared"


def test_the_flat_grey_of_a_decoder_that_lost_its_picture_switches_nothing() -> None:
    flat = np.full_like(COLOUR, 128)
    spectrum = Spectrum(SpectrumSettings())
    for frame in range(30):
        spectrum.update(COLOUR, frame / 10)
    states = [spectrum.update(flat, 3 + frame / 10) for frame in range(250)]
    assert {state.modality for state in states} == {None}
    assert [spectrum.update(COLOUR, 28 + frame / 10).modality for frame in range(40)][-1] == "visible"


def test_votes_with_pictures_between_them_that_are_neither_agree_on_nothing() -> None:
    spectrum = Spectrum(SpectrumSettings())
    now = judged(spectrum, 0, 60, 20.0)
    for step in range(500):
        state = spectrum.judge(4.5 if step % 4 == 0 else 0.5, 100.0, now + step / 5)
        assert state == (None, False) or (step >= 149 and state == ("visible", False))
    nan = float("nan")
    states = [spectrum.judge(nan if step % 4 == 0 else 0.5, 100.0, now + 100 + step / 5) for step in range(100)]
    assert states[-1].modality == "infrared"    # glare between them is no objection


def test_a_place_almost_without_colour_is_told_from_its_nights() -> None:
    spectrum = Spectrum(SpectrumSettings())
    now = judged(spectrum, 0, 600, 1.6)
    assert spectrum.judge(1.6, 100, now).modality == "visible"
    now = judged(spectrum, now, 600, 0.0)
    assert spectrum.judge(0.0, 100, now).modality == "infrared"
    now = judged(spectrum, now, 600, 1.6)
    assert spectrum.judge(1.6, 100, now).modality == "visible"


def test_nights_with_colour_noise_are_infrared_where_days_have_more() -> None:
    spectrum = Spectrum(SpectrumSettings())
    now = judged(spectrum, 0, 600, 20.0)
    for colour, modality in ((2.0, "infrared"), (20.0, "visible"), (2.0, "infrared"), (20.0, "visible")):
        now = judged(spectrum, now, 600, colour)
        assert spectrum.judge(colour, 100, now).modality == modality


def test_fog_in_which_days_have_no_more_colour_than_nights_switches_nothing() -> None:
    spectrum = Spectrum(SpectrumSettings())
    now = judged(spectrum, 0, 60, 12.0)
    for minute in range(600):
        spectrum.judge(0.5, 100.0, now + 5 * minute)    # a night that shows half a level
    now = judged(spectrum, now + 3000, 60, 12.0)
    for second in range(1200):
        spectrum.judge(12 * 0.03 ** (second / 1200), 100.0, now + second)
    states = [spectrum.judge(0.36 + 0.1 * (step % 3 - 1), 100.0, now + 1200 + step / 5) for step in range(600)]
    assert {state.modality for state in states} <= {"visible", None}
    assert not any(state.switched for state in states)


def test_what_was_colourful_for_hours_and_drives_away_leaves_a_grey_yard_visible() -> None:
    spectrum = Spectrum(SpectrumSettings())
    now = judged(spectrum, 0, 60, 1.8)
    for hour in range(8 * 60):  # a picture a minute will do
        spectrum.judge(9.0, 100, now + 60 * hour)
    now = judged(spectrum, now + 8 * 3600, 120, 1.8)
    assert spectrum.judge(1.8, 100, now).modality == "visible"


def test_motion_jpeg_leaves_grey_grey(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = film(tmp_path / "grey.avi", [noisy(GREY, rng, 4) for _ in range(5)])
    for picture in video(path).pictures():
        assert chroma(picture)[0] < SpectrumSettings().infrared_below


@needs_shared("data/vtest.avi", "data/one_by_one_person.mp4")
@pytest.mark.parametrize("name", ["vtest.avi", "one_by_one_person.mp4"])
def test_real_colour_footage_is_visible_and_without_its_colour_infrared(name: str) -> None:
    for turned, modality in ((False, "visible"), (True, "infrared")):
        spectrum = Spectrum(SpectrumSettings())
        for index, picture in enumerate(video(SHARED / "data" / name).pictures()):
            state = spectrum.update(grey(picture) if turned else picture, index / 10)
            if index == 60:
                break
        assert state.modality == modality
