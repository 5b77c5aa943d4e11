"""Cross-entropy agrees with CM-NAS's in value and gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.train.loss_cases import BF16, CUTS, close, leaf
from train.losses.classification import cosine_logits, cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_cross_entropy_and_its_gradient_are_the_references(smoothing: float) -> None:
    with np.load(CUTS / "ce_label_smooth.npz") as file:
        logits = leaf(file["logits"])
        loss = cross_entropy(logits, torch.from_numpy(file["y"]), smoothing=smoothing)
        loss.backward()
        close(loss, file[f"eps{smoothing}/loss"])
        close(logits.grad, file[f"eps{smoothing}/grad"], gradient=True)


@pytest.mark.parametrize("autocast", [False, True])
def test_cross_entropy_of_bfloat16_logits_is_summed_in_float32(autocast: bool) -> None:
    logits = 10 * torch.randn(6, 2000, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6)
    narrow = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = cross_entropy(narrow, labels, smoothing=0.1)
    assert found.dtype == torch.float32
    assert found.item() == cross_entropy(narrow.float(), labels, smoothing=0.1).item()
    # A logit moves by at most its share, and cross-entropy by at most twice the largest move.
    assert abs(found.item() - cross_entropy(logits, labels, smoothing=0.1).item()) <= 2 * BF16 * logits.abs().max()


def test_cosine_logits_are_cosines_whatever_the_lengths_and_the_precision_around() -> None:
    embedding, weight = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 1e3]])
    with torch.autocast("cpu", torch.bfloat16):
        found = cosine_logits(embedding, weight, scale=16)
    torch.testing.assert_close(found, torch.tensor([[9.6, 12.8]]))
