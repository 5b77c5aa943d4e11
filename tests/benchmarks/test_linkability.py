"""The attacks on site keys are real ones: each finds a rotation that it should be able to find."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.linkability import moments, procrustes, refine
from cmnas_edge.embedding import unit
from cmnas_edge.site_key import SiteKey

D = 8
keys = st.binary(min_size=32, max_size=32).map(SiteKey)


def population(seed: int, n: int) -> np.ndarray:
    """Unit vectors spread unevenly, and askew, as embeddings are."""
    rng = np.random.default_rng(seed)
    wide = 2.0 ** -np.arange(D)
    return unit((wide * (rng.exponential(size=(n, D)) - 0.5)).astype(np.float32))


@settings(max_examples=30)
@given(keys, keys)
def test_as_many_known_pairs_as_dimensions_give_a_key_away(one: SiteKey, other: SiteKey) -> None:
    known = np.random.default_rng(1).standard_normal((4 * D, D)).astype(np.float32)
    x, y = one.rotation(D).turn(known), other.rotation(D).turn(known)
    np.testing.assert_allclose(x @ procrustes(x, y), y, atol=1e-5)


@settings(max_examples=20)
@given(keys)
def test_moments_alone_give_it_away_where_one_population_is_seen_twice(key: SiteKey) -> None:
    x = population(1, 3000)
    y = key.rotation(D).turn(x)
    np.testing.assert_allclose(x @ moments(x, y), y, atol=1e-3)


def test_refining_a_rough_guess_finds_the_rotation() -> None:
    x = population(2, 400)
    rotation = SiteKey(bytes(32)).rotation(D)
    y = rotation.turn(x)
    off = np.linalg.qr(rotation.matrix.T + 0.1 * np.random.default_rng(3).standard_normal((D, D)))
    rough = (off[0] * np.sign(np.diag(off[1]))).astype(np.float32)
    before, after = np.abs(x @ rough - y).max(), np.abs(x @ refine(x, y, rough) - y).max()
    assert before > 0.05
    assert after < 1e-5
