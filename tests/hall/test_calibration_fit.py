"""Thresholds keep their rate, intervals are over people, and evidence is the line that fits best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.calibration.fit import LEAST_GENUINE, LEAST_PEOPLE, Plan, Scores, fit, line, shortfall
from cmnas_edge.errors import BundleError, ConfigError

F64 = npt.NDArray[np.float64]
PLAN = Plan(rate=1e-2, unsure_rate=5e-2, rates=(0.1,), resamples=100)


def people(seed: int, *, count: int = 30, views: int = 4, alike: float = 0.6, spread: float = 0.0) -> Scores:
    """Views of people; ``spread`` is how far people differ in how alike their own views are."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(count), views)
    own = rng.normal(alike, spread, count) if spread else np.full(count, alike)
    a, b = np.triu_indices(len(who), 1)
    same = who[a] == who[b]
    score = np.where(same, own[who[a]], 0.1) + rng.normal(0, 0.12, len(a))
    score = np.clip(score, -1, 1)
    return Scores(score[same], who[a][same], score[~same], np.stack([who[a], who[b]], 1)[~same])


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_no_more_strangers_reach_a_threshold_than_its_rate_allows(seed: int) -> None:
    scores = people(seed)
    threshold, scale = fit("visible-visible", scores, "drawn", PLAN)
    assert (scores.impostor >= threshold.score).mean() <= 1e-2
    assert (scores.impostor >= scale.unsure_from).mean() <= 5e-2
    assert scale.unsure_from <= threshold.score
    assert [point.false_match_rate for point in scale.points] == [0.1, 5e-2, 1e-2]
    for point in scale.points:
        assert (scores.impostor >= point.score).mean() <= point.false_match_rate
        assert point.false_non_match_rate == pytest.approx((scores.genuine < point.score).mean())
    assert scale.genuine.full().sum() == len(scores.genuine)
    assert scale.impostor.full().sum() == len(scores.impostor)


def test_evidence_of_two_normal_laws_of_one_width_is_the_line_that_bayes_rule_gives() -> None:
    rng = np.random.default_rng(1)
    genuine, impostor = rng.normal(0.6, 0.1, 40_000), rng.normal(0.2, 0.1, 40_000)
    slope, offset = line(genuine, impostor, 0.01)
    # log N(s; 0.6, 0.1) / N(s; 0.2, 0.1) = (0.4 s - 0.16) / 0.01, whatever the prior.
    assert slope == pytest.approx(40, rel=0.05)
    assert offset == pytest.approx(-16, rel=0.05)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.9))
def test_no_line_near_the_fitted_one_loses_less(seed: int, prior: float) -> None:
    rng = np.random.default_rng(seed)
    genuine, impostor = rng.normal(0.5, 0.15, 50), rng.normal(0.2, 0.12, 400)
    slope, offset = line(genuine, impostor, prior)
    base = np.log(prior / (1 - prior))

    def loss(a: float, b: float) -> float:
        one, two = a * genuine + b + base, a * impostor + b + base
        light = 0.1 * prior / 50 * (a * np.concatenate([genuine, impostor]).std()) ** 2 / 2     # the ridge
        return float(prior * np.logaddexp(0, -one).mean() + (1 - prior) * np.logaddexp(0, two).mean() + light)

    best = loss(slope, offset)
    for da, db in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05), (0.1, -0.05), (-0.1, 0.05)):
        assert loss(slope + da, offset + db) >= best - 1e-12


@pytest.mark.parametrize(("genuine", "impostor"), [
    (np.full(20, 0.9), np.full(2000, 0.1)), (np.full(20, 0.5), np.full(2000, 0.5)),
    (np.linspace(0.6, 0.9, 20), np.linspace(-0.5, 0.3, 100_000))])
def test_a_line_is_finite_where_scores_part_whole_or_not_at_all(genuine: F64, impostor: F64) -> None:
    slope, offset = line(genuine, impostor, 0.01)
    assert np.isfinite([slope, offset]).all()
    assert abs(slope) < 1e3


def test_how_many_pairs_of_each_kind_were_at_hand_does_not_move_the_evidence() -> None:
    rng = np.random.default_rng(2)
    genuine, impostor = rng.normal(0.6, 0.1, 4000), rng.normal(0.2, 0.1, 4000)
    few, many = line(genuine, impostor, 0.01), line(genuine, np.tile(impostor, 10), 0.01)
    np.testing.assert_allclose(few, many, rtol=0.02)


def test_intervals_are_over_people_so_more_views_of_the_same_people_narrow_them_little() -> None:
    widths = []
    for views in (3, 12):
        scores = people(3, count=20, views=views, spread=0.15)
        point = fit("visible-visible", scores, "drawn", PLAN)[1].points[-1]
        low, high = point.false_non_match_between
        widths.append(high - low)
    # Of pairs there are 20 times as many: intervals over pairs would be a quarter as wide or less.
    assert widths[1] > 0.6 * widths[0]


def test_intervals_hold_the_true_threshold_about_as_often_as_they_say() -> None:
    truth = 0.1 + 0.12 * 1.6448536269514722     # of which one stranger in twenty is above
    held = 0
    for seed in range(60):
        point = fit("visible-visible", people(seed, count=16, views=3), "drawn",
                    Plan(rate=5e-2, unsure_rate=5e-2, rates=(), resamples=60))[1].points[0]
        held += point.score_between[0] <= truth <= point.score_between[1]
    # At 95%, 60 trials hold it 57 times, give or take 1.7; a resample's few people make it a little less.
    assert held >= 50


def test_too_little_is_refused_and_what_is_needed_is_said() -> None:
    scores = people(0, count=LEAST_PEOPLE, views=3)
    assert shortfall(scores, Plan(rate=0.05, unsure_rate=0.05)) == ""
    few = people(0, count=LEAST_PEOPLE - 1, views=3)
    lone = Scores(scores.genuine[:LEAST_GENUINE - 1], scores.genuine_of[:LEAST_GENUINE - 1], scores.impostor,
                  scores.impostor_of)
    for lacking, rate in ((few, 0.06), (lone, 0.05), (scores, 0.01)):
        plan = Plan(rate=rate, unsure_rate=rate)
        with pytest.raises(ConfigError, match="visible-visible: expected at least"):
            fit("visible-visible", lacking, "drawn", plan)
    assert f"at least 1000 pairs of strangers and {LEAST_GENUINE} of the same person, of {LEAST_PEOPLE}" in shortfall(
        scores, Plan(rate=1e-2))


def test_scores_that_tell_nobody_apart_make_no_calibration() -> None:
    scores = people(0)
    with pytest.raises(BundleError, match="tells nobody apart"):
        fit("visible-visible", Scores(np.ones_like(scores.genuine), scores.genuine_of,
                                      np.ones_like(scores.impostor), scores.impostor_of), "drawn", PLAN)


def test_scores_that_say_nothing_leave_the_prior_nearly_as_it_was() -> None:
    scores = people(0, alike=0.1)
    mirrored = Scores(-people(0).genuine, scores.genuine_of, scores.impostor, scores.impostor_of)
    for useless in (scores, mirrored):
        threshold, scale = fit("visible-visible", useless, "drawn", PLAN)
        assert scale.slope > 0
        assert abs(scale.slope * threshold.score + scale.offset) < 1.5


@pytest.mark.parametrize("plan", [{"rate": 0.0}, {"prior": 1.0}, {"rates": (2.0,)}, {"rate": 0.1, "unsure_rate": 0.01}])
def test_a_plan_that_cannot_be_is_refused(plan: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Plan(**plan)  # type: ignore[arg-type]
