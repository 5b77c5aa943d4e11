"""A score is judged by its pair, compares across pairs, and has a probability only where somebody found out."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.bundle import Bundle
from cmnas_edge.calibration import PAIRS, Histogram, Judged, Pair, encode, read_calibration
from cmnas_edge.errors import BundleError
from tests.calibrations import FINGERPRINT, SLOPES, calibration, old, scale
from tests.tiny_bundle import TINY

pairs = st.sampled_from(PAIRS)
cosines = st.floats(-1, 1)


def test_a_calibration_reads_back_as_it_was_written() -> None:
    for written in (calibration(), old()):
        assert read_calibration(encode(written), FINGERPRINT, "here") == written


def test_lists_of_numbers_stay_on_one_line() -> None:
    lines = encode(calibration()).decode().splitlines()
    assert any(line.strip() == '"counts": [ 1, 0, 3 ]' for line in lines)


def test_a_file_without_scales_is_written_as_the_first_release_reads_it() -> None:
    assert set(json.loads(encode(old()))) == {"schema", "fingerprint", "calibrated_on", "thresholds"}


def test_a_file_of_the_first_release_has_thresholds_and_no_probability() -> None:
    read = Bundle.open(TINY).calibration
    assert read.schema == 1
    for name in PAIRS:
        threshold = read.thresholds[name].score
        assert read.judge(name, threshold) == Judged(threshold, threshold, None, "same")
        assert read.judge(name, threshold - 1e-3).verdict == "different"
        assert read.judge(name, 0.9, prior=0.5).probability is None
        assert read.normalise(name, threshold) == 0
        assert read.normalise(name, 1.0) == pytest.approx(1)


@given(pairs, cosines)
def test_a_verdict_is_same_from_the_threshold_on_and_unsure_only_in_the_band_below(pair: Pair, score: float) -> None:
    judged = calibration().judge(pair, score)
    assert (judged.score, judged.threshold) == (score, 0.7)
    assert judged.verdict == ("same" if score >= 0.7 else "unsure" if score >= 0.5 else "different")


@given(pairs, st.lists(cosines, min_size=2, max_size=20, unique_by=lambda score: round(score, 6)), st.booleans())
def test_what_is_normalised_keeps_its_order_within_a_pair(pair: Pair, scores: list[float], scaled: bool) -> None:
    ascending = np.sort(np.array(scores))
    assert (np.diff((calibration() if scaled else old()).normalised(pair, ascending)) > 0).all()


@given(pairs, cosines, st.floats(1e-4, 0.999))
def test_a_probability_is_bayes_rule_of_evidence_and_prior(pair: Pair, score: float, prior: float) -> None:
    found = calibration()
    slope, offset = SLOPES[pair]
    evidence = min(max(slope * score + offset, -math.log(400)), math.log(30_000))
    odds = math.exp(evidence) * prior / (1 - prior)
    probability = found.judge(pair, score, prior=prior).probability
    assert probability == pytest.approx(odds / (1 + odds), rel=1e-9)
    assert found.normalise(pair, score) == pytest.approx(slope * score + offset)


@given(pairs, cosines)
def test_the_prior_is_the_files_where_none_is_given(pair: Pair, score: float) -> None:
    found = calibration()
    assert found.judge(pair, score) == found.judge(pair, score, prior=0.01)


def test_two_scores_of_one_evidence_are_as_probable_whatever_their_pairs() -> None:
    found = calibration()
    scores = {name: (2.0 - offset) / slope for name, (slope, offset) in SLOPES.items()}
    assert {round(found.normalise(name, score), 9) for name, score in scores.items()} == {2.0}
    assert len({round(found.judge(name, score).probability or 0, 12) for name, score in scores.items()}) == 1


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.1, float("nan")])
def test_a_prior_that_leaves_nothing_to_learn_is_refused(prior: float) -> None:
    with pytest.raises(ValueError, match="prior"):
        calibration().judge("visible-visible", 0.5, prior=prior)


def test_only_a_drawn_threshold_across_modalities_merely_suggests() -> None:
    assert [calibration().only_suggests(name) for name in PAIRS] == [False, False, True]
    on_site = calibration(calibrated_on="site", scales={name: scale(name, calibrated_on="site") for name in PAIRS})
    assert not any(on_site.only_suggests(name) for name in PAIRS)
    assert [old().only_suggests(name) for name in PAIRS] == [False, False, True]
    assert not calibration(schema=1, scales={}, prior=None, calibrated_on="dataset").only_suggests("visible-infrared")


def test_a_site_that_saw_too_little_across_modalities_still_only_suggests() -> None:
    scales = {name: scale(name, calibrated_on="drawn" if name == "visible-infrared" else "site") for name in PAIRS}
    found = calibration(calibrated_on="site", scales=scales)
    assert found.only_suggests("visible-infrared")
    assert [found.origin(name) for name in PAIRS] == ["site", "site", "drawn"]


@given(st.lists(cosines, max_size=50))
def test_a_histogram_counts_every_score_in_its_hundredth(scores: list[float]) -> None:
    values = np.array(scores)
    counts = Histogram.of(values).full()
    assert counts.sum() == len(scores)
    for at in range(1, 200):
        edge = at / 100 - 1
        assert (values < edge - 1e-9).sum() <= counts[:at].sum() <= (values < edge + 1e-9).sum()


@pytest.mark.parametrize(("changed", "words"), [
    ({"scales": {}}, "a prior and a scale for every pair in schema 2"),
    ({"prior": None}, "a prior and a scale for every pair in schema 2"),
    ({"schema": 1}, "none in schema 1"),
    ({"scales": {"visible-visible": scale("visible-visible")}}, "a scale for every pair"),
    ({"scales": {name: scale(name, unsure_from=0.71) for name in PAIRS}}, "abstain band of visible-visible"),
    ({"scales": {name: scale(name, genuine=Histogram(199, (1, 1))) for name in PAIRS}}, "histograms of 200 bins"),
    ({"scales": {name: scale(name, slope=0.0) for name in PAIRS}}, "slope"),
    ({"prior": 1.0}, "prior"),
    ({"fingerprint": "0b" * 32}, "calibrate this bundle"),
    ({"schema": 3}, "schema 1 or 2, found 3"),
])
def test_a_calibration_whose_parts_do_not_belong_together_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(BundleError, match=words):
        read_calibration(encode(calibration(**changed)), FINGERPRINT, "here")
