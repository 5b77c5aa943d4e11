"""The non-local block: every place of a map is told what the other places hold.

Source: Wang et al., "Non-local Neural Networks", CVPR 2018, equations 1 and 6, in the dot-product
form without softmax and with half the channels inside, which AGW (Ye et al., TPAMI 2021) has
in ResNet-50. Its BatchNorm starts at zero, so that a fresh block passes its input on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.networks.modality_bn import ModalityBatchNorm, Rows

__all__ = ["NonLocal"]


class NonLocal(nn.Module):
    """``x + norm(project(mean over j of (theta_i . phi_j) g_j))``; the norm is shared and no site.

    The convolutions have biases and keep torch's own start.

    Args:
        channels: In and out; half as many inside.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.project = nn.Conv2d(inner, channels, 1)
        self.norm = ModalityBatchNorm(channels, "shared")
        for _, parameter in self.norm.named_parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """``(n, c, h, w)`` -> same shape."""
        theta, phi, g = (conv(x).flatten(2) for conv in (self.theta, self.phi, self.g))  # (n, c / 2, h w)
        likeness = torch.matmul(theta.transpose(1, 2), phi) / phi.shape[2]  # (n, h w, h w)
        told = torch.matmul(g, likeness.transpose(1, 2)).reshape(*g.shape[:2], *x.shape[2:])
        y: Tensor = self.norm(self.project(told), rows)
        return x + y
