"""What calibrations are compared with is what it is called, and a drawn site is one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.calibration import isotonic, site
from cmnas_edge.collector.witnesses import overlaps
from train.protocols.embeddings import Embeddings

scores = st.lists(st.integers(0, 20), min_size=1, max_size=12, unique=True)


@settings(max_examples=50)
@given(scores, scores)
def test_isotonic_evidence_is_the_best_that_never_falls(genuine: list[int], impostor: list[int]) -> None:
    genuine = [value for value in genuine if value not in impostor] or [30]
    a, b = np.array(genuine) / 40, np.array(impostor) / 40
    evidence = isotonic(a, b, 0.5)
    at = np.sort(np.concatenate([a, b]))
    found = 1 / (1 + np.exp(-evidence(at)))
    # By the min-max formula (Robertson, Wright and Dykstra 1988, theorem 1.4.4).
    target = np.isin(at, a).astype(float)
    weight = np.where(target == 1, 0.5 / len(a), 0.5 / len(b))
    n = len(at)
    mean = [[(target[i:j + 1] * weight[i:j + 1]).sum() / weight[i:j + 1].sum() if i <= j else 0.0 for j in range(n)]
            for i in range(n)]
    best = [max(min(mean[i][j] for j in range(k, n)) for i in range(k + 1)) for k in range(n)]
    want = np.clip(best, 0.5 / len(b) / 2, 1 - 0.5 / len(a) / 2)
    assert found == pytest.approx(want, abs=1e-9)


def test_people_come_past_every_camera_twice_and_in_threes() -> None:
    people, cameras, views = 9, (1, 2, 3), 6
    who = np.repeat(np.arange(people), len(cameras) * views)
    camera = np.tile(np.repeat(cameras, views), people)
    seen = Embeddings(np.eye(len(who), 8, dtype=np.float32) + 0.1, who, camera, camera % 3 == 0)
    tracklets, whose = site(seen, 0)
    assert len(tracklets) == people * len(cameras) * 2
    assert np.unique(np.stack([whose, tracklets.camera]), axis=1, return_counts=True)[1].tolist() == [2] * 27
    a, b = overlaps(tracklets)
    assert len(a) == 3 * 2 * 3 * 3      # cameras, visits, threes of nine people, couples of three
    assert (whose[a] != whose[b]).all()
