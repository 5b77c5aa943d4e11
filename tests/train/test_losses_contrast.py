"""Supervised contrast agrees with its definition written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.train.loss_cases import BF16, batch
from train.losses.contrast import contrast


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


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_contrast_of_bfloat16_features_is_computed_in_float32(scale: float) -> None:
    features, labels, _ = batch(scale=scale)
    narrow = features.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = contrast(narrow, labels, temperature=0.1)
    found.backward()
    assert narrow.grad is not None
    assert bool(torch.isfinite(narrow.grad).all())
    assert found.item() == contrast(narrow.detach().float(), labels, temperature=0.1).item()
    # Rounding a vector by a share u turns it by u at most (and its length is divided out), a cosine of two moves
    # by 2u, a logit by 2u / temperature, cross-entropy by twice that.
    assert abs(found.item() - contrast(features, labels, temperature=0.1).item()) <= 2 * 2 * BF16 / 0.1 * 1.01
