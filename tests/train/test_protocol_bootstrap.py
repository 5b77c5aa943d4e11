"""Two systems differ by what their queries say, and by no more."""

from __future__ import annotations

import numpy as np
import pytest

from train.protocols.bootstrap import compare
from train.protocols.search import Queries


def queries(hit: np.ndarray, identity: np.ndarray | None = None) -> Queries:
    who = np.arange(len(hit)) if identity is None else identity
    return Queries(who, hit.astype(float), hit / 2)


def test_an_interval_is_that_of_a_mean_of_paired_differences() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(400) < 0.6, rng.random(400) < 0.5
    found = compare(queries(one), queries(other))["rank1"]
    apart = one.astype(float) - other
    error = apart.std() / 20
    assert found.value == pytest.approx(apart.mean())
    # A quantile of 10,000 draws is good to about 0.03 deviations; the mean of 400 is near normal.
    assert found.low == pytest.approx(apart.mean() - 1.96 * error, abs=0.12 * error)
    assert found.high == pytest.approx(apart.mean() + 1.96 * error, abs=0.12 * error)


def test_mean_average_precision_has_an_interval_of_its_own() -> None:
    hit = np.random.default_rng(1).random(100) < 0.5
    found = compare(queries(hit), queries(np.zeros(100)))
    assert found["mean_ap"].value == pytest.approx(found["rank1"].value / 2)
    assert found["mean_ap"].high == pytest.approx(found["rank1"].high / 2)


def test_systems_alike_in_all_but_luck_are_told_apart_one_time_in_twenty() -> None:
    rng = np.random.default_rng(2)
    p = [compare(queries(rng.random(80) < 0.5), queries(rng.random(80) < 0.5), resamples=400)["rank1"].p
         for _ in range(400)]
    # Binomial(400, 0.05) lies below 37 but one time in 10,000; and p is spread over all of 0 to 1.
    assert sum(value < 0.05 for value in p) < 37
    assert sum(value > 0.5 for value in p) > 140


def test_the_same_system_differs_from_itself_in_nothing_and_a_better_one_surely() -> None:
    hit = np.random.default_rng(3).random(200) < 0.5
    assert compare(queries(hit), queries(hit))["rank1"] == (0, 0, 0, 1)
    better = compare(queries(np.ones(200)), queries(hit), resamples=1000)["rank1"]
    assert better.p == pytest.approx(2 / 1001)
    worse = compare(queries(hit), queries(np.ones(200)), resamples=1000)["rank1"]
    assert (worse.value, worse.p) == (-better.value, better.p)


def test_people_whose_pictures_fail_together_are_fewer_than_their_pictures() -> None:
    rng = np.random.default_rng(4)
    person = np.repeat(np.arange(30), 10)
    one, other = (rng.random(30) < 0.5)[person], (rng.random(30) < 0.5)[person]
    by_query, by_person = (compare(queries(one, person), queries(other, person), by=by)["rank1"]
                           for by in ("query", "identity"))
    assert by_query.value == pytest.approx(by_person.value)
    # Ten pictures that say the same are one: the interval is wider by the root of ten.
    assert (by_person.high - by_person.low) / (by_query.high - by_query.low) == pytest.approx(10 ** 0.5, rel=0.1)


def test_a_query_without_a_match_counts_in_neither() -> None:
    hit = np.array([1.0, 0, 1, np.nan])
    other = np.array([0.0, 0, 1, np.nan])
    assert compare(queries(hit), queries(other))["rank1"].value == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="queries with a match in only one of two"):
        compare(queries(hit), queries(np.zeros(4)))
    with pytest.raises(ValueError, match="at least one query with a match"):
        compare(queries(hit[3:]), queries(hit[3:]))


def test_queries_that_are_not_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="same queries in the same order, got 2 and 3 that differ"):
        compare(queries(np.ones(2)), queries(np.ones(3)))
    with pytest.raises(ValueError, match="by: expected query or identity, got camera"):
        compare(queries(np.ones(2)), queries(np.ones(2)), by="camera")  # type: ignore[arg-type]
