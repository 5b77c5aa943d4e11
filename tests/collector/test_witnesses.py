"""What a site knows without labels: certain strangers, and people whom a person confirmed."""

from __future__ import annotations

import dataclasses
from itertools import combinations, product
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.calibration import PAIRS, pair
from cmnas_edge.collector.matching.tracklet import Tracklet, cannot_link
from cmnas_edge.collector.store.records import Decision
from cmnas_edge.collector.witnesses import Said, Seen, overlaps, said, witnessed
from cmnas_edge.embedding import MODALITIES
from tests.collector.matching.test_deciding import Desk

rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 6), st.integers(0, 1)), max_size=25)
NOTHING = Said([], [])


def seen(found: list[tuple[int, int, int, int]], dimension: int = 8) -> Seen:
    """Tracklets of (camera, begin, how long, modality); opened by 10, 11, ..., each believed somebody else."""
    n = len(found)
    camera, begin, length, modality = (np.array(column, np.int64) for column in zip(*found, strict=True)) if n else (
        np.zeros(0, np.int64),) * 4
    mean = np.random.default_rng(0).normal(size=(n, dimension)).astype(np.float32)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True) if n else 1
    return Seen(np.arange(10, 10 + n), np.arange(100, 100 + n), camera, modality, np.zeros(n, np.uint64),
                begin.astype(np.float64), (begin + length).astype(np.float64), mean)


def tracklet(of: Seen, row: int) -> Tracklet:
    return Tracklet(int(of.opened_by[row]), ("gate", "0", str(of.camera[row]), row), "visible", 0,
                    float(of.seen_from[row]), float(of.seen_at[row]), row)


@given(rows)
def test_overlaps_are_the_tracklets_that_cannot_link(found: list[tuple[int, int, int, int]]) -> None:
    of = seen(found)
    a, b = overlaps(of)
    pairs = {tuple(sorted(two)) for two in zip(a.tolist(), b.tolist(), strict=True)}
    assert len(pairs) == len(a)
    assert pairs == {(x, y) for x, y in combinations(range(len(of)), 2)
                     if cannot_link(tracklet(of, x), tracklet(of, y))}


@settings(max_examples=60)
@given(rows, st.lists(st.lists(st.integers(0, 24), min_size=2, max_size=4, unique=True), max_size=4),
       st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)).filter(lambda two: two[0] != two[1]), max_size=4))
def test_every_known_pair_is_found_with_its_score_and_no_other(
        found: list[tuple[int, int, int, int]], one: list[list[int]], apart: list[tuple[int, int]]) -> None:
    of = seen(found)
    n = len(of)
    known = witnessed(of, Said([[10 + x for x in group] for group in one], [(10 + a, 10 + b) for a, b in apart]))

    head = list(range(n))       # the same by hand
    for group in one:
        members = [x for x in group if x < n]
        heads = {head[x] for x in members}
        head = [min(heads) if h in heads else h for h in head]
    conflicts = {(head[a], head[b]) for a, b in [*zip(*(side.tolist() for side in overlaps(of)), strict=True),
                                                  *((a, b) for a, b in apart if max(a, b) < n)]}
    wrong = {a for a, b in conflicts if a == b}
    conflicts |= {(b, a) for a, b in conflicts}
    genuine = [(a, b) for a, b in combinations(range(n), 2) if head[a] == head[b] and head[a] not in wrong
               and (of.camera[a], of.modality[a]) != (of.camera[b], of.modality[b])]
    strangers = [(a, b) for a, b in combinations(range(n), 2) if (head[a], head[b]) in conflicts
                 and not {head[a], head[b]} & wrong and head[a] != head[b]]
    for name in PAIRS:
        for want, have in ((genuine, known.scores[name].genuine), (strangers, known.scores[name].impostor)):
            scores = [float(of.mean[a] @ of.mean[b]) for a, b in want
                      if name == pair(MODALITIES[of.modality[a]], MODALITIES[of.modality[b]])]
            np.testing.assert_allclose(np.sort(have), np.sort(np.array(scores, np.float32)), atol=1e-6)
    assert known.contradicted == len(wrong)


def test_strangers_across_modalities_follow_from_who_was_in_view_beside_a_confirmed_person() -> None:
    # 10 and 11 stand before camera 0 together; 12 is infrared, elsewhere, and confirmed to be 10.
    of = seen([(0, 0, 5, 0), (0, 2, 5, 0), (1, 50, 5, 1)])
    assert len(witnessed(of, NOTHING).scores["visible-infrared"].impostor) == 0
    known = witnessed(of, Said([[10, 12]], []))
    across = known.scores["visible-infrared"]
    assert (len(across.genuine), len(across.impostor)) == (1, 1)
    assert across.impostor_of.tolist() in ([[101, -1]], [[-1, 101]])
    assert across.genuine_of.tolist() == [-1]
    assert (known.people, known.contradicted) == (1, 0)


def test_vectors_of_two_site_keys_are_not_compared() -> None:
    of = dataclasses.replace(seen([(0, 0, 5, 0), (0, 2, 5, 0)]), transform=np.array([1, 2], np.uint64))
    assert len(witnessed(of, NOTHING).scores["visible-visible"].impostor) == 0


def test_a_group_that_one_camera_saw_twice_at_a_time_is_left_out_and_counted() -> None:
    of = seen([(0, 0, 5, 0), (0, 2, 5, 0), (1, 50, 5, 0), (1, 51, 5, 0)])
    known = witnessed(of, Said([[10, 11, 12]], []))
    assert (known.people, known.contradicted) == (0, 1)
    assert len(known.scores["visible-visible"].genuine) == 0
    assert len(known.scores["visible-visible"].impostor) == 0      # 13 beside 12, whoever 12 is: not certain any more


def decision(number: int, kind: str, **body: object) -> Decision:
    return Decision(5.0, "ada", kind, "", body, number)  # type: ignore[arg-type]


def test_what_people_decided_is_who_is_one_and_who_is_two_until_it_is_undone() -> None:
    made = [decision(1, "confirm", tracklets=[1, 2], moved=[]), decision(2, "merge", tracklets=[5, 6, 7], moved=[]),
            decision(3, "cannot_link", tracklets=[3, 4, 8], moved=[], sides=[[3], [4, 8]]),
            decision(4, "split", tracklets=[10, 11], moved=[], sides=[[10], [11]])]
    assert said(made) == Said([[1, 2], [5, 6, 7]], [(3, 4), (3, 8), (10, 11)])
    for number, left in ((1, Said([[5, 6, 7]], [(3, 4), (3, 8), (10, 11)])),
                         (3, Said([[1, 2], [5, 6, 7]], [(10, 11)]))):
        assert said([*made, decision(5, "undo", tracklets=[], moved=[], undoes=number)]) == left


def test_what_a_gallery_stores_of_decisions_is_understood(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    first, second, third = (desk.see(person, "north", 100.0).identity for person in (1, 2, 3))
    opened = [link.opened_by for link in desk.journal.links(0)]
    desk.decide("merge", first, second)
    desk.decide("cannot_link", first, third)
    assert said(desk.journal.decisions()) == Said([opened[:2]], [(opened[0], opened[2]), (opened[1], opened[2])])
    number = desk.decide("confirm", first).id
    assert len(said(desk.journal.decisions()).one) == 2
    desk.decide("undo", undoes=number)
    assert len(said(desk.journal.decisions()).one) == 1
    desk.journal.close()


def test_decisions_about_tracklets_that_are_gone_count_for_nothing() -> None:
    of = seen([(0, 0, 5, 0), (1, 50, 5, 0)])
    known = witnessed(of, Said([[10, 99], [98, 97]], [(10, 99)]))
    assert known.people == 0
    assert all(len(part) == 0 for name, kind in product(PAIRS, ("genuine", "impostor"))
               for part in [getattr(known.scores[name], kind)])
