"""Retrieval figures agree with CM-NAS's and AGW's code, and with the definitions recomputed by hand."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cmnas_edge import retrieval
from cmnas_edge.retrieval import error_rates, evaluate, rank, summary, sysu_excluded, threshold_at
from tests.shared import SHARED, needs_shared

Arrays = dict[str, npt.NDArray[Any]]
CUT = Path(__file__).resolve().parents[1] / "golden" / "eval_sysu.npz"


def cases(path: Path) -> dict[str, Arrays]:
    found: dict[str, Arrays] = {}
    with np.load(path) as file:
        for key in file:
            case, _, field = key.partition("/")
            found.setdefault(case, {})[field] = file[key]
    return found


def agrees(case: Arrays) -> None:
    found = evaluate(case["dist"], case["q_pids"], case["g_pids"],
                     excluded=sysu_excluded(case["q_cams"], case["g_cams"]), max_rank=int(case["max_rank"]))
    np.testing.assert_allclose(found.cmc, case["cmc"], atol=1e-7)
    assert found.mean_ap == pytest.approx(float(case["mAP"]), abs=1e-12)
    assert found.mean_inp == pytest.approx(float(case["mINP"]), abs=1e-12)


@pytest.mark.parametrize("name", sorted(cases(CUT)))
def test_figures_are_those_of_the_reference_evaluation(name: str) -> None:
    agrees(cases(CUT)[name])


@needs_shared("golden/eval_sysu.npz")
def test_figures_are_the_references_on_every_case_however_large() -> None:
    for case in cases(SHARED / "golden" / "eval_sysu.npz").values():
        agrees(case)


@st.composite
def searches(draw: st.DrawFn) -> tuple[Any, ...]:
    """Small galleries with ties, exclusions and identities that only one side has."""
    q, g = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    distance = draw(hnp.arrays(np.float64, (q, g), elements=st.integers(0, 6).map(float)))
    query = draw(hnp.arrays(np.int64, q, elements=st.integers(0, 3)))
    gallery = draw(hnp.arrays(np.int64, g, elements=st.integers(0, 3)))
    excluded = draw(hnp.arrays(np.bool_, (q, g)))
    return distance, query, gallery, excluded


def by_hand(search: tuple[Any, ...], distinct: bool) -> tuple[list[int], list[float], list[float]] | None:
    """First rank, AP and INP per query, one query at a time, equals against the searcher."""
    firsts, precisions, penalties = [], [], []
    for row, person, hidden in zip(search[0], search[1], search[3], strict=True):
        seen = sorted((d, int(who == person), int(who)) for d, who, gone in zip(row, search[2], hidden, strict=True)
                      if not gone)
        right = [i for i, (_, hit, _) in enumerate(seen) if hit]
        if not right:
            continue
        order = list(dict.fromkeys(who for _, _, who in seen)) if distinct else [who for _, _, who in seen]
        firsts.append(order.index(int(person)))
        precisions.append(float(np.mean([(k + 1) / (i + 1) for k, i in enumerate(right)])))
        penalties.append(len(right) / (right[-1] + 1))
    return (firsts, precisions, penalties) if firsts else None


@given(searches(), st.booleans())
def test_figures_are_the_definitions_recomputed_one_query_at_a_time(search: tuple[Any, ...], distinct: bool) -> None:
    expected = by_hand(search, distinct)
    if expected is None:
        with pytest.raises(ValueError, match="at least one query"):
            evaluate(*search[:3], excluded=search[3], distinct=distinct)
        return
    found = evaluate(*search[:3], excluded=search[3], distinct=distinct)
    firsts, precisions, penalties = expected
    assert found.query_count == len(firsts)
    assert found.mean_ap == pytest.approx(np.mean(precisions))
    assert found.mean_inp == pytest.approx(np.mean(penalties))
    for k, share in enumerate(found.cmc):
        assert share == pytest.approx(np.mean([first <= k for first in firsts]))


@given(searches(), st.permutations(range(9)))
def test_the_order_of_the_gallery_does_not_matter(search: tuple[Any, ...], order: list[int]) -> None:
    distance, query, gallery, excluded = search
    turn = np.array([i for i in order if i < len(gallery)])
    try:
        before = evaluate(distance, query, gallery, excluded=excluded)
    except ValueError:
        return
    after = evaluate(distance[:, turn], query, gallery[turn], excluded=excluded[:, turn])
    np.testing.assert_allclose(after.cmc, before.cmc)
    assert after.mean_ap == pytest.approx(before.mean_ap)


@given(searches(), st.integers(1, 20))
def test_a_search_worked_off_in_pieces_is_the_same_search(search: tuple[Any, ...], at_once: int) -> None:
    whole = rank(*search[:3], excluded=search[3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_AT_ONCE", at_once)
        pieces = rank(*search[:3], excluded=search[3])
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-14)


@given(hnp.arrays(np.int64, (3, 7), elements=st.integers(0, 5)),
       hnp.arrays(np.int64, (3, 2), elements=st.integers(-1, 6)), st.integers(1, 7))
def test_all_rows_are_bisected_at_once_as_each_would_be(rows: npt.NDArray[Any], values: npt.NDArray[Any], length: int
                                                        ) -> None:
    ascending = np.sort(rows[:, :length].astype(float), axis=1)
    expected = [np.searchsorted(row, value, side="right") for row, value in zip(ascending, values, strict=True)]
    np.testing.assert_array_equal(retrieval._no_farther(ascending, values.astype(float)), expected)


def test_each_query_that_has_a_match_is_named_with_its_own_figures() -> None:
    distance = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
    found = rank(distance, np.array([7, 9, 5]), np.array([5, 7, 5]))
    assert found.query.tolist() == [0, 2]
    assert found.first.tolist() == [1, 0]
    assert found.average_precision.tolist() == pytest.approx([1 / 2, (1 + 2 / 3) / 2])
    assert found.inverse_penalty.tolist() == pytest.approx([1 / 2, 2 / 3])


# What the reference evaluation cannot do; its own words are in the golden eval_errors.json.
def test_queries_left_with_different_numbers_of_identities_are_ranked() -> None:
    # Camera 3 does not see identity 2, which only camera 2 saw; camera 6 does.
    query_camera, gallery_camera = np.array([3, 6]), np.array([1, 2])
    found = evaluate(np.array([[0.2, 0.1], [0.2, 0.1]]), np.array([1, 1]), np.array([1, 2]),
                     excluded=sysu_excluded(query_camera, gallery_camera))
    assert found.cmc.tolist() == [0.5, 1.0]


def test_a_search_in_which_no_query_has_a_match_says_so_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^expected at least one query with a match in the gallery, got none$"):
        evaluate(np.zeros((2, 2)), np.array([1, 2]), np.array([3, 4]))
    with pytest.raises(ValueError, match="at least one query"):
        evaluate(np.zeros((2, 0)), np.array([1, 2]), np.array([], np.int64))
    with pytest.raises(ValueError, match="at least one query"):
        summary(rank(np.zeros((0, 2)), np.array([], np.int64), np.array([3, 4])), 1)


def test_a_large_search_needs_little_more_memory_than_its_distances() -> None:
    rng = np.random.default_rng(0)
    gallery = np.sort(rng.integers(0, 60, 2000))
    distance = rng.random((5000, 2000), np.float32)
    tracemalloc.start()
    evaluate(distance, rng.integers(0, 60, 5000), gallery)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Some copies of a million numbers at a time, and never a copy of all 10 million.
    assert peak < distance.nbytes


def test_an_embedding_that_is_the_same_for_everybody_finds_nobody() -> None:
    people = np.arange(8)
    found = evaluate(np.zeros((8, 8)), people, people)
    assert found.rank1 == 0
    assert found.mean_ap == pytest.approx(1 / 8)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_distance_that_is_not_finite_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        evaluate(np.array([[wrong, 1.0]]), np.array([1]), np.array([1, 2]))


def test_shapes_that_do_not_belong_together_are_named() -> None:
    with pytest.raises(ValueError, match=r"expected shape \(1, 3\), got \(1, 2\)"):
        evaluate(np.zeros((1, 2)), np.array([1]), np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="excluded"):
        evaluate(np.zeros((1, 2)), np.array([1]), np.array([1, 2]), excluded=np.zeros((2, 1), bool))


def test_camera_three_does_not_see_camera_two_and_everything_else_is_seen() -> None:
    hidden = sysu_excluded(np.array([3, 6, 2]), np.array([1, 2, 3, 4]))
    assert np.argwhere(hidden).tolist() == [[0, 1]]


scores = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1, 1).map(lambda x: round(x, 2)))


@given(scores, scores, st.floats(0, 1))
def test_a_threshold_keeps_the_false_match_rate_and_no_lower_one_among_the_scores_would(
        genuine: npt.NDArray[np.float64], impostor: npt.NDArray[np.float64], rate: float) -> None:
    threshold = threshold_at(genuine, impostor, rate)
    false_match, false_non_match = error_rates(genuine, impostor, threshold)
    # A count is allowed if it is within the rate up to rounding of rate * count.
    assert false_match * len(impostor) <= rate * len(impostor) + 1e-6
    for lower in np.concatenate([genuine, impostor]):
        if lower < threshold:
            more_matches, fewer_misses = error_rates(genuine, impostor, float(lower))
            assert more_matches * len(impostor) > rate * len(impostor) - 1e-6 or fewer_misses == false_non_match


def test_a_threshold_lies_between_scores_so_that_rounding_does_not_move_it_across_one() -> None:
    assert threshold_at(np.array([0.9]), np.array([0.1, 0.2, 0.3, 0.5]), 0.25) == pytest.approx(0.4)
    assert threshold_at(np.array([0.9]), np.array([0.1, 0.2]), 0.0) == pytest.approx(0.55)
    assert threshold_at(np.array([0.1]), np.array([0.1, 0.2]), 0.0) > 0.2


def test_a_side_without_scores_or_a_rate_that_is_no_share_is_refused() -> None:
    some, none = np.array([0.5]), np.array([])
    for genuine, impostor in ((some, none), (none, some)):
        with pytest.raises(ValueError, match="both sides"):
            threshold_at(genuine, impostor, 0.1)
        with pytest.raises(ValueError, match="both sides"):
            error_rates(genuine, impostor, 0.1)
    with pytest.raises(ValueError, match=r"0 to 1, got 1\.5"):
        threshold_at(some, some, 1.5)
