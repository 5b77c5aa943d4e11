"""The probe tells what is in vectors, of people it was not fitted on, and tells nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.probe import ridge, told

D, PEOPLE, VIEWS = 16, 300, 3


def vectors(*carried: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy vectors of people in which some traits stand along directions of their own; who, and who is fitted on."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(PEOPLE), VIEWS)
    x = rng.standard_normal((len(who), D)) + rng.standard_normal((PEOPLE, D))[who]
    for trait in carried:
        directions = rng.standard_normal((len(np.unique(trait)) if trait.dtype.kind == "i" else 1, D)) * 2
        x += (directions[trait] if trait.dtype.kind == "i" else trait[:, None] * directions)[who]
    return x.astype(np.float32), who, who < PEOPLE * 2 // 3


def test_a_trait_that_is_in_the_vectors_is_told_of_people_never_seen_and_one_that_is_not_is_guessed() -> None:
    rng = np.random.default_rng(1)
    kind, amount = rng.integers(0, 4, PEOPLE), rng.standard_normal(PEOPLE)
    x, who, fit = vectors(kind, amount)
    for trait, chance in ((kind, 0.25), (amount, 0.0)):
        found, by_chance = told(x, who, fit, trait)
        assert found > chance + 0.5
        assert by_chance == pytest.approx(chance, abs=0.12)
    other = rng.integers(0, 4, PEOPLE)
    assert told(x, who, fit, other)[0] == pytest.approx(0.25, abs=0.12)


def test_a_rare_kind_weighs_as_much_as_a_common_one() -> None:
    rare = (np.arange(PEOPLE) % 20 == 0).astype(np.int64)
    x, who, fit = vectors(np.zeros(PEOPLE, np.int64))
    assert told(x, who, fit, rare)[0] == pytest.approx(0.5, abs=0.15)     # and not 0.95, by never guessing it


def test_a_turned_store_tells_who_fitted_it_before_it_was_turned_nothing() -> None:
    kind = np.random.default_rng(2).integers(0, 4, PEOPLE)
    x, who, fit = vectors(kind)
    turned = (x @ np.linalg.qr(np.random.default_rng(3).standard_normal((D, D)))[0]).astype(np.float32)
    assert told(turned, who, fit, kind)[0] == pytest.approx(told(x, who, fit, kind)[0], abs=0.02)
    assert told(x, who, fit, kind, asked=turned)[0] < 0.5


def test_ridge_is_least_squares_where_there_is_much_to_fit() -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((4000, D))
    weights = rng.standard_normal((D + 1, 2))
    y = np.concatenate([x, np.ones((len(x), 1))], 1) @ weights
    np.testing.assert_allclose(ridge(x, y), weights, atol=0.05)
    assert ridge(x, y)[-1] == pytest.approx(weights[-1], abs=0.002)     # the constant is not shrunk
