"""Losses agree with CM-NAS's in value and gradient, and with their definitions written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.shared import SHARED, needs_shared
from train.losses.classification import cross_entropy
from train.losses.contrast import contrast
from train.losses.triplet import batch_hard, four_term_triplet

CUTS = Path(__file__).resolve().parents[1] / "golden"
Arrays = dict[str, npt.NDArray[Any]]


def cases(path: Path) -> dict[str, Arrays]:
    found: dict[str, Arrays] = {}
    with np.load(path) as file:
        for key in file:
            case, _, field = key.partition("/")
            found.setdefault(case, {})[field] = file[key]
    return found


def leaf(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.copy()).requires_grad_()


def close(found: torch.Tensor | None, expected: npt.NDArray[Any], *, gradient: bool = False) -> None:
    assert found is not None
    wide = expected.dtype == np.float64
    rtol = 1e-10 if wide else 1e-4 if gradient else 1e-5
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=rtol, atol=1e-12 if wide else 1e-7)


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


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_cross_entropy_and_its_gradient_are_the_references(smoothing: float) -> None:
    with np.load(CUTS / "ce_label_smooth.npz") as file:
        logits = leaf(file["logits"])
        loss = cross_entropy(logits, torch.from_numpy(file["y"]), smoothing=smoothing)
        loss.backward()
        close(loss, file[f"eps{smoothing}/loss"])
        close(logits.grad, file[f"eps{smoothing}/grad"], gradient=True)


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


def test_contrast_is_its_definition_row_by_row() -> None:
    rng = np.random.default_rng(1)
    embedding, labels = rng.normal(size=(7, 4)), np.array([0, 1, 0, 1, 2, 2, 2])
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    terms = []
    for i in range(7):
        others = [j for j in range(7) if j != i]
        total = sum(np.exp(unit[i] @ unit[j] / 0.2) for j in others)
        terms.append(np.mean([-np.log(np.exp(unit[i] @ unit[j] / 0.2) / total) for j in others
                              if labels[j] == labels[i]]))
    found = contrast(torch.from_numpy(embedding), torch.from_numpy(labels), temperature=0.2)
    assert found.item() == pytest.approx(np.mean(terms), abs=1e-12)


def test_contrast_has_a_gradient_and_refuses_somebody_alone() -> None:
    embedding = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    contrast(embedding, torch.tensor([0, 0, 1, 1]), temperature=0.1).backward()
    assert embedding.grad is not None
    assert bool(torch.isfinite(embedding.grad).all())
    with pytest.raises(ValueError, match="alone"):
        contrast(embedding, torch.tensor([0, 0, 0, 1]), temperature=0.1)
