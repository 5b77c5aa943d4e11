"""Tracklets: the exact pairing, the filter in closed form, and who keeps their number."""

from __future__ import annotations

import itertools
import time

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cmnas_edge.camera.people.assign import assign
from cmnas_edge.camera.people.detection import Detections, nobody
from cmnas_edge.camera.people.geometry import areas, coverage, inside, iou, suppress
from cmnas_edge.camera.people.kalman import Kalman, corners, measures
from cmnas_edge.camera.people.track import Tracker, Tracks
from cmnas_edge.camera.settings import TrackSettings

F32 = npt.NDArray[np.float32]
sides = st.floats(-50, 400, width=32)
boxes = hnp.arrays(np.float32, st.tuples(st.integers(0, 8), st.just(4)), elements=sides)
gains = hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(0, 5)),
                   elements=st.sampled_from([0, 0, 0.25, 0.3, 0.5, 0.75, 0.9, -1]))


def found(*rows: tuple[float, float, float, float], score: float | list[float] = 0.9) -> Detections:
    scores = np.broadcast_to(np.array(score, np.float32), len(rows)).copy()
    return Detections(np.array(rows, np.float32).reshape(-1, 4), scores)


def walker(x: float, y: float = 100) -> tuple[float, float, float, float]:
    return (x, y, x + 40, y + 100)


def best_total(table: F32) -> float:
    """By trying every way to pair the rows of a table with its columns."""
    n, m = table.shape
    wide = np.concatenate([np.maximum(table, 0).astype(float), np.zeros((n, n))], 1)
    return max((sum(wide[row, column] for row, column in enumerate(way))
                for way in itertools.permutations(range(n + m), n)), default=0.0)


@given(gains)
def test_no_other_pairing_has_a_greater_sum(table: F32) -> None:
    table = table[:4, :3]
    pairs = assign(table)
    rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
    assert len(set(rows)) == len(rows)
    assert len(set(columns)) == len(columns)
    assert all(table[pair] > 0 for pair in pairs)
    assert abs(sum(float(table[pair]) for pair in pairs) - best_total(table)) < 1e-6


def test_a_greedy_choice_is_given_up_where_it_costs_another_more() -> None:
    assert assign(np.array([[0.9, 0.8], [0.8, 0.0]], np.float32)) == [(0, 1), (1, 0)]


def test_the_exact_pairing_of_a_dense_crowd_takes_milliseconds() -> None:
    table = np.random.default_rng(5).random((16, 16)).astype(np.float32)
    begun = time.perf_counter()
    assert len(assign(table)) == 16
    assert time.perf_counter() - begun < 0.2  # measured: 2 to 4 ms


@given(boxes, boxes)
def test_overlap_is_the_share_of_common_pixels(a: F32, b: F32) -> None:
    # On whole coordinates areas are counts of pixels, so an independent count must agree.
    a, b = np.floor(a / 10), np.floor(b / 10)
    grid = np.arange(-6, 41)

    def cells(box: F32) -> npt.NDArray[np.bool_]:
        columns = (grid >= box[0]) & (grid < box[2])
        rows = (grid >= box[1]) & (grid < box[3])
        return rows[:, None] & columns[None, :]

    overlap = iou(a, b)
    for i, j in itertools.product(range(len(a)), range(len(b))):
        both, either = cells(a[i]) & cells(b[j]), cells(a[i]) | cells(b[j])
        assert abs(overlap[i, j] - both.sum() / max(1, either.sum())) < 1e-5


@given(boxes, st.floats(0.05, 0.95))
def test_suppression_leaves_no_two_boxes_that_overlap_more_and_drops_none_without_a_better(
        rows: F32, most: float) -> None:
    scores = np.linspace(0.9, 0.1, len(rows), dtype=np.float32)
    kept = suppress(rows, scores, most)
    overlap = iou(rows, rows)
    assert not any(overlap[i, j] > most for i, j in itertools.combinations(kept, 2))
    for row in set(range(len(rows))) - set(kept.tolist()):
        assert any(overlap[row, better] > most for better in kept if scores[better] >= scores[row])


@given(boxes)
def test_coverage_is_a_share_and_full_for_a_box_without_area(rows: F32) -> None:
    share = coverage(rows)
    assert ((share >= 0) & (share <= 1)).all()
    assert (share[areas(rows) == 0] == 1).all()


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=7))
def test_a_point_is_inside_a_polygon_exactly_when_turning_the_polygon_around_keeps_it_so(
        polygon: list[tuple[float, float]]) -> None:
    points = np.random.default_rng(1).random((40, 2)).astype(np.float32)
    one = inside(points, polygon)
    assert (one == inside(points, polygon[::-1])).all()
    assert (one == inside(points, polygon[2:] + polygon[:2])).all()
    outside = np.array([[-0.5, 0.5], [1.5, 0.5], [0.5, 2]], np.float32)
    assert not inside(outside, polygon).any()


def test_a_notch_in_a_polygon_is_outside_it() -> None:
    notched = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.2), (0.0, 1.0)]
    assert inside(np.array([[0.1, 0.5], [0.5, 0.6], [0.9, 0.5]], np.float32), notched).tolist() == [True, False, True]


def test_the_filter_written_out_equals_the_textbook_filter_with_matrices() -> None:
    rng = np.random.default_rng(3)
    box = np.array([[10, 20, 50, 120]], np.float32)
    ours = Kalman()
    ours.add(box)
    # The textbook: 8 states, full matrices, an inverse. Noise as the filter documents it.
    x = np.concatenate([measures(box)[0], np.zeros(4)])
    scale = x[3]
    P = np.diag(np.concatenate([(scale * np.array([0.05, 0.05, 0.06, 0.06])) ** 2,
                                (scale * np.array([1, 0.6, 0.15, 0.15])) ** 2]))
    H = np.eye(4, 8)
    for passed in (0.1, 0.35, 0.1, 1.0, 0.05):
        F = np.eye(8) + passed * np.eye(8, k=4)
        density = np.array([0.8, 0.5, 0.15, 0.15]) ** 2 * max(x[3], 1) ** 2
        Q = np.zeros((8, 8))
        for axis in range(4):
            Q[np.ix_([axis, axis + 4], [axis, axis + 4])] = density[axis] * np.array(
                [[passed**3 / 3, passed**2 / 2], [passed**2 / 2, passed]])
        x, P = F @ x, F @ P @ F.T + Q
        ours.predict(passed)
        np.testing.assert_allclose(ours.position[0], x[:4], rtol=1e-9)
        seen = (box + rng.normal(0, 3, 4)).astype(np.float32)
        z = measures(seen)[0]
        R = np.diag((z[3] * np.array([0.05, 0.05, 0.06, 0.06])) ** 2)
        gain = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        x, P = x + gain @ (z - H @ x), (np.eye(8) - gain @ H) @ P
        ours.correct(np.array([0]), seen)
        np.testing.assert_allclose(ours.position[0], x[:4], rtol=1e-9)
        np.testing.assert_allclose(ours.velocity[0], x[4:], rtol=1e-9, atol=1e-9)


@given(st.floats(0.01, 2), st.floats(0.01, 2))
def test_predicting_in_two_steps_is_predicting_in_one(first: float, second: float) -> None:
    def after(*steps: float) -> Kalman:
        kalman = Kalman()
        kalman.add(np.array([[0, 0, 40, 100]], np.float32))
        kalman.predict(0.1)
        kalman.correct(np.array([0]), np.array([[5, 0, 45, 100]], np.float32))
        kalman.velocity[:, 2:] = 0  # noise is scaled by the height at the start of a step
        for step in steps:
            kalman.predict(step)
        kalman.correct(np.array([0]), np.array([[9, 2, 49, 102]], np.float32))  # shows the uncertainty
        return kalman

    twice, once = after(first, second), after(first + second)
    np.testing.assert_allclose(twice.position, once.position, rtol=1e-6)
    np.testing.assert_allclose(twice.velocity, once.velocity, rtol=1e-6, atol=1e-6)


@given(boxes)
def test_centre_and_size_turn_back_into_corners(rows: F32) -> None:
    rows = np.concatenate([np.minimum(rows[:, :2], rows[:, 2:]), np.maximum(rows[:, :2], rows[:, 2:])], 1)
    np.testing.assert_allclose(corners(measures(rows)), rows, atol=1e-3)


def test_two_people_who_pass_each_other_keep_their_numbers() -> None:
    tracker = Tracker(TrackSettings())
    seen: dict[int, list[float]] = {}
    for frame in range(40):
        left, right = 20 + 10 * frame, 420 - 10 * frame
        rows = [walker(left, 100), walker(right, 120)]
        if frame % 2:
            rows.reverse()  # a detector promises no order
        tracks = tracker.update(found(*rows), frame / 10)
        for number, box in zip(tracks.tracklets.tolist(), tracks.boxes, strict=True):
            seen.setdefault(number, []).append(float(box[0]))
    assert sorted(seen) == [1, 2]
    for path in seen.values():
        steps = np.diff(path)
        assert (steps > 0).all() or (steps < 0).all()


def test_someone_hidden_for_a_second_keeps_their_number_and_after_longer_gets_a_new_one() -> None:
    for hidden, expected in ((7, {1}), (25, {1, 2})):
        tracker = Tracker(TrackSettings(lost_s=1.0))
        numbers: set[int] = set()
        for frame in range(60):
            gone = 20 <= frame < 20 + hidden
            tracks = tracker.update(nobody() if gone else found(walker(10 + 6 * frame)), frame / 10)
            numbers |= set(tracks.tracklets.tolist())
        assert numbers == expected


def test_a_tracklet_ends_once_after_its_silence_and_is_told_once() -> None:
    tracker = Tracker(TrackSettings(lost_s=1.0, confirm_count=2), first=7)
    for frame in range(5):
        tracker.update(found(walker(10)), frame / 10)
    ended = {frame: tracker.update(nobody(), frame / 10).ended for frame in range(5, 40)}
    assert [frame for frame, numbers in ended.items() if numbers] == [15]  # last seen at 0.4 s, silent past 1.4 s
    assert ended[15] == (7,)
    assert len(tracker) == 0


def test_a_flicker_of_one_frame_is_nobody() -> None:
    tracker = Tracker(TrackSettings(confirm_count=3))
    rows = [found(walker(10)), found(walker(12)), nobody(), found(walker(14)), nobody()]
    assert all(not len(tracker.update(row, k / 10).tracklets) for k, row in enumerate(rows))
    assert tracker.next_number == 1


def test_a_weak_detection_continues_a_tracklet_and_opens_none() -> None:
    tracker = Tracker(TrackSettings(confirm_count=1))
    assert tracker.update(found(walker(10), walker(300), score=[0.9, 0.2]), 0.0).tracklets.tolist() == [1]
    tracks = tracker.update(found(walker(12), walker(300), score=[0.2, 0.2]), 0.1)
    assert tracks.tracklets.tolist() == [1]
    assert tracks.boxes[0, 0] == 12
    assert tracks.hits.tolist() == [2]


def test_a_detection_between_the_scores_is_matched_first_but_opens_nothing() -> None:
    tracker = Tracker(TrackSettings(confirm_count=1, high_score=0.5, new_score=0.7))
    assert tracker.update(found(walker(10), score=0.6), 0.0).tracklets.tolist() == []
    assert tracker.update(found(walker(10), score=0.8), 0.1).tracklets.tolist() == [1]
    assert tracker.update(found(walker(12), score=0.6), 0.2).tracklets.tolist() == [1]


def test_ending_all_tells_confirmed_tracklets_and_numbers_go_on() -> None:
    tracker = Tracker(TrackSettings(confirm_count=2), first=100)
    tracker.update(found(walker(10), walker(200)), 0.0)
    tracker.update(found(walker(10), walker(200)), 0.1)
    tracker.update(found(walker(10), walker(200), walker(400)), 0.2)
    assert tracker.end_all() == [100, 101]
    assert tracker.end_all() == []
    assert tracker.next_number == 102


def test_frames_that_a_live_camera_drops_do_not_lose_a_walker() -> None:
    tracker = Tracker(TrackSettings(confirm_count=2))
    numbers: set[int] = set()
    for at in [0, 0.1, 0.2, 0.3, 0.4, 0.9, 1.0, 1.5, 1.6]:  # 60 px/s and a box of 40: the gaps need prediction
        numbers |= set(tracker.update(found(walker(10 + 60 * at)), at).tracklets.tolist())
    assert numbers == {1}


scenes = st.lists(st.tuples(st.floats(-0.25, 2.5), boxes, st.integers(0, 2**31)), max_size=12)


@given(scenes)
def test_whatever_is_detected_numbers_are_unique_grow_and_end_at_most_once(
        scene: list[tuple[float, F32, int]]) -> None:
    tracker = Tracker(TrackSettings(confirm_count=2), first=1)
    at, ended, alive = 0.0, set[int](), set[int]()
    for step, rows, seed in scene:
        at += step  # steps back, too: a clock may be set
        scores = np.random.default_rng(seed).random(len(rows)).astype(np.float32)
        tracks: Tracks = tracker.update(Detections(rows, scores), at)
        numbers = tracks.tracklets.tolist()
        assert len(set(numbers)) == len(numbers)
        assert not ended & set(numbers)
        assert not ended & set(tracks.ended)
        ended |= set(tracks.ended)
        alive |= set(numbers)
        assert alive | ended <= set(range(1, tracker.next_number))
        as_rows = {tuple(row) for row in rows.tolist()}
        assert all(tuple(box) in as_rows for box in tracks.boxes.tolist())
    assert set(tracker.end_all()) == alive - ended


def test_following_four_people_costs_well_under_a_frame() -> None:
    tracker = Tracker(TrackSettings())
    rng = np.random.default_rng(0)
    took = []
    for frame in range(200):
        rows = [tuple(np.array(walker(30 + 2 * frame + 60 * k, 50 + 40 * k)) + rng.normal(0, 1, 4)) for k in range(4)]
        begun = time.perf_counter()
        tracker.update(found(*rows), frame / 10)
        took.append(time.perf_counter() - begun)
    assert tracker.next_number == 5
    assert sorted(took)[len(took) // 4] < 2e-3  # the goal is 0.5 ms on an idle core; machines in CI are neither
