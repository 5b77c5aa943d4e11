"""Re-ranking is Zhong et al.'s, recomputed here the slow way: sets of neighbours, one row at a time."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.protocol_people import people
from train.protocols import reranking, sysu
from train.protocols.embeddings import Embeddings
from train.protocols.reranking import reranked_distances
from train.protocols.rules import Rule
from train.protocols.search import search

F32 = npt.NDArray[np.float32]


def slowly(query: F32, gallery: F32, k1: int, k2: int, weight: float, hidden: npt.NDArray[np.bool_] | None = None
           ) -> npt.NDArray[np.float64]:
    """The paper's sections 3.2 to 3.4, sentence by sentence."""
    rows = np.concatenate([query, gallery]).astype(np.float64)
    q, n = len(query), len(rows)
    apart = np.array([[np.sum((a - b) ** 2) for b in rows] for a in rows])
    apart = apart / apart.max(1, keepdims=True)

    def strangers(i: int, j: int) -> bool:
        low, high = min(i, j), max(i, j)
        return hidden is not None and low < q <= high and bool(hidden[low, high - q])

    order = [sorted((j for j in range(n) if not strangers(i, j)), key=lambda j: (j != i, apart[i, j]))
             for i in range(n)]

    def mutual(i: int, k: int) -> set[int]:
        return {j for j in order[i][:k + 1] if i in order[j][:k + 1]}

    encoded = np.zeros((n, n))
    for i in range(n):
        small = mutual(i, k1)
        whole = set(small)
        for j in small:
            theirs = mutual(j, round(k1 / 2))
            if len(theirs & small) > 2 / 3 * len(theirs):
                whole |= theirs
        for j in whole:
            if not strangers(i, j):
                encoded[i, j] = math.exp(-apart[i, j])
        encoded[i] /= encoded[i].sum()
    if k2 > 1:
        encoded = np.array([encoded[order[i][:k2]].mean(0) for i in range(n)])
    out = np.empty((q, n - q))
    for i in range(q):
        for j in range(q, n):
            jaccard = 1 - np.minimum(encoded[i], encoded[j]).sum() / np.maximum(encoded[i], encoded[j]).sum()
            out[i, j - q] = (1 - weight) * jaccard + weight * apart[i, j]
    return out


def parts(seed: int, noise: float = 0.7, identities: int = 6) -> tuple[F32, F32]:
    crowd = people(range(identities), (1, 2, 3, 6), 2, noise=noise, seed=seed, width=8)
    return crowd.embedding[crowd.infrared], crowd.embedding[~crowd.infrared]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 8), st.floats(0, 1), st.floats(0.2, 2))
def test_every_distance_is_the_papers(seed: int, k1: int, k2: int, weight: float, noise: float) -> None:
    # In float64, so that no two distances are equal but for rounding.
    query, gallery = (part.astype(np.float64) for part in parts(seed, noise, identities=3))
    # The paper's k2 nearest are among its k1 nearest.
    k2 = min(k2, k1 + 1)
    np.testing.assert_allclose(reranked_distances(query, gallery, k1=k1, k2=k2, weight=weight),
                               slowly(query, gallery, k1, k2, weight), atol=2e-6)


def test_the_papers_settings_are_the_default() -> None:
    query, gallery = parts(1)
    np.testing.assert_allclose(reranked_distances(query, gallery), slowly(query, gallery, 20, 6, 0.3), atol=2e-6)


@pytest.mark.parametrize("seed", range(4))
def test_pairs_that_are_hidden_do_not_know_of_each_other(seed: int) -> None:
    query, gallery = parts(seed)
    hidden = np.random.default_rng(seed).random((len(query), len(gallery))) < 0.4
    found = reranked_distances(query, gallery, k1=6, k2=3, hidden=hidden)
    np.testing.assert_allclose(found, slowly(query, gallery, 6, 3, 0.3, hidden), atol=2e-6)
    assert np.abs(found - reranked_distances(query, gallery, k1=6, k2=3)).max() > 0.01


def test_a_picture_among_many_that_are_the_same_is_its_own_nearest() -> None:
    same = np.full((9, 4), 0.5, np.float32)
    near, _ = reranking._nearest(same, 4, 3, None)
    assert near[:, 0].tolist() == list(range(9))


def test_work_in_pieces_gives_the_same_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = parts(5, identities=9)
    hidden = np.random.default_rng(5).random((len(query), len(gallery))) < 0.2
    whole = reranked_distances(query, gallery, hidden=hidden)
    monkeypatch.setattr(reranking, "_AT_ONCE", 700)
    np.testing.assert_allclose(reranked_distances(query, gallery, hidden=hidden), whole, atol=1e-6)


def test_people_with_blurred_pictures_are_found_more_often_by_their_neighbours() -> None:
    crowd = people(range(40), (1, 2, 3, 4, 5, 6), 4, noise=0.9)
    plain, again = (sysu.searches(crowd, mode="all", shot=4, count=1, reranked=reranked)[0].figures
                    for reranked in (False, True))
    assert again["mean_ap"] > plain["mean_ap"] + 0.03


def test_a_rule_that_looks_at_cameras_alone_is_obeyed_by_neighbourhoods_and_one_that_looks_at_people_is_not() -> None:
    crowd = people(range(20), (1, 2, 3, 6), 3)
    asks, answers = crowd.take(crowd.infrared), crowd.take(~crowd.infrared)

    def hides(query: Embeddings, gallery: Embeddings) -> npt.NDArray[np.bool_]:
        return (query.camera[:, None] == 3) & (gallery.camera == 2)

    blind, seeing = (search(asks, answers, hidden=Rule(hides, by_camera=by_camera), reranked=True).figures
                     for by_camera in (True, False))
    assert blind != seeing


def test_memory_stays_far_below_a_matrix_of_everybody_by_everybody() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3000, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    tracemalloc.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reranking, "_AT_ONCE", 1 << 18)
        reranked_distances(rows[:100], rows[100:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.shape[0] ** 2 * 4 * 0.75


@pytest.mark.parametrize(("changed", "said"), [
    ({"query": np.zeros((2, 3), np.float32)}, r"queries \(q, d\) and a gallery \(g, d\), got \(2, 3\) and \(3, 2\)"),
    ({"query": np.zeros((0, 2), np.float32)}, r"got \(0, 2\)"),
    ({"k1": 0}, "k1 and k2 of at least 1 and a weight of 0 to 1, got 0, 6 and 0.3"),
    ({"weight": 1.5}, "got 20, 6 and 1.5"),
    ({"hidden": np.zeros((3, 2), bool)}, r"hidden: expected shape \(2, 3\), got \(3, 2\)"),
])
def test_what_cannot_be_reranked_says_so(changed: dict[str, Any], said: str) -> None:
    fine: dict[str, Any] = {"query": np.eye(2, dtype=np.float32), "gallery": np.ones((3, 2), np.float32)}
    with pytest.raises(ValueError, match=said):
        reranked_distances(**(fine | changed))
