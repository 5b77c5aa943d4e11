"""Cross-entropy over identities.

Label smoothing: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, section 7.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from train.losses.precision import full_precision


@full_precision
def cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy against ``(1 - smoothing) * onehot + smoothing / C``.

    Args:
        logits: Shape ``(n, C)``.
        labels: Class of each row, int64, shape ``(n,)``.
        smoothing: Share of the target spread evenly over all classes, 0 to 1.

    Returns:
        A scalar.
    """
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing)


@full_precision
def cosine_logits(embedding: Tensor, weight: Tensor, *, scale: float) -> Tensor:
    """``scale`` times the cosine of every row of ``embedding`` (n, d) and of ``weight`` (C, d), shape ``(n, C)``."""
    return scale * functional.linear(functional.normalize(embedding), functional.normalize(weight))
