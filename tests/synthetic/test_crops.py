"""Drawn crops: the same everywhere, whatever the order, and with no way to cheat."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.synthetic import crops, figure
from cmnas_edge.synthetic.crops import CropSet, draw_set
from cmnas_edge.synthetic.people import DETAILS, MATERIALS, REGIONS, Person
from cmnas_edge.synthetic.pose import Placement, Pose

# Equal on OpenCV 4.9, 4.10, 4.12 and 5.0 with numpy 1.26, 2.0, 2.2 and 2.4 (2026-11-20, x86-64).
LABEL_MAPS = {(256, 128): "0c74a82e46bfc19f", (128, 64): "3d3bb805e45db975"}
PIXELS = "a34f7b959f342669"
PIXELS_WITH = ("5.0.0", "2.4.6")
_CPU_AVX2 = 11  # cv::CPU_AVX2; other instruction sets round a few sums differently


pinned = pytest.mark.skipif(
    (cv2.__version__, np.__version__) != PIXELS_WITH or not cv2.checkHardwareSupport(_CPU_AVX2),
    reason=f"pixels are pinned for OpenCV and numpy {PIXELS_WITH} on x86-64 with AVX2 only",
)


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


@pytest.mark.parametrize(("height", "width"), [(256, 128), (128, 64)])
def test_label_maps_are_the_same_on_every_platform_and_version(height: int, width: int) -> None:
    maps = []
    for identity in range(60):
        person = Person.draw(3, identity)
        for number in crops.CAMERAS:
            rng = crops.crop_rng(3, identity, number, 0)
            maps.append(crops.draw_label_map(person, crops.camera_of(3, number), rng, height, width))
    assert digest(*maps) == LABEL_MAPS[height, width]


@pinned
def test_pixels_are_the_same_for_pinned_opencv_and_numpy() -> None:
    assert digest(draw_set(range(3), crops.CAMERAS, 1, 128, 64).images) == PIXELS


def test_a_crop_does_not_depend_on_what_is_drawn_around_it() -> None:
    everything = draw_set(range(4), crops.CAMERAS, 3, 64, 32, seed=5)
    alone = draw_set([2], [6], 1, 64, 32, seed=5, first=2)
    row = (everything.identity == 2) & (everything.camera == 6)
    np.testing.assert_array_equal(everything.images[row][2], alone.images[0])
    backwards = draw_set(range(3, -1, -1), crops.CAMERAS[::-1], 3, 64, 32, seed=5)
    for identity in range(4):
        for camera in crops.CAMERAS:
            np.testing.assert_array_equal(
                everything.images[(everything.identity == identity) & (everything.camera == camera)],
                backwards.images[(backwards.identity == identity) & (backwards.camera == camera)],
            )


@pytest.mark.parametrize("change", [{"seed": 1}, {"first": 1}])
def test_another_seed_or_draw_gives_other_crops(change: dict[str, int]) -> None:
    some = draw_set([0], [1, 3], 1, 64, 32)
    other = draw_set([0], [1, 3], 1, 64, 32, **change)
    for a, b in zip(some.images, other.images, strict=True):
        assert np.abs(a.astype(int) - b).mean() > 5


def test_infrared_crops_are_gray_and_visible_ones_are_not() -> None:
    drawn = draw_set(range(4), crops.CAMERAS, 1, 128, 64)
    assert drawn.infrared.tolist() == [False, False, True, False, False, True] * 4
    chroma = np.ptp(drawn.images.astype(int), axis=3).mean((1, 2))
    assert (chroma[drawn.infrared] == 0).all()
    assert (chroma[~drawn.infrared] > 5).all()


@given(st.integers(0, 2**40), st.integers(0, 10**6), st.floats(0, 6.3), st.floats(0, 6.3), st.floats(30, 240))
@settings(max_examples=60, deadline=None)
def test_every_person_in_every_pose_stays_within_reach_and_shows_known_labels(
    seed: int, identity: int, yaw: float, phase: float, length: float
) -> None:
    person = Person.draw(seed, identity)
    height = int(length * (figure.REACH_ABOVE + figure.REACH_BELOW)) + 6
    width = int(2 * length * figure.REACH_ASIDE) + 6
    place = Placement(width / 2, length * figure.REACH_ABOVE + 2, length)
    labels = figure.label_map(person, Pose(yaw, phase), place, height, width)
    assert labels.max() < REGIONS * MATERIALS * DETAILS
    assert (labels > 0).sum() > 0.05 * length**2
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    assert not border.any()
    shown = np.unique(labels[labels > 0])
    assert (person.infrared_table[shown] > 0).all()
    assert (person.visible_table[shown] > 0).all()


def test_infrared_reflectance_hardly_follows_colour() -> None:
    people = [Person.draw(0, identity) for identity in range(400)]
    luma = np.array([person.visible[3, 0].mean() for person in people])
    infrared = np.array([person.infrared[3, 0] for person in people])
    # 0.4 of the luma is mixed in; the rest is dye, independent of it.
    assert 0.3 < np.corrcoef(luma, infrared)[0, 1] < 0.8
    assert (infrared[luma < 0.15] > 0.35).mean() > 0.3


def rank1_across_cameras(drawn: CropSet) -> float:
    features = np.stack([cv2.resize(image, (16, 32)).ravel() for image in drawn.images]).astype(np.float32)
    features -= features.mean(1, keepdims=True)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    score = features @ features.T
    score[drawn.camera[:, None] == drawn.camera[None]] = -np.inf
    return float((drawn.identity[score.argmax(1)] == drawn.identity).mean())


def test_without_the_person_a_crop_says_nothing_about_who_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    # Four visible cameras and 24 people: chance is 1 in 24. The same probe finds people well above it.
    people, cameras = range(24), (1, 2, 4, 5)
    assert rank1_across_cameras(draw_set(people, cameras, 4, 64, 32)) > 4 / 24
    monkeypatch.setattr(figure, "label_map", lambda person, pose, place, h, w: np.zeros((h, w), np.uint8))
    count = len(people) * len(cameras) * 4
    chance = 1 / len(people)
    bound = chance + 3.5 * (chance * (1 - chance) / count) ** 0.5
    assert rank1_across_cameras(draw_set(people, cameras, 4, 64, 32)) < bound


def test_what_makes_a_crop_hard_is_told_as_it_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [(Person.draw(2, n), crops.camera_of(2, 1 + n % 6), n) for n in range(60)]
    told = [crops.view_of(who, where, crops.crop_rng(2, n, where.number, 0), 64, 32) for who, where, n in asked]
    images = [crops.draw_crop(who, where, crops.crop_rng(2, n, where.number, 0), 64, 32) for who, where, n in asked]
    yaws, label_map, occluder = [], figure.label_map, crops._occluder

    def noted(person: Person, pose: Pose, place: Placement, h: int, w: int) -> np.ndarray:
        yaws.append(pose.yaw)
        return label_map(person, pose, place, h, w)

    monkeypatch.setattr(figure, "label_map", noted)
    monkeypatch.setattr(crops, "_occluder", lambda d, h, w: occluder(d, h, w) and None)
    bare = [crops.draw_crop(who, where, crops.crop_rng(2, n, where.number, 0), 64, 32) for who, where, n in asked]
    assert [yaw for yaw, _ in told] == yaws
    assert [hidden for _, hidden in told] == [not np.array_equal(a, b) for a, b in zip(images, bare, strict=True)]
    assert 3 < sum(hidden for _, hidden in told) < 25  # one in six


def test_look_alikes_wear_the_same_clothes_on_bodies_of_their_own() -> None:
    leader, follower = Person.draw(0, 8), Person.draw(0, 9)
    alike = follower.dressed_like(leader)
    assert (alike.identity, alike.body, alike.details) == (9, follower.body, follower.details)
    assert alike.outfit == leader.outfit
    np.testing.assert_array_equal(alike.visible, leader.visible)
    np.testing.assert_array_equal(alike.infrared, leader.infrared)
    plain, dressed = draw_set(range(8, 12), [1], 1, 64, 32), draw_set(range(8, 12), [1], 1, 64, 32, look_alikes=2)
    same = [np.array_equal(a, b) for a, b in zip(plain.images, dressed.images, strict=True)]
    assert same == [True, False, True, False]  # 8 and 10 lead


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"look_alikes": 0}, "look_alikes from 1"),
        ({"height": 1000}, "found 1000x64"),
        ({"width": 8}, "found 128x8"),
        ({"per_camera": 0}, "found 0"),
        ({"cameras": []}, "at least one identity and one camera"),
        ({"identities": range(0)}, "at least one identity and one camera"),
        ({"cameras": [0]}, "a number from 1"),
        ({"identities": [-1]}, "identity from 0"),
        ({"seed": -1}, "from 0"),
    ],
)
def test_an_impossible_request_is_refused_in_words(change: dict[str, object], words: str) -> None:
    request = {"identities": [0], "cameras": [1], "per_camera": 1, "height": 128, "width": 64, "seed": 0}
    with pytest.raises(ValueError, match=words):
        draw_set(**{**request, **change})  # type: ignore[arg-type]
