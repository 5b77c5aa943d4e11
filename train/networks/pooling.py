"""From a feature map to one number per channel: the mean, or the generalised mean.

Source of the latter: Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human
Annotation", TPAMI 2019, equation 3, as AGW (Ye et al., TPAMI 2021) uses it: p is 3 and not
learnt, and nothing is clamped, for a map behind a ReLU has no negative entries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.networks.design import Pool

__all__ = ["EXPONENT", "SMALLEST", "GeneralisedMean", "Mean", "pooling"]

EXPONENT = 3
SMALLEST = 1e-12  # added to the mean of cubes, so that the root of an empty channel has a gradient


class Mean(nn.Module):
    """``(n, c, h, w)`` -> ``(n, c)``."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean over rows and columns."""
        return x.mean((2, 3))


class GeneralisedMean(nn.Module):
    """``(mean(x^3) + 1e-12)^(1/3)``: between the mean and the maximum; for maps without negative entries."""

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` -> ``(n, c)``, in float32 at least: cubes of half precision would overflow at 40."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return ((wide * wide * wide).mean((2, 3)) + SMALLEST) ** (1 / EXPONENT)


def pooling(name: Pool) -> nn.Module:
    """The pool of a `train.networks.design.Design`, by name."""
    return {"mean": Mean, "gem": GeneralisedMean}[name]()
