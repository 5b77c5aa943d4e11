"""All choices of one BatchNorm site at once, weighted, for the price of one.

A site's choices differ only in which moments normalise a channel and which scale and shift
follow. Mixed before the activation they are, for each modality ``m``, one multiply-add per
channel, ``y = a_m x + b_m``::

    a_m = w_shared g_s / sd_s + (w_split g_m + w_statistics g_t) / sd_m
    b_m = w_shared (h_s - g_s mu_s / sd_s) + w_split h_m + w_statistics h_t
                                         - (w_split g_m + w_statistics g_t) mu_m / sd_m

with scales ``g`` and shifts ``h`` (``s`` shared, ``m`` the modality's own, ``t`` the one behind
split statistics). The shared moments follow from the modalities' ``mu_m``, ``v_m``, weighted by
the shares ``p_m`` of their values: ``mu_s = sum p_m mu_m`` and
``v_s = sum p_m (v_m + (mu_m - mu_s)^2)``. So nothing but ``x`` is kept for the backward pass, as
in a plain batch norm, and each pass over ``x`` is one of torch's own batch-norm kernels. (A mix
behind the activation, as differentiable search usually has it, needs every branch's output.)
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from cmnas_edge.embedding import MODALITIES, Modality
from train.networks.modality_bn import EPS, MOMENTUM, ModalityBatchNorm, Rows
from train.networks.space import Choice
from train.search.mix import SHARED, STATISTICS, Mix, by_moments

__all__ = ["SPACES", "MixedBatchNorm", "per_row"]

SPACES: dict[str, tuple[Choice, ...]] = {
    "paper": ("shared", "split"),
    "extended": ("shared", "split", "split_statistics"),
}
"""What may be chosen at a site: CM-NAS's two, or split statistics behind one scale and shift (MBN) as well."""


class MixedBatchNorm(nn.Module):
    """Stands where a `ModalityBatchNorm` stood and is all of its choices, weighted.

    State, a row each for visible, infrared and shared: ``running_mean`` and ``running_var``,
    ``(3, c)``; ``weight`` and ``bias``, which have a fourth row, behind split statistics, in the
    extended space. These two are flat: an optimiser knows a matrix, which it may pull to zero, by
    its two dimensions, and they are none.

    Args:
        channels: Channels ``c``.
        choices: `SPACES` of the search.

    Attributes:
        mix: How much each row of ``weight`` and ``bias`` counts, shape ``(k + 1, 1)``: `per_row` of a weight for
            each choice, adding up to 1. Whoever runs the network sets it.
        tracking: Whether training moves the running statistics.
        together: Whether training uses the statistics of all processes' rows, each of which calls.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, choices: tuple[Choice, ...]) -> None:
        super().__init__()
        if choices not in SPACES.values():
            raise ValueError(f"choices: expected those of a space ({', '.join(SPACES)}), found {choices}")
        self.channels, self.choices = channels, choices
        self.weight = nn.Parameter(torch.ones((len(choices) + 1) * channels))
        self.bias = nn.Parameter(torch.zeros((len(choices) + 1) * channels))
        self.register_buffer("running_mean", torch.zeros(3, channels))
        self.register_buffer("running_var", torch.ones(3, channels))
        self.mix = per_row(torch.full((len(choices),), 1 / len(choices)))
        self.tracking = True
        self.together = False

    def forward(self, x: Tensor, infrared: Tensor | Rows) -> Tensor:
        """The weighted sum of what each choice would give.

        Args:
            x: Float, shape ``(n, c)`` or ``(n, c, h, w)``.
            infrared: Bool ``(n,)``, True where a row is infrared; or its `Rows`.

        Returns:
            Same shape as ``x``, rows in the same order.

        Raises:
            ValueError: Rows don't match, or training statistics of a single value.
        """
        rows = infrared if isinstance(infrared, Rows) else Rows.of(infrared)
        if x.shape[0] != rows.count:
            raise ValueError(f"infrared: expected one flag for each of {x.shape[0]} rows, found {rows.count}")
        counts = rows.visible_count, rows.count - rows.visible_count
        grouped = rows.group(x)
        if not self.training:
            scale, offset = self._affine(self.running_mean, self.running_var)
            which = torch.arange(2, device=x.device).repeat_interleave(torch.tensor(counts, device=x.device))
            shape = (rows.count, self.channels) + (1,) * (x.ndim - 2)
            mixed = torch.addcmul(offset[which].view(shape), grouped.to(scale.dtype), scale[which].view(shape))
            return rows.restore(mixed.to(x.dtype))
        if not self.together and 1 in counts and x[0].numel() == self.channels:
            raise ValueError("x: expected more than one value per channel and modality in training, found one")
        running = self.running_mean, self.running_var
        mixed = Mix.apply(grouped, self.weight, self.bias, self.mix, running,  # type: ignore[no-untyped-call]
                           counts, MOMENTUM if self.tracking else 0.0, self.together)
        return rows.restore(cast("Tensor", mixed))

    def affine(self, modality: Modality) -> tuple[Tensor, Tensor]:
        """What this site does to a channel in evaluation: ``y = scale * x + shift``.

        Returns:
            ``(scale, shift)``, each float64 of shape ``(c,)``, without gradient.
        """
        with torch.no_grad():
            scale, shift = self._affine(self.running_mean.double(), self.running_var.double())
        row = MODALITIES.index(modality)
        return scale[row], shift[row]

    def begin_as(self, norm: ModalityBatchNorm) -> None:
        """Initialise every branch from a plain norm; where that is split, the shared branch lies midway."""
        own = norm.state_dict()
        with torch.no_grad():
            for name, mine in self._tables().items():
                if name in own:
                    mine.copy_(own[name].expand_as(mine))
                    continue
                theirs = torch.stack([own[f"{modality}.{name}"] for modality in MODALITIES])
                mine[:SHARED].copy_(theirs)
                mine[SHARED:].copy_(theirs.mean(0).expand_as(mine[SHARED:]))
            if norm.owns.statistics:
                # Of two halves of one size: half the squared distance of their means comes on top.
                gap = self.running_mean[0] - self.running_mean[1]
                self.running_var[SHARED].add_(gap.square() / 4)

    def end_as(self, norm: ModalityBatchNorm) -> None:
        """Give a plain norm the numbers of the branch that is its choice.

        Raises:
            ValueError: The choice is none of this space.
        """
        if norm.choice not in self.choices:
            raise ValueError(f"choice: expected one of {', '.join(self.choices)}, found {norm.choice!r}")
        rows = {"": STATISTICS if norm.owns.statistics else SHARED,
                **{f"{modality}.": row for row, modality in enumerate(MODALITIES)}}
        mine = self._tables()
        with torch.no_grad():
            for name, theirs in norm.state_dict(keep_vars=True).items():
                of, _, kind = name.rpartition(".")
                theirs.copy_(mine[kind][rows[f"{of}." if of else ""]])

    def extra_repr(self) -> str:
        """Channels and choices, for printing a network."""
        return f"{self.channels}, {' | '.join(self.choices)}"

    def _rows(self, flat: Tensor) -> Tensor:
        return flat.view(-1, self.channels)

    def _tables(self) -> dict[str, Tensor]:
        """All state by the name a plain norm has for it, a row each for visible, infrared, shared and perhaps more."""
        return {"weight": self._rows(self.weight), "bias": self._rows(self.bias), "running_mean": self.running_mean,
                "running_var": self.running_var}

    def _affine(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """``(2, c)`` each: what ``x`` of a modality is multiplied by, and what is added then."""
        mix = self.mix.to(mean)
        scale = by_moments(self._rows(self.weight).to(mean) * mix) * torch.rsqrt(var + EPS)
        shift = by_moments(self._rows(self.bias).to(mean) * mix) - scale * mean
        return scale[:SHARED] + scale[SHARED], shift[:SHARED] + shift[SHARED]


def per_row(mix: Tensor) -> Tensor:
    """What `MixedBatchNorm.mix` expects, from a weight per choice: ``(..., k)`` -> ``(..., k + 1, 1)``."""
    shared, split, *statistics = mix.unbind(-1)
    return torch.stack([split, split, shared, *statistics], -1)[..., None]
