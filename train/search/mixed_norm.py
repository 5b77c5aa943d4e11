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

from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cmnas_edge.embedding import MODALITIES, Modality
from train.modality_bn import EPS, MOMENTUM, ModalityBatchNorm, Rows
from train.space import Choice

__all__ = ["SPACES", "MixedBatchNorm", "per_row"]

SPACES: dict[str, tuple[Choice, ...]] = {
    "paper": ("shared", "split"),
    "extended": ("shared", "split", "split_statistics"),
}
"""What may be chosen at a site: CM-NAS's two, or split statistics behind one scale and shift (MBN) as well."""

_SHARED = 2  # row of the shared moments, and of the shared scale and shift
_STATISTICS = 3  # row of the scale and shift behind split statistics


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
        if 1 in counts and x[0].numel() == self.channels:
            raise ValueError("x: expected more than one value per channel and modality in training, found one")
        running = self.running_mean, self.running_var
        mixed = _Mix.apply(grouped, self.weight, self.bias, self.mix, running,  # type: ignore[no-untyped-call]
                           counts, MOMENTUM if self.tracking else 0.0)
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
                mine[:_SHARED].copy_(theirs)
                mine[_SHARED:].copy_(theirs.mean(0).expand_as(mine[_SHARED:]))
            if norm.choice != "shared":
                # Of two halves of one size: half the squared distance of their means comes on top.
                gap = self.running_mean[0] - self.running_mean[1]
                self.running_var[_SHARED].add_(gap.square() / 4)

    def end_as(self, norm: ModalityBatchNorm) -> None:
        """Give a plain norm the numbers of the branch that is its choice.

        Raises:
            ValueError: The choice is none of this space.
        """
        if norm.choice not in self.choices:
            raise ValueError(f"choice: expected one of {', '.join(self.choices)}, found {norm.choice!r}")
        rows = {"": _STATISTICS if norm.choice == "split_statistics" else _SHARED,
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
        scale = _by_moments(self._rows(self.weight).to(mean) * mix) * torch.rsqrt(var + EPS)
        shift = _by_moments(self._rows(self.bias).to(mean) * mix) - scale * mean
        return scale[:_SHARED] + scale[_SHARED], shift[:_SHARED] + shift[_SHARED]


def per_row(mix: Tensor) -> Tensor:
    """What `MixedBatchNorm.mix` expects, from a weight per choice: ``(..., k)`` -> ``(..., k + 1, 1)``."""
    shared, split, *statistics = mix.unbind(-1)
    return torch.stack([split, split, shared, *statistics], -1)[..., None]


def _by_moments(rows: Tensor) -> Tensor:
    """Rows of visible, infrared and shared moments, ``(3, c)``: what stands behind split statistics joins the first."""
    if len(rows) == _STATISTICS:
        return rows
    return torch.cat([rows[:_SHARED] + rows[_STATISTICS], rows[_SHARED:_STATISTICS]])


class _Mix(torch.autograd.Function):
    """The mixed norm in training, on rows of which the first ``counts[0]`` are visible; keeps ``x`` only.

    Seen from a modality, visible, infrared and shared are three batch norms of one form, so
    everything small is computed for the three at once, as ``(3, c)``. With ``S`` the sum of the
    gradient ``g`` over the ``N`` values that share a moment, ``T`` that of ``g (x - mu)``, and
    ``s`` a scale times the inverse deviation ``r``, each adds to the gradient of ``x``
    ``s g - (s r^2 T / N) (x - mu) - s S / N``: an affine map again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mix: Tensor, running: tuple[Tensor, Tensor],
                counts: tuple[int, int], momentum: float) -> Tensor:
        """``x`` of shape ``(n, c, ...)``, ``weight`` and ``bias`` flat; ``running`` moves by ``momentum``."""
        x = x.contiguous(memory_format=_layout(x))
        weight, bias = weight.view(-1, x.shape[1]), bias.view(-1, x.shape[1])
        each = x.numel() // (x.shape[0] * x.shape[1])
        values = counts[0] * each, counts[1] * each
        total = sum(values)
        parts = torch.split(x, list(counts))
        running_mean, running_var = running[0].unbind(), running[1].unbind()
        # The running statistics also tell the kernel to count in their precision, not in that of x.
        moments = [torch.batch_norm_update_stats(parts[row], running_mean[row], running_var[row], momentum)
                   for row in (0, 1) if values[row]]
        (mean_v, var_v), (mean_i, var_i) = moments[0], moments[-1]  # one and the same where a modality is absent
        share = values[1] / total
        gap = mean_i - mean_v
        mean_s = torch.lerp(mean_v, mean_i, share)
        var_s = torch.lerp(var_v, var_i, share).addcmul_(gap, gap, value=share * (1 - share))
        if momentum:
            running_mean[_SHARED].lerp_(mean_s, momentum)
            running_var[_SHARED].mul_(1 - momentum).add_(var_s, alpha=momentum * total / (total - 1))
        mean, inverse = torch.stack([mean_v, mean_i, mean_s]), torch.stack([var_v, var_i, var_s]).add_(EPS).rsqrt_()
        scale = _by_moments(weight * mix).mul_(inverse)
        shift = torch.addcmul(_by_moments(bias * mix), scale, mean, value=-1)
        y = torch.empty_like(x)
        for part, to, gain, offset in zip(parts, torch.split(y, list(counts)), _pair(scale), _pair(shift), strict=True):
            _multiply_add(part, gain, offset, to)
        ctx.save_for_backward(x, weight, bias, mix, mean, inverse, scale)
        ctx.counts, ctx.values = counts, values
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of ``x``, ``weight``, ``bias`` and ``mix``."""
        x, weight, bias, mix, mean, inverse, scale = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        values, counts = ctx.values, list(ctx.counts)
        grad = grad.contiguous(memory_format=_layout(x))
        parts, grads = torch.split(x, counts), torch.split(grad, counts)
        zero, one = _constants(x.shape[1], mean.dtype, mean.device)
        mean_v, mean_i, mean_s = means = mean.unbind()
        sums, products = [zero, zero], [zero, zero]
        for row in (0, 1):
            if values[row]:
                # With an inverse deviation of one, the "gradients of scale and shift" are T and S.
                _, products[row], sums[row] = torch.ops.aten.native_batch_norm_backward(
                    grads[row], parts[row], one, None, None, means[row], one, True, EPS, [False, True, True])
        products.append((products[0] + products[1]).addcmul_(sums[0], mean_v - mean_s)
                        .addcmul_(sums[1], mean_i - mean_s))
        of_shift, of_scale = torch.stack([*sums, sums[0] + sums[1]]), torch.stack(products).mul_(inverse)
        of_x = None
        if ctx.needs_input_grad[0]:
            each = _reciprocals(values, mean.dtype, mean.device)
            slope = (scale * inverse).mul_(of_scale).mul_(each)
            level = torch.addcmul((scale * of_shift).mul_(each), slope, mean, value=-1)
            of_x = torch.empty_like(x)
            for part, of_part, to, gain, rise, offset in zip(parts, grads, torch.split(of_x, counts), _pair(scale),
                                                             _pair(slope), _pair(level), strict=True):
                if x.dtype == scale.dtype:
                    wide = (-1, *[1] * (x.ndim - 2))
                    torch.addcmul(offset.view(wide), part, rise.view(wide), out=to)
                    to.addcmul_(of_part, gain.view(wide))
                else:  # coefficients in the low precision of x would not do, and mixed ones are slow there
                    _multiply_add(of_part, gain, offset, to)
                    rest = torch.empty_like(to)
                    _multiply_add(part, rise, zero, rest)
                    to.add_(rest)
        if len(mix) > _STATISTICS:
            of_scale = torch.cat([of_scale, of_scale[:_SHARED].sum(0, keepdim=True)])
            of_shift = torch.cat([of_shift, of_shift[_SHARED:]])
        of_mix = None
        if ctx.needs_input_grad[3]:
            of_mix = torch.addcmul(weight * of_scale, bias, of_shift).sum(1, keepdim=True)
        return of_x, (of_scale * mix).view(-1), (of_shift * mix).view(-1), of_mix, None, None, None


def _pair(rows: Tensor) -> tuple[Tensor, Tensor]:
    """For visible and for infrared, what its own moments' row and the shared one make together."""
    visible, infrared, shared = rows.unbind()
    return visible + shared, infrared + shared


def _multiply_add(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    """``out = x * scale + shift`` per channel, in one pass: a batch norm in evaluation by statistics 0 and 1."""
    if x.shape[0]:
        zero, one = _constants(x.shape[1], scale.dtype, scale.device)
        unused = zero.new_empty(0)
        torch.native_batch_norm(x, scale, shift, zero, one, False, 0.0, 0.0,
                                out=(out, unused, unused))


@lru_cache(maxsize=64)
def _constants(channels: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.zeros(channels, dtype=dtype, device=device), torch.ones(channels, dtype=dtype, device=device)


@lru_cache(maxsize=64)
def _reciprocals(values: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Minus one over the number of values of visible, infrared and both, shape ``(3, 1)``."""
    return torch.tensor([[-1 / max(1, number)] for number in (*values, sum(values))], dtype=dtype, device=device)


def _layout(x: Tensor) -> torch.memory_format:
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format

