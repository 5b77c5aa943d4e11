"""One BatchNorm site that visible and infrared rows share, or split, or share in part.

* ``shared``: plain batch norm over the whole batch;
* ``split``: each modality has statistics and scale and shift of its own;
* ``split_statistics``: statistics of its own, one scale and shift for both;

and whatever else `train.networks.choices` has. A shared site exists once. Which row is which is said for
every row: no order and no equal halves are assumed. Eps, momentum and the running statistics'
update are torch's defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmnas_edge.embedding import MODALITIES, Modality
from train.networks.choices import CHOICES, NORMS, Choice, Owns

__all__ = ["EPS", "MOMENTUM", "ModalityBatchNorm", "Rows"]

EPS = 1e-5
MOMENTUM = 0.1


@dataclass(frozen=True)
class Rows:
    """How a batch's rows fall into visible and infrared; made once per batch, used at every site.

    Attributes:
        count: Rows in the batch.
        visible_count: How many of them are visible.
        order: Permutation that puts the visible rows first, or None if they are.
        back: The permutation that undoes it, or None.
    """

    count: int
    visible_count: int
    order: Tensor | None = None
    back: Tensor | None = None

    @classmethod
    def of(cls, infrared: Tensor) -> Rows:
        """Sort out a bool tensor of shape ``(n,)``, True where a row is infrared.

        Raises:
            ValueError: Not a bool tensor of one dimension.
        """
        if infrared.dtype != torch.bool or infrared.ndim != 1:
            found = f"{infrared.dtype} of shape {tuple(infrared.shape)}"
            raise ValueError(f"infrared: expected bool of shape (n,), one per row, found {found}")
        flags = cast("list[bool]", infrared.tolist())  # the one wait for the device per batch
        visible_count = flags.count(False)
        if not any(flags[:visible_count]):
            return cls(len(flags), visible_count)
        order = torch.argsort(infrared.to(torch.uint8), stable=True)
        return cls(len(flags), visible_count, order, torch.argsort(order))

    def group(self, x: Tensor) -> Tensor:
        """The rows of ``x``, visible ones first."""
        return x if self.order is None else x.index_select(0, self.order)

    def restore(self, x: Tensor) -> Tensor:
        """The rows of a grouped ``x`` in the batch's own order."""
        return x if self.back is None else x.index_select(0, self.back)

    def grouped(self) -> Rows:
        """What describes a batch after `group`."""
        return Rows(self.count, self.visible_count)


class _Bank(nn.Module):
    """What one modality has as its own: running statistics, scale and shift, or two of them."""

    def __init__(self, channels: int, owns: Owns) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if owns.affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if owns.affine else None
        if owns.statistics:
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))


class ModalityBatchNorm(nn.Module):
    """Batch norm over ``(n, c)`` or ``(n, c, h, w)`` with a choice for two modalities.

    State: ``weight``, ``bias``, ``running_mean``, ``running_var`` (torch's own names); those that
    each modality owns under ``visible.`` and ``infrared.`` instead.

    Args:
        channels: Channels ``c``.
        choice: One of `train.networks.choices.NORMS`.

    Raises:
        ValueError: Another choice.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, choice: Choice) -> None:
        super().__init__()
        if choice not in CHOICES:
            raise ValueError(f"choice: expected one of {', '.join(CHOICES)}, found {choice!r}")
        self.channels = channels
        self.choice: Choice = choice
        self.owns = NORMS[choice]
        if not self.owns.statistics:
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))
        if any(self.owns):
            self.visible = _Bank(channels, self.owns)
            self.infrared = _Bank(channels, self.owns)
        # Several processes that share a batch put in one that sees all of its rows (train.fit.distributed).
        self.batch_norm: Callable[..., Tensor] = functional.batch_norm
        self.weight = None if self.owns.affine else nn.Parameter(torch.ones(channels))
        self.bias = None if self.owns.affine else nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, infrared: Tensor | Rows) -> Tensor:
        """Normalise each row by its modality's statistics.

        In training these are the batch's own, per modality unless shared, and the running
        ones move by `MOMENTUM`; a modality that is absent leaves its own untouched.

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
        if not any(self.owns):
            return self._normalise(x, "visible")
        if not self.owns.statistics:  # then moments are those of all rows, and only what follows is apart
            return self._apart(self.batch_norm(x, self.running_mean, self.running_var, None, None, self.training,
                                               MOMENTUM, EPS), rows)
        if rows.visible_count in (0, rows.count):
            return self._normalise(x, "visible" if rows.visible_count else "infrared")
        visible, infra = torch.split(rows.group(x), [rows.visible_count, rows.count - rows.visible_count])
        both = self._normalise(visible, "visible"), self._normalise(infra, "infrared")
        return rows.restore(torch.cat(both))

    def affine(self, modality: Modality) -> tuple[Tensor, Tensor]:
        """What this site does to a channel in evaluation: ``y = scale * x + shift``.

        Returns:
            ``(scale, shift)``, each float64 of shape ``(c,)``, without gradient.
        """
        mean, var, weight, bias = (t.detach().double() for t in self._tensors(modality))
        scale = weight / torch.sqrt(var + EPS)
        return scale, bias - mean * scale

    def plain(self, modality: Modality) -> ModalityBatchNorm:
        """A shared norm with the numbers that hold for a modality: a copy."""
        norm = ModalityBatchNorm(self.channels, "shared")
        names = "running_mean", "running_var", "weight", "bias"
        state = {name: t.detach().clone() for name, t in zip(names, self._tensors(modality), strict=True)}
        norm.load_state_dict(state, assign=True)
        return norm.train(self.training)

    def extra_repr(self) -> str:
        """Channels and choice, for printing a network."""
        return f"{self.channels}, {self.choice}"

    def _normalise(self, x: Tensor, modality: Modality) -> Tensor:
        mean, var, weight, bias = self._tensors(modality)
        return self.batch_norm(x, mean, var, weight, bias, self.training, MOMENTUM, EPS)

    def _apart(self, x: Tensor, rows: Rows) -> Tensor:
        """Each modality's own scale and shift on normalised rows."""
        wide = (-1, *[1] * (x.ndim - 2))
        parts = torch.split(rows.group(x), [rows.visible_count, rows.count - rows.visible_count])
        return rows.restore(torch.cat([
            torch.addcmul(bias.to(x.dtype).view(wide), part, weight.to(x.dtype).view(wide))
            for part, (_, _, weight, bias) in zip(parts, map(self._tensors, MODALITIES), strict=True)]))

    def _tensors(self, modality: Modality) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Running mean, running variance, weight and bias that hold for a modality."""
        statistics = self.get_submodule(modality) if self.owns.statistics else self
        affine = self.get_submodule(modality) if self.owns.affine else self
        tensors = statistics.running_mean, statistics.running_var, affine.weight, affine.bias
        return cast("tuple[Tensor, Tensor, Tensor, Tensor]", tensors)
