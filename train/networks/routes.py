"""How rows of both modalities go through a network: along a chain, or each modality its own way.

Everything here takes ``(x, rows)``: the feature map, and which rows are infrared.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from train.networks.modality_bn import Rows

__all__ = ["Chain", "Own"]


class Chain(nn.ModuleList):
    """Modules in a row that all take ``(x, rows)``."""

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Pass ``x`` through every module in turn."""
        for module in self:
            x = module(x, rows)
        return x


class Own(nn.Module):
    """A part that each modality has as its own; both copies start with the same numbers.

    State: that of the part, once under ``visible.`` and once under ``infrared.``.

    Args:
        part: The visible copy; the other one is made from it. A bare convolution, or a
            module that takes ``(x, rows)``.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.visible = part
        self.infrared = copy.deepcopy(part)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Send each row through its modality's copy; rows come back in the order they came in."""
        if rows.visible_count == rows.count:
            return _through(self.visible, x, rows)
        if rows.visible_count == 0:
            return _through(self.infrared, x, rows)
        counts = [rows.visible_count, rows.count - rows.visible_count]
        visible, infrared = torch.split(rows.group(x), counts)
        return rows.restore(torch.cat((_through(self.visible, visible, Rows(counts[0], counts[0])),
                                       _through(self.infrared, infrared, Rows(counts[1], 0)))))


def _through(part: nn.Module, x: Tensor, rows: Rows) -> Tensor:
    return cast("Tensor", part(x) if isinstance(part, nn.Conv2d) else part(x, rows))
