"""Triplets agree with CM-NAS's in value and gradient, and with their definitions written out."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shared import SHARED, needs_shared
from tests.train.loss_cases import BF16, CUTS, Arrays, batch, cases, close, leaf
from train.losses.triplet import batch_hard, four_term_triplet, weighted_triplet


def check_triplet(case: Arrays) -> None:
    labels, margin = torch.from_numpy(case["y"]), float(case["margin"])
    if "v" in case:
        visible, infrared = leaf(case["v"]), leaf(case["t"])
        flags = torch.arange(2 * len(labels)) >= len(labels)
        loss = four_term_triplet(torch.cat([visible, infrared]), labels.repeat(2), flags, margin=margin)
        loss.backward()
        close(visible.grad, case["gv"], gradient=True)
        close(infrared.grad, case["gt"], gradient=True)
    else:
        anchors, candidates = leaf(case["a"]), leaf(case["b"])
        loss = batch_hard(anchors, candidates, labels, labels, margin=margin, normalise=bool(case["norm"]))
        loss.backward()
        close(anchors.grad, case["ga"], gradient=True)
        close(candidates.grad, case["gb"], gradient=True)
    close(loss, case["loss"])


@pytest.mark.parametrize("name", sorted(cases(CUTS / "triplet_hard.npz")))
def test_triplets_and_their_gradients_are_the_references(name: str) -> None:
    check_triplet(cases(CUTS / "triplet_hard.npz")[name])


@needs_shared("golden/triplet_hard.npz")
def test_triplets_are_the_references_on_every_case_however_large() -> None:
    for case in cases(SHARED / "golden" / "triplet_hard.npz").values():
        check_triplet(case)


def test_four_terms_take_rows_in_any_order() -> None:
    rng = np.random.default_rng(0)
    embedding, labels = torch.from_numpy(rng.normal(size=(12, 5))), torch.arange(3).repeat(4)
    flags = torch.arange(12) >= 6
    turn = torch.from_numpy(rng.permutation(12))
    straight = four_term_triplet(embedding, labels, flags, margin=0.3)
    assert four_term_triplet(embedding[turn], labels[turn], flags[turn], margin=0.3).item() == pytest.approx(
        straight.item())


def test_an_anchor_without_a_positive_or_a_negative_is_refused() -> None:
    rows = torch.eye(3)
    with pytest.raises(ValueError, match="positive and a negative"):
        batch_hard(rows, rows, torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]), margin=0.3)
    with pytest.raises(ValueError, match="positive and a negative"):
        batch_hard(rows, rows, torch.tensor([0, 0, 0]), torch.tensor([0, 0, 0]), margin=0.3)


def by_hand(rows: npt.NDArray[np.float64], labels: list[int]) -> float:
    """The weighted regularised triplet, anchor by anchor, as its paper has it."""
    losses = []
    for i, anchor in enumerate(rows):
        sides = {True: [], False: []}
        for j, other in enumerate(rows):
            sides[labels[j] == labels[i]].append(0.0 if i == j else math.dist(anchor, other))
        nearest, farthest = min(sides[False]), max(sides[True])
        pull = [math.exp(d - farthest) for d in sides[True]]
        push = [math.exp(nearest - d) for d in sides[False]]
        positive = math.fsum(w * d for w, d in zip(pull, sides[True], strict=True)) / math.fsum(pull)
        negative = math.fsum(w * d for w, d in zip(push, sides[False], strict=True)) / math.fsum(push)
        losses.append(max(positive - negative, 0) + math.log1p(math.exp(-abs(positive - negative))))
    return math.fsum(losses) / len(losses)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), people=st.integers(2, 5), scale=st.sampled_from([0.01, 1.0, 30.0, 1e3]))
def test_the_weighted_triplet_is_its_definition_anchor_by_anchor(seed: int, people: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(people), rng.integers(2, 5, people)))
    rows = scale * rng.normal(size=(len(labels), 6))
    found = weighted_triplet(torch.from_numpy(rows), torch.from_numpy(labels))
    # Distances are roots of differences: at this scale they are off by about the root of the last bit.
    assert found.item() == pytest.approx(by_hand(rows, labels.tolist()), rel=1e-9, abs=1e-12)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    normalised = weighted_triplet(torch.from_numpy(rows), torch.from_numpy(labels), normalise=True)
    assert normalised.item() == pytest.approx(by_hand(unit, labels.tolist()), rel=1e-9)


def test_the_weighted_triplets_gradient_is_the_slope_of_its_definition() -> None:
    rng = np.random.default_rng(3)
    labels = [0, 0, 1, 1, 1, 2, 2]
    rows, step = rng.normal(size=(7, 4)), 1e-5
    leaf_rows = leaf(rows)
    weighted_triplet(leaf_rows, torch.tensor(labels)).backward()
    slope = np.empty_like(rows)
    for at in np.ndindex(rows.shape):
        nudge = np.zeros_like(rows)
        nudge[at] = step
        slope[at] = (by_hand(rows + nudge, labels) - by_hand(rows - nudge, labels)) / (2 * step)
    assert leaf_rows.grad is not None
    # The slope itself is off by about step^2 and by rounding over step: 1e-10 each.
    np.testing.assert_allclose(leaf_rows.grad.numpy(), slope, rtol=0, atol=1e-8)


def test_far_negatives_weigh_in_the_weighted_triplet_however_far_everything_is() -> None:
    # Two people, 100 apart, each twice in one place: exp(-100) is nothing in float32, the loss must still be.
    rows = torch.tensor([[0.0], [0.0], [100.0], [100.0]])
    assert weighted_triplet(rows, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(0, abs=1e-30)
    assert weighted_triplet(rows, torch.tensor([0, 1, 0, 1])).item() > 90


def test_the_weighted_triplet_refuses_somebody_alone_and_a_single_identity() -> None:
    with pytest.raises(ValueError, match="at least twice"):
        weighted_triplet(torch.eye(3), torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match="two identities"):
        weighted_triplet(torch.eye(3), torch.tensor([0, 0, 0]))


@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.parametrize("margin", [0.4, -1.0])
def test_triplets_of_bfloat16_features_are_computed_in_float32(scale: float, margin: float) -> None:
    features, labels, infrared = batch(scale=scale)
    narrow = features.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = four_term_triplet(narrow, labels, infrared, margin=margin)
    found.backward()
    assert narrow.grad is not None
    assert bool(torch.isfinite(narrow.grad).all())
    assert found.item() == four_term_triplet(narrow.detach().float(), labels, infrared, margin=margin).item()
    # A row moves by at most a share of its length, a distance by what its two ends move, a triplet by what its
    # two distances move; 1e-5 of it is float32's own.
    moved = 4 * BF16 * features.detach().norm(dim=1).max().item()
    assert abs(found.item() - four_term_triplet(features, labels, infrared, margin=margin).item()) <= 1.01 * moved


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_weighted_triplet_of_bfloat16_features_is_computed_in_float32(scale: float) -> None:
    features, labels, _ = batch(scale=scale)
    narrow = features.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = weighted_triplet(narrow, labels)
    found.backward()
    assert narrow.grad is not None
    assert bool(torch.isfinite(narrow.grad).all())
    assert found.item() == weighted_triplet(narrow.detach().float(), labels).item()
    if scale == 1:
        # The slope of a softmax-weighted mean m in one distance d is its weight times 1 + d - m at most, so the mean
        # moves by (1 + the range of the distances) times what a distance moves; there are two of them.
        gap = torch.cdist(features.detach(), features.detach())
        moved = 2 * (1 + gap.max().item()) * 2 * BF16 * features.detach().norm(dim=1).max().item()
        assert abs(found.item() - weighted_triplet(features, labels).item()) <= 1.05 * moved
