"""Error rates are the house's own, intervals those of people drawn again, one resample at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.retrieval import error_rates, threshold_at
from tests.train.protocol_people import people, shuffled
from train.protocols import verification
from train.protocols.embeddings import Embeddings
from train.protocols.pairs import PAIRS
from train.protocols.rows import of_verification
from train.protocols.rules import OWN_ROOM
from train.protocols.verification import verify

F64 = npt.NDArray[np.float64]
CROWD = shuffled(people(range(12), (1, 2, 3, 4, 6), 2, noise=0.8))


def pairs(pictures: Embeddings, pair: str) -> list[tuple[float, int, int]]:
    """Score and both identities of every pair of two cameras that are not in one room, each once."""
    first, second = (part == "infrared" for part in pair.split("-"))
    found = []
    for i in range(len(pictures)):
        for j in range(len(pictures)):
            cameras = {int(pictures.camera[i]), int(pictures.camera[j])}
            if (pictures.infrared[i] == first and pictures.infrared[j] == second and (first != second or i < j)
                    and len(cameras) == 2 and cameras != {2, 3}):
                found.append((float(pictures.embedding[i] @ pictures.embedding[j]), int(pictures.identity[i]),
                              int(pictures.identity[j])))
    return found


def rates_of(genuine: F64, impostor: F64, rate: float) -> tuple[float, float]:
    """Equal error rate over all thresholds, and TMR at a FMR, by the house's functions."""
    thresholds = np.unique(np.concatenate([genuine, impostor, [2]]))
    eer = min(max(error_rates(genuine, impostor, threshold)) for threshold in thresholds)
    return eer, 1 - error_rates(genuine, impostor, threshold_at(genuine, impostor, rate))[1]


@pytest.mark.parametrize("pair", sorted(PAIRS))
def test_every_rate_is_the_houses_on_all_pairs_of_two_cameras(pair: Any) -> None:
    found = verify(CROWD, pair, hidden=OWN_ROOM, rates=(0.2, 0.05, 0.01), resamples=0)
    scores = pairs(CROWD, pair)
    genuine = np.array([score for score, one, other in scores if one == other])
    impostor = np.array([score for score, one, other in scores if one != other])
    assert (found.genuine, found.impostor, found.people) == (len(genuine), len(impostor), 12)
    for rate in (0.2, 0.05, 0.01):
        eer, tmr = rates_of(genuine, impostor, rate)
        assert found.figures["eer"] == pytest.approx(eer)
        assert found.figures[f"tmr@{rate:g}"] == pytest.approx(tmr)
    assert 0.02 < found.figures["eer"] < 0.4


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_among_equal_scores_rates_are_the_houses_and_the_equal_one_the_least_either_can_be_held_to(
        one: list[int], other: list[int]) -> None:
    genuine, impostor = np.array(one, np.float32), np.array(other, np.float32)
    figures = verification._exact(genuine, impostor, (0.5,))
    eer, tmr = rates_of(genuine.astype(float), impostor.astype(float), 0.5)
    assert figures["eer"] == pytest.approx(eer)
    assert figures.get("tmr@0.5", tmr) == pytest.approx(tmr)


def resampled(pictures: Embeddings, rate: float, resamples: int, seed: int) -> tuple[list[float], list[float]]:
    """The same resamples, each worked out from lists of pairs."""
    who = np.unique(pictures.identity)
    weights = np.random.default_rng(seed).multinomial(len(who), np.full(len(who), 1 / len(who)), resamples)
    scores = pairs(pictures, "visible-infrared")
    eers, tmrs = [], []
    for weight in weights:
        times = dict(zip(who.tolist(), weight.tolist(), strict=True))
        genuine = np.array([score for score, one, other in scores if one == other for _ in range(times[one])])
        impostor = np.array([score for score, one, other in scores if one != other
                             for _ in range(times[one] * times[other])])
        eer, tmr = rates_of(genuine, impostor, rate)
        eers.append(eer)
        tmrs.append(tmr)
    return eers, tmrs


def test_an_interval_is_that_of_people_drawn_again_with_all_their_pairs() -> None:
    crowd = people(range(6), (1, 2, 3, 6), 2, noise=0.8, seed=4)
    for rate in (0.05, 0.1, 0.25):
        found = verify(crowd, "visible-infrared", hidden=OWN_ROOM, rates=(rate,), resamples=60, seed=5)
        eers, tmrs = resampled(crowd, rate, 60, 5)
        assert found.interval["eer"] == pytest.approx(np.percentile(eers, (2.5, 97.5)), abs=1e-6)
        assert found.interval[f"tmr@{rate:g}"] == pytest.approx(np.percentile(tmrs, (2.5, 97.5)), abs=1e-6)
    assert found.interval["eer"][0] < found.figures["eer"] < found.interval["eer"][1]


def test_counting_between_few_scores_moves_an_interval_little(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = people(range(20), (1, 2, 3, 6), 3, noise=0.9, seed=6)
    fine = verify(crowd, "visible-infrared", rates=(1e-2,), resamples=100)
    monkeypatch.setattr(verification, "_EDGES", 256)
    coarse = verify(crowd, "visible-infrared", rates=(1e-2,), resamples=100)
    assert fine.interval != coarse.interval
    for name, interval in fine.interval.items():
        # Half of the edges lie at genuine scores: a step of 1/128.
        assert coarse.interval[name] == pytest.approx(interval, abs=1.5 / 128)


def test_more_people_make_a_narrower_interval_and_more_pictures_of_the_same_hardly() -> None:
    few, more_pictures, more_people = (
        verify(people(range(count), (1, 3, 4, 6), shots, noise=0.9), "visible-infrared", resamples=200).interval["eer"]
        for count, shots in ((15, 2), (15, 6), (90, 2)))
    width, same_people, other_people = (high - low for low, high in (few, more_pictures, more_people))
    assert other_people < 0.6 * width
    assert same_people > 0.6 * width


def test_a_rate_that_the_pairs_are_too_few_for_is_left_out() -> None:
    found = verify(CROWD, "infrared-infrared", resamples=10)
    assert found.impostor < 1000
    assert set(found.figures) == set(found.interval) == {"eer", "tmr@0.01"}


def test_many_pictures_of_a_person_under_a_camera_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = people(range(10), (1, 4, 3), 8)
    whole = verify(crowd, "visible-infrared", resamples=0)
    assert "left out" not in of_verification(whole, "folder", "visible-infrared", "ours").over
    monkeypatch.setattr(verification, "_PAIRS", 50 ** 2)
    found = verify(crowd, "visible-infrared", resamples=0)
    # 160 visible pictures become 2 of each of 20, 80 infrared ones 5 of each of 10.
    assert (found.genuine, found.impostor) == (10 * 4 * 5, 10 * 9 * 4 * 5)
    assert found.left_out == 160 - 40 + 80 - 50
    assert of_verification(found, "folder", "visible-infrared", "ours").over.endswith(", 150 pictures left out")
    monkeypatch.setattr(verification, "_PAIRS", 1)
    assert verify(crowd, "visible-infrared", resamples=0).genuine == 10 * 2 * 1


def test_pairs_worked_off_in_pieces_are_all_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_EDGES", 64)
    whole = verify(CROWD, "visible-visible", resamples=20)
    monkeypatch.setattr(verification, "_AT_ONCE", 100)
    pieces = verify(CROWD, "visible-visible", resamples=20)
    assert pieces.figures == pytest.approx(whole.figures)
    for name, interval in whole.interval.items():
        assert pieces.interval[name] == pytest.approx(interval)
    assert (pieces.genuine, pieces.impostor) == (whole.genuine, whole.impostor)


def test_what_cannot_be_verified_says_so() -> None:
    with pytest.raises(ValueError, match="rates: expected shares between 0 and 1, got 0"):
        verify(CROWD, "visible-infrared", rates=(0,))
    with pytest.raises(ValueError, match="from different cameras, got 0 and 0"):
        verify(CROWD.take(CROWD.camera == 1), "visible-visible")
    with pytest.raises(ValueError, match="gallery: expected infrared pictures, got none"):
        verify(CROWD.take(CROWD.camera == 1), "visible-infrared")
