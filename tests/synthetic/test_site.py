"""A drawn site: what its truth says is what its frames show."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.synthetic import dusk
from cmnas_edge.synthetic.people import Person
from cmnas_edge.synthetic.routes import Lens, Walk
from cmnas_edge.synthetic.scene import HEIGHT, WIDTH, Scene
from cmnas_edge.synthetic.site import Site, Truth

KINDS = ("visible", "infrared", "dual")


@pytest.fixture(scope="module")
def site() -> Site:
    return Site.draw(5, 5, KINDS, 30.0)


@pytest.fixture(scope="module")
def truth(site: Site) -> dict[str, list[Truth]]:
    return {camera.name: list(site.truth(camera)) for camera in site.cameras}


@pytest.fixture(scope="module")
def demo() -> tuple[Site, list[Truth]]:
    site = Site.draw()
    return site, [row for camera in site.cameras for row in site.truth(camera)]


def without_people(site: Site, index: int) -> Scene:
    camera = site.cameras[index]
    people, lens = site.people, site.lenses[index]
    return Scene(site.seed, camera.number, lens, people, [], fps=site.fps, infrared_from=camera.infrared_from)


def test_a_frame_is_the_same_whenever_and_in_whatever_order_it_is_drawn(site: Site) -> None:
    again = Site.draw(5, 5, KINDS, 30.0)
    for camera in site.cameras:
        forwards, backwards = site.scene(camera), again.scene(camera.name)
        some = [int(site.frame_count * share) for share in (0.1, 0.49, 0.5, 0.8)]
        drawn = {index: forwards.draw(index) for index in some}
        for index in reversed(some):
            np.testing.assert_array_equal(backwards.draw(index), drawn[index])


def test_frames_come_one_by_one_and_are_as_many_as_promised() -> None:
    site = Site.draw(1, 1, ["infrared"], 3.0, 5.0)
    frames = site.frames("entrance")
    first = next(frames)
    assert (first.shape, first.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert 1 + sum(1 for _ in frames) == site.frame_count == 15


def test_another_seed_gives_other_people_places_and_ways() -> None:
    a, b = Site.draw(1, 2, ["visible"], 20.0), Site.draw(2, 2, ["visible"], 20.0)
    assert {walk.starts_s for walk in a.walks}.isdisjoint(walk.starts_s for walk in b.walks)
    assert not np.array_equal(a.people[0].visible, b.people[0].visible)
    assert np.abs(a.scene("entrance").draw(0).astype(int) - b.scene("entrance").draw(0)).mean() > 5


def test_nobody_of_a_site_is_anybody_of_the_crop_set() -> None:
    walkers = Site.draw(0, 12, ["visible"], 20.0).people
    trained = [Person.draw(0, identity) for identity in range(200)]
    faces = {person.visible.tobytes() for person in trained}
    assert all(person.visible.tobytes() not in faces for person in walkers)


def test_boxes_enclose_what_changes_when_people_are_drawn(site: Site, truth: dict[str, list[Truth]]) -> None:
    for index, camera in enumerate(site.cameras):
        by_frame = defaultdict(list)
        for row in truth[camera.name]:
            by_frame[row.frame].append(row)
        scene, empty = site.scene(camera), without_people(site, index)
        checked = 0
        for frame in sorted(by_frame)[::7]:
            difference = cv2.absdiff(scene.draw(frame), empty.draw(frame)).max(2)
            beyond = difference.copy()
            for row in by_frame[frame]:
                x1, y1, x2, y2 = map(int, row.box)
                if row.visible_fraction > 0.95:
                    inside = difference[y1:y2, x1:x2]
                    # Tight: something of the person lies along every side.
                    sides = inside[:4], inside[-4:], inside[:, :4], inside[:, -4:]
                    assert min(int(side.max()) for side in sides) > 8, (camera.name, row)
                    checked += 1
                # The finer drawing reaches one pixel beyond, soft edges and blur two more; then nothing does.
                beyond[max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3] = 0
            assert beyond.max() <= 1
        assert checked > 5


def test_the_modality_of_every_frame_is_what_its_pixels_show(site: Site) -> None:
    for camera in site.cameras:
        scene = site.scene(camera)
        change = {"visible": site.frame_count, "infrared": 0, "dual": site.frame_count // 2}[camera.kind]
        around = [i for i in range(change - 6, change + 6) if 0 <= i < site.frame_count]
        for index in sorted({0, 40, *around, site.frame_count - 1}):
            frame = scene.draw(index).astype(int)
            modality = scene.look(index).modality
            assert modality == ("visible" if index < change else "infrared")
            chroma = np.ptp(frame, axis=2).mean()
            assert chroma == 0 if modality == "infrared" else chroma > 5


def test_truth_carries_time_and_modality(site: Site, truth: dict[str, list[Truth]]) -> None:
    for row in truth["yard"]:
        assert row.seen_at == pytest.approx(site.starts_at + row.frame / site.fps, abs=1e-6)
        assert row.modality == ("visible" if row.frame < 150 else "infrared")
        x1, y1, x2, y2 = row.box
        assert 0 <= x1 < x2 <= WIDTH
        assert 0 <= y1 < y2 <= HEIGHT
        assert 0 <= row.visible_fraction <= 1


def test_dusk_flashes_then_settles_in_gray() -> None:
    means = [
        Site.draw(5, 1, ["dual"], 30.0).scene("entrance").draw(index).mean()
        for index in (10, 147, 148, 150, 153, 154, 200)
    ]
    day, last_light, flash, lamps, settling, night, later = means
    assert last_light < day - 15
    assert flash > day + 20
    assert lamps > settling > night - 1
    assert abs(night - later) < 2


@given(st.integers(-10, 400), st.integers(-5, 400), st.sampled_from([5.0, 10.0, 25.0]))
def test_a_camera_sees_infrared_from_its_frame_on_and_never_before(index: int, change: int, fps: float) -> None:
    seen = dusk.look(index, fps, change)
    assert seen.modality == ("infrared" if index >= change or change <= 0 else "visible")
    assert dusk.look(index, fps, None).modality == "visible"


def two_in_line(near_first: bool) -> list[Truth]:
    """One person stands 6 m away, the other walks past behind at 9 m."""
    lens = Lens(570, 2.5, 30, WIDTH / 2, 1.0)
    stand = Walk(0, 0, 0.0, 0.001, ((0.0, 6.0), (0.005, 6.0), (0.01, 6.0)))
    cross = Walk(1, 0, 0.0, 1.2, ((-3.0, 9.0), (0.0, 9.0), (3.0, 9.0)))
    walks = (stand, cross) if near_first else (cross, stand)
    base = Site.draw(5, 2, ["visible"], 5.0)
    site = Site(5, 10.0, 5.0, 0.0, 2.5, base.cameras, base.people, walks, (lens,))
    return list(site.truth("entrance"))


@pytest.mark.parametrize("near_first", [True, False])
def test_who_is_nearer_hides_who_is_behind(near_first: bool) -> None:
    rows = two_in_line(near_first)
    near = [row.visible_fraction for row in rows if row.identity == 0]
    far = {row.frame: row for row in rows if row.identity == 1}
    assert min(near) == max(near) == 1
    assert far[0].visible_fraction == 1
    hidden = min(far.values(), key=lambda row: row.visible_fraction)
    assert hidden.visible_fraction < 0.6
    # The box is of the whole body, hidden or not: as tall as ever.
    assert hidden.box[3] - hidden.box[1] == pytest.approx(far[0].box[3] - far[0].box[1], abs=6)


def test_the_fraction_falls_as_somebody_leaves_the_picture(truth: dict[str, list[Truth]]) -> None:
    rows = [row for row in truth["entrance"] if row.box[0] == 0 or row.box[2] == WIDTH]
    assert rows
    assert all(row.visible_fraction < 1.0 for row in rows if row.box[2] - row.box[0] < 8)


def test_the_nearest_walkers_are_wholly_in_the_picture_top_to_bottom(demo: tuple[Site, list[Truth]]) -> None:
    heights = [row.box[3] - row.box[1] for row in demo[1] if row.visible_fraction > 0.9]
    assert min(heights) >= 40
    assert 150 < max(heights) <= 220
    assert all(row.box[3] < HEIGHT and row.box[1] > 0 for row in demo[1])


def test_on_the_default_site_everybody_passes_several_cameras_in_both_modalities(
    demo: tuple[Site, list[Truth]],
) -> None:
    site, rows = demo
    assert [camera.kind for camera in site.cameras] == ["visible", "visible", "infrared", "dual"]
    cameras, modalities = defaultdict(set), defaultdict(set)
    for row in rows:
        if row.visible_fraction > 0.9:
            cameras[row.identity].add(row.camera)
            modalities[row.identity].add(row.modality)
    assert len(cameras) == 12
    assert min(map(len, cameras.values())) >= 2
    assert sum(len(seen) == 2 for seen in modalities.values()) >= 10


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_on_any_site_of_that_size_people_are_mostly_apart(seed: int) -> None:
    site = Site.draw(seed)
    in_view = np.zeros((4, site.frame_count), int)
    for walk in site.walks:
        in_view[walk.camera, round(walk.starts_s * 10) : round(walk.ends_s * 10)] += 1
    assert in_view.max() <= 3
    assert (in_view >= 2).sum() < 0.35 * (in_view >= 1).sum()


def test_people_walk_on_at_the_speed_they_have(site: Site) -> None:
    for walk in site.walks:
        times = np.linspace(walk.starts_s, walk.ends_s - 1e-6, 40)
        spots = np.array([walk.at(time)[:2] for time in times])  # type: ignore[index]
        speed = np.sqrt((np.diff(spots, axis=0) ** 2).sum(1)) / np.diff(times)
        assert speed == pytest.approx(walk.speed_m_s, rel=0.02)
        assert walk.at(walk.starts_s - 0.01) is None
        assert walk.at(walk.ends_s + 0.01) is None


def test_nobody_is_in_two_views_at_once_or_goes_faster_than_the_way_is_long() -> None:
    site = Site.draw(3)
    for person in range(len(site.people)):
        own = sorted((walk for walk in site.walks if walk.person == person), key=lambda walk: walk.starts_s)
        for before, after in pairwise(own):
            assert after.starts_s - before.ends_s > 1.5
            assert after.camera != before.camera


@settings(max_examples=25, deadline=None)
@given(st.floats(4.6, 18), st.floats(-6, 6), st.floats(0.85, 1.15))
def test_feet_stand_on_the_ground_where_the_pinhole_puts_them(z: float, x: float, stature: float) -> None:
    lens = Lens(570, 2.5, 30, WIDTH / 2, 0.95)
    place = lens.place(x, z, stature)
    assert place.row(0.995) == pytest.approx(30 + 570 * 2.5 / z)
    assert place.length_px == pytest.approx(1.70 * stature * 570 / z)
    assert place.column(0) == pytest.approx(WIDTH / 2 + 570 * x / z)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"people": 0}, "1 to 500 people, found 0"),
        ({"cameras": []}, "1 to 64 cameras, found 0"),
        ({"cameras": ["thermal"]}, "found 'thermal'"),
        ({"duration_s": 0.5}, "a duration of 2 to 86400 seconds, found 0.5"),
        ({"duration_s": float("nan")}, "found nan"),
        ({"fps": 0}, "1 to 60 frames per second, found 0"),
        ({"seed": -1}, "a seed from 0, found -1"),
        ({"dusk_s": -5.0}, "dusk after at least 1 second, found -5"),
        ({"starts_at": -1.0}, "epoch seconds, found -1"),
        ({"names": ["a"]}, "a name of its own for each of 4 cameras"),
    ],
)
def test_a_site_that_cannot_be_is_refused_in_words(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Site.draw(**change)  # type: ignore[arg-type]


def test_an_unknown_camera_is_refused_with_those_there_are(site: Site) -> None:
    with pytest.raises(ValueError, match="entrance, hall, yard, found 'cellar'"):
        site.frames("cellar")
