"""A search ranks both modalities on the scale they share, and finds what a look at every sighting would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.calibration import Calibration, pair
from cmnas_edge.collector.matching.index import Filter, Index
from cmnas_edge.collector.matching.match import match
from cmnas_edge.embedding import MODALITIES, Modality, unit
from tests.calibrations import calibration, old

D = 8


def index(rng: np.random.Generator, count: int) -> tuple[Index, list[tuple[int, Modality, np.ndarray]]]:
    found = Index(D)
    rows: list[tuple[int, Modality, np.ndarray]] = []
    for number in range(1, count + 1):
        vector = unit(rng.normal(size=(1, D)).astype(np.float32)).astype(np.float16).astype(np.float32)[0]
        modality = MODALITIES[int(rng.integers(2))]
        found.add(number, vector, camera=("gate", "north"), modality=modality, seen_from=number, seen_at=number)
        rows.append((number, modality, vector))
    return found, rows


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 12), st.sampled_from(MODALITIES),
       st.sampled_from([calibration(), old()]))
def test_the_best_are_those_of_a_look_at_every_sighting(
        seed: int, count: int, k: int, modality: Modality, by: Calibration) -> None:
    rng = np.random.default_rng(seed)
    known, rows = index(rng, count)
    query = unit(rng.normal(size=(1, D)).astype(np.float32)).astype(np.float16).astype(np.float32)[0]
    found = match(known.view(), query, modality, k=k, keep=Filter(), calibration=by)
    worth = sorted((by.normalise(pair(modality, other), float(vector @ query)) for _, other, vector in rows),
                   reverse=True)
    assert [by.normalise(each.pair, each.score) for each in found] == pytest.approx(worth[:k], abs=0.05)
    assert len({each.id for each in found}) == len(found) == min(k, count)
    for each in found:
        assert each.pair == pair(modality, rows[each.id - 1][1])
        assert each.threshold == by.thresholds[each.pair].score


def test_the_same_person_in_the_other_modality_comes_before_a_stranger_of_higher_cosine() -> None:
    by, known = calibration(), Index(D)
    for number, modality, cosine in ((1, "visible", 0.60), (2, "infrared", 0.55)):
        vector = np.zeros(D, np.float32)
        vector[0], vector[number] = cosine, np.sqrt(1 - cosine**2)
        known.add(number, vector, camera=("gate", "north"), modality=modality, seen_from=0, seen_at=1)  # type: ignore[arg-type]
    query = np.eye(1, D, dtype=np.float32)[0]
    # 20 x 0.60 - 12 = 0 against 11 x 0.55 - 4 = 2.05
    assert [each.id for each in match(known.view(), query, "visible", k=2, keep=Filter(), calibration=by)] == [2, 1]
    assert [each.id for each in match(known.view(), query, "visible", k=1, keep=Filter(), calibration=by)] == [2]
    only = Filter(modality="visible")
    assert [each.id for each in match(known.view(), query, "visible", k=2, keep=only, calibration=by)] == [1]
