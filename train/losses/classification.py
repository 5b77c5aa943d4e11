"""Cross-entropy over identities.

Label smoothing: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, section 7.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


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
