"""Supervised contrast within a batch.

Source: Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, equation 2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from train.losses.precision import full_precision


@full_precision
def contrast(embedding: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Supervised contrast: each row picks its own identity out of the whole batch.

    Args:
        embedding: Shape ``(n, d)``; compared as unit vectors.
        labels: int64, shape ``(n,)``; every identity at least twice.
        temperature: What cosines are divided by.

    Returns:
        A scalar: the mean over rows, and over a row's positives, of the cross-entropy of
        picking that positive among all other rows.

    Raises:
        ValueError: An identity is alone.
    """
    myself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels[None]) & ~myself
    if not bool(positive.any(1).all()):
        raise ValueError("contrast: expected every identity at least twice in a batch, got one that is alone")
    unit = functional.normalize(embedding)
    alike = (unit @ unit.T / temperature).masked_fill(myself, -torch.inf)
    log_share = alike - alike.logsumexp(1, keepdim=True)
    return -(log_share.masked_fill(~positive, 0).sum(1) / positive.sum(1)).mean()
