"""Scores that moved are told from scores that did not, and chance from both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.calibration import Histogram
from cmnas_edge.calibration.drift import drift

cosines = st.lists(st.floats(-1, 1), min_size=1, max_size=400)


def of(values: np.ndarray) -> Histogram:
    return Histogram.of(np.clip(values, -1, 1))


@given(cosines)
def test_the_same_scores_have_not_moved(scores: list[float]) -> None:
    histogram = of(np.array(scores))
    found = drift(histogram, histogram)
    assert found is not None
    assert (found.index, found.largest_gap, found.shift) == (0, 0, 0)
    assert found.word == ("little" if len(scores) * 0.1 >= 2 * 16.919 else "too few")


@given(cosines, cosines)
def test_no_drift_is_negative_and_a_gap_is_a_share(then: list[float], now: list[float]) -> None:
    found = drift(of(np.array(then)), of(np.array(now)))
    assert found is not None
    assert found.index >= 0
    assert 0 <= found.largest_gap <= 1
    assert (found.then_count, found.now_count) == (len(then), len(now))


def test_scores_that_nobody_has_are_compared_with_nothing() -> None:
    assert drift(Histogram(0, ()), of(np.zeros(3))) is None
    assert drift(of(np.zeros(3)), Histogram(0, ())) is None


def test_chance_stays_below_what_it_is_said_to_reach_in_one_look_of_twenty() -> None:
    rng = np.random.default_rng(0)
    beyond = sum(found.index > found.by_chance for _ in range(400)
                 for found in [drift(of(rng.normal(0.2, 0.12, 3000)), of(rng.normal(0.2, 0.12, 500)))]
                 if found is not None)
    assert beyond <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)
    assert beyond > 0


@pytest.mark.parametrize(("moved", "word"), [(0.0, "little"), (0.05, "some"), (0.15, "much")])
def test_the_further_scores_move_the_stronger_the_word(moved: float, word: str) -> None:
    rng = np.random.default_rng(1)
    found = drift(of(rng.normal(0.2, 0.12, 20_000)), of(rng.normal(0.2 + moved, 0.12, 5000)))
    assert found is not None
    assert found.word == word
    assert found.shift == pytest.approx(moved, abs=0.011)


def test_the_index_is_the_sum_over_tenths_and_the_gap_is_kolmogorovs() -> None:
    then = of(np.repeat(np.arange(10) / 10 + 0.005, 100))       # a tenth in each of ten bins
    now = of(np.repeat(np.arange(10) / 10 + 0.005, np.arange(10, 110, 10)))
    found = drift(then, now)
    assert found is not None
    p, q = (np.array(counts) + 0.5 for counts in ([100] * 10, np.arange(10, 110, 10)))
    p, q = p / p.sum(), q / q.sum()
    assert found.index == pytest.approx(float(((q - p) * np.log(q / p)).sum()))
    shares = np.cumsum(np.full(10, 0.1)) - np.cumsum(np.arange(10, 110, 10)) / 550
    assert found.largest_gap == pytest.approx(np.abs(shares).max())


def test_a_few_scores_that_lie_far_off_are_chance_until_there_are_more() -> None:
    rng = np.random.default_rng(2)
    then = of(rng.normal(0.2, 0.12, 20_000))
    few, many = (drift(then, of(rng.normal(0.3, 0.12, count))) for count in (12, 2000))
    assert few is not None
    assert many is not None
    assert (few.word, many.word) == ("too few", "much")
