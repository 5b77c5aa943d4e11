"""Links are judged pair by pair, against who was really there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.demo.score import Links, Seen, count_links, name_tracklets, rank_one


def seen(identity: int, person: int | None, modality: str = "visible") -> Seen:
    return Seen("a", 0, modality, identity, person)  # type: ignore[arg-type]


def test_pairs_are_right_wrong_or_missed() -> None:
    rows = [seen(1, 7), seen(1, 7), seen(2, 7), seen(2, 8), seen(3, None), seen(3, None)]
    # 7 and 7 joined; 7 with 8 joined, and nobody with nobody; the third 7 left apart from the first two.
    assert count_links(rows) == Links(right=1, wrong=2, missed=2)


def test_across_modalities_only_mixed_pairs_count() -> None:
    rows = [seen(1, 7), seen(1, 7), seen(1, 7, "infrared"), seen(2, 7, "infrared"), seen(1, 9, "infrared")]
    assert count_links(rows, across=True) == Links(right=2, wrong=2, missed=2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))))
def test_every_pair_of_one_person_is_right_or_missed(rows: list[tuple[int, int]]) -> None:
    links = count_links([seen(identity, person) for identity, person in rows])
    same = sum(a[1] == b[1] for i, a in enumerate(rows) for b in rows[:i])
    joined = sum(a[0] == b[0] for i, a in enumerate(rows) for b in rows[:i])
    assert links.right + links.missed == same
    assert links.right + links.wrong == joined


def row(frame: int, box: list[float], **who: int) -> dict[str, object]:
    return {"camera": "a", "frame": frame, "box": box, **who}


def test_a_tracklet_is_named_by_whom_most_of_its_boxes_cover() -> None:
    truth = [row(f, [0, 0, 10, 20], identity=5) for f in range(4)]
    truth += [row(f, [50, 0, 60, 20], identity=6) for f in range(4)]
    trace = [row(f, [1, 1, 11, 21], tracklet=1) for f in range(4)]
    trace += [row(0, [50, 0, 60, 20], tracklet=2), *(row(f, [90, 90, 99, 99], tracklet=2) for f in (1, 2))]
    trace += [row(9, [0, 0, 10, 20], tracklet=3)]  # nobody was there in that frame
    assert name_tracklets(trace, truth) == {("a", 1): 5}


def test_a_tracklet_that_swapped_people_halfway_shows_no_one() -> None:
    truth = [row(f, [0, 0, 10, 20], identity=5 + (f > 1)) for f in range(4)]
    trace = [row(f, [0, 0, 10, 20], tracklet=1) for f in range(4)]
    assert name_tracklets(trace, truth) == {}


def test_rank_one_leaves_out_whom_the_gallery_has_not() -> None:
    assert rank_one([(1, [1, 2]), (2, [1, 2]), (3, [1, 2])]) == 0.5
    assert rank_one([(3, [1, None])]) is None
