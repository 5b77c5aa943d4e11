"""People as what moves: found where they are; light, shadows and noise are nobody."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cmnas_edge.camera.frames.footage import video
from cmnas_edge.camera.people.geometry import iou
from cmnas_edge.camera.people.motion import MotionDetector
from cmnas_edge.camera.people.track import Tracker
from cmnas_edge.camera.settings import DetectorSettings, TrackSettings
from tests.camera.footage import HEIGHT, WIDTH, grey, noisy, room, with_people
from tests.shared import SHARED, needs_shared

U8 = npt.NDArray[np.uint8]


def box_of(x: int, y: int, height: int = 100) -> list[float]:
    return [x - height // 6, y - height + 5, x + height // 6, y]


def learned(scene: U8, frames: int = 30) -> tuple[MotionDetector, np.random.Generator]:
    detector, rng = MotionDetector(DetectorSettings()), np.random.default_rng(0)
    for _ in range(frames):
        assert not len(detector.detect(noisy(scene, rng)).boxes)
    return detector, rng


@pytest.mark.parametrize("colourful", [True, False])
def test_two_walkers_are_found_where_they_are(colourful: bool) -> None:
    scene = room(colourful=colourful)
    detector, rng = learned(scene)
    hits = 0
    for step in range(20):
        feet = [(60 + 5 * step, 200), (300 - 5 * step, 130)]
        # In infrared most cloth is bright, whatever its colour.
        picture = with_people(scene, feet) if colourful else grey(with_people(scene, feet, jacket=(240, 235, 230)))
        found = detector.detect(noisy(picture, rng))
        overlap = iou(np.array([box_of(*foot) for foot in feet], np.float32), found.boxes)
        hits += int((overlap.max(1, initial=0) > 0.6).sum())
        assert len(found.boxes) <= 2
        assert found.boxes.dtype == found.scores.dtype == np.float32
        assert ((found.scores > 0) & (found.scores <= 1)).all()
    assert hits >= 38


def test_noise_alone_is_nobody() -> None:
    learned(room(), 200)


def test_a_large_frame_is_looked_at_small_and_its_boxes_are_in_its_own_pixels() -> None:
    scene = np.asarray(cv2.resize(room(), (4 * WIDTH, 4 * HEIGHT)), np.uint8)
    detector, rng = learned(scene, 20)
    found = detector.detect(noisy(with_people(scene, [(600, 800)], 400), rng))
    overlap = iou(np.array([box_of(600, 800, 400)], np.float32), found.boxes)
    assert overlap.max(initial=0) > 0.6


@pytest.mark.parametrize(("name", "light"), [
    ("lamps off", lambda scene: scene * 0.4),
    ("lamps on", lambda scene: scene * 1.8 + 20),
    ("infrared", lambda scene: 255 - grey(scene)),
    ("turned away", lambda scene: np.roll(scene, 100, 1)[::-1]),
    ("a flash", lambda scene: scene * 0 + 255),
])
def test_a_change_of_light_all_over_is_nobody(name: str, light: Callable[[Any], Any]) -> None:
    detector, rng = learned(room())
    changed = np.clip(light(room()), 0, 255).astype(np.uint8)
    for _ in range(30):
        assert not len(detector.detect(noisy(changed, rng)).boxes), name


def test_an_exposure_that_drifts_is_nobody_and_hides_nobody() -> None:
    scene = room()
    detector, rng = learned(scene)
    for step in range(30):
        shade = 1 - 0.01 * step
        assert not len(detector.detect(noisy((scene * shade).astype(np.uint8), rng)).boxes)
    person = (with_people(scene, [(150, 200)]) * shade).astype(np.uint8)
    assert iou(np.array([box_of(150, 200)], np.float32), detector.detect(noisy(person, rng)).boxes).max(initial=0) > 0.6


def test_a_shadow_on_the_floor_is_not_part_of_its_person() -> None:
    scene = room()
    detector, rng = learned(scene)
    with_shadow = scene.copy()
    with_shadow[188:204, 150:290] = (with_shadow[188:204, 150:290] * 0.8).astype(np.uint8)
    found = detector.detect(noisy(with_people(with_shadow, [(150, 200)]), rng))
    assert iou(np.array([box_of(150, 200)], np.float32), found.boxes).max(initial=0) > 0.6


@pytest.mark.parametrize("light", [0.5, 1.5])
def test_light_that_falls_on_a_patch_in_a_persons_shape_is_nobody(light: float) -> None:
    scene = np.asarray(room() * 0.6, np.uint8)
    detector, rng = learned(scene, 40)
    picture = scene.copy()
    picture[100:200, 130:170] = np.clip(picture[100:200, 130:170] * light, 0, 255).astype(np.uint8)
    assert not len(detector.detect(noisy(picture, rng)).boxes)


def test_a_lorry_that_stops_in_front_of_the_camera_is_nobody() -> None:
    detector, rng = learned(room())
    picture = room()
    picture[10:230, 30:230] = 255 - picture[10:230, 30:230]
    for _ in range(20):
        assert not len(detector.detect(noisy(picture, rng)).boxes)


def test_what_is_too_flat_too_small_or_as_tall_as_the_frame_is_nobody() -> None:
    scene = room()
    for x1, y1, x2, y2 in ((40, 100, 240, 130), (100, 100, 106, 112), (100, 0, 180, HEIGHT)):
        detector, rng = learned(scene)
        picture = scene.copy()
        picture[y1:y2, x1:x2] = 255 - picture[y1:y2, x1:x2]
        assert not len(detector.detect(noisy(picture, rng)).boxes), (x1, y1, x2, y2)


def test_a_head_and_feet_that_came_off_belong_to_their_person() -> None:
    scene = room()
    detector, rng = learned(scene)
    picture = with_people(scene, [(150, 225)], 200)
    for top, bottom in ((56, 67), (203, 213)):  # a scarf and socks of the background's colour
        picture[top:bottom] = scene[top:bottom]
    found = detector.detect(noisy(picture, rng))
    assert len(found.boxes) == 1
    assert iou(np.array([box_of(150, 225, 200)], np.float32), found.boxes).max() > 0.8


def test_after_a_reset_the_scene_is_learned_anew() -> None:
    scene = room()
    detector, rng = learned(scene)
    person = with_people(scene, [(150, 200)])
    assert len(detector.detect(noisy(person, rng)).boxes) == 1
    detector.reset()
    for _ in range(20):  # whoever stands there now is part of the scene
        assert not len(detector.detect(noisy(person, rng)).boxes)


def test_a_camera_that_changes_its_resolution_is_learned_anew() -> None:
    detector, rng = learned(room())
    other = np.asarray(cv2.resize(room(3), (WIDTH // 2, HEIGHT // 2)), np.uint8)
    for _ in range(20):
        assert not len(detector.detect(noisy(other, rng)).boxes)


def test_someone_who_stands_still_is_seen_for_a_while() -> None:
    scene = room()
    detector, rng = learned(scene, 100)
    person = with_people(scene, [(150, 200)])
    seen = sum(len(detector.detect(noisy(person, rng)).boxes) == 1 for _ in range(60))
    assert seen == 60


@needs_shared("data/one_by_one_person.mp4")
def test_the_first_visitor_of_a_real_clip_is_one_tracklet_and_there_is_no_other() -> None:
    detector, tracker = MotionDetector(DetectorSettings()), Tracker(TrackSettings())
    heights = []
    pictures = itertools.islice(video(SHARED / "data/one_by_one_person.mp4").pictures(), 190)
    for index, picture in enumerate(pictures):
        tracks = tracker.update(detector.detect(picture), index / 10)
        heights += (tracks.boxes[:, 3] - tracks.boxes[:, 1]).tolist()
    assert tracker.next_number == 2
    assert len(heights) > 100  # she comes in at about frame 60
    assert 330 < np.median(heights) < 420  # of 432 rows
