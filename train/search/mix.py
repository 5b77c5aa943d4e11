"""The mixed norm in training: forward and backward in one pass each over ``x``, which alone is kept.

What it computes is said in `train.search.mixed_norm`. Several processes that share a batch count
as one: moments are merged by count, and so are the sums that a moment's gradient consists of.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from train.fit.distributed import gather, merge
from train.networks.modality_bn import EPS

__all__ = ["SHARED", "STATISTICS", "Mix", "by_moments"]

SHARED = 2  # row of the shared moments, and of the shared scale and shift
STATISTICS = 3  # row of the scale and shift behind split statistics


def by_moments(rows: Tensor) -> Tensor:
    """Rows of visible, infrared and shared moments, ``(3, c)``: what stands behind split statistics joins the first."""
    if len(rows) == STATISTICS:
        return rows
    return torch.cat([rows[:SHARED] + rows[STATISTICS], rows[SHARED:STATISTICS]])


class Mix(torch.autograd.Function):
    """The mixed norm in training, on rows of which the first ``counts[0]`` are visible; keeps ``x`` only.

    Seen from a modality, visible, infrared and shared are three batch norms of one form, so
    everything small is computed for the three at once, as ``(3, c)``. With ``S`` the sum of the
    gradient ``g`` over the ``N`` values that share a moment, ``T`` that of ``g (x - mu)``, and
    ``s`` a scale times the inverse deviation ``r``, each adds to the gradient of ``x``
    ``s g - (s r^2 T / N) (x - mu) - s S / N``: an affine map again.

    ``N``, ``S`` and ``T`` are those of all processes where several share the batch. Gradients of
    scale, shift and mix stay those of this process's rows: `World.average` adds them up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mix: Tensor, running: tuple[Tensor, Tensor],
                counts: tuple[int, int], momentum: float, together: bool) -> Tensor:
        """``x`` of shape ``(n, c, ...)``, ``weight`` and ``bias`` flat; ``running`` moves by ``momentum``.

        ``together`` says whether other processes have more rows of this batch, and wait here, too.
        """
        x = x.contiguous(memory_format=_layout(x))
        weight, bias = weight.view(-1, x.shape[1]), bias.view(-1, x.shape[1])
        each = prod(x.shape[2:])
        values = counts[0] * each, counts[1] * each
        parts = x.split_with_sizes(counts)
        moments = _moments_of_all if together else _moments
        mean, var, each_of = moments(parts, values, running, momentum)
        inverse = var.add_(EPS).rsqrt_()
        scale = by_moments(weight * mix).mul_(inverse)
        shift = torch.addcmul(by_moments(bias * mix), scale, mean, value=-1)
        y = torch.empty_like(x)
        for part, to, (gain, offset) in zip(parts, y.split_with_sizes(counts), _pairs(scale, shift), strict=True):
            _multiply_add(part, gain, offset, to)
        ctx.save_for_backward(x, weight, bias, mix, mean, inverse, scale, each_of)
        ctx.counts, ctx.values, ctx.together = counts, values, together
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of ``x``, ``weight``, ``bias`` and ``mix``."""
        x, weight, bias, mix, mean, inverse, scale, each_of = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        values, counts = ctx.values, ctx.counts
        grad = grad.contiguous(memory_format=_layout(x))
        parts, grads = x.split_with_sizes(counts), grad.split_with_sizes(counts)
        zero, one, _ = _constants(x.shape[1], mean.dtype, mean.device)
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
            whole = torch.stack([of_shift, of_scale])
            if ctx.together:
                dist.all_reduce(whole)
            level, slope = whole.mul_(scale * each_of).unbind()
            slope.mul_(inverse)
            level.addcmul_(slope, mean, value=-1)
            of_x = torch.empty_like(x)
            for part, of_part, to, (gain, rise, offset) in zip(parts, grads, of_x.split_with_sizes(counts),
                                                               _pairs(scale, slope, level), strict=True):
                if x.dtype == scale.dtype:
                    wide = (-1, *[1] * (x.ndim - 2))
                    torch.addcmul(offset.view(wide), part, rise.view(wide), out=to)
                    to.addcmul_(of_part, gain.view(wide))
                else:  # coefficients in the low precision of x would not do, and mixed ones are slow there
                    _multiply_add(of_part, gain, offset, to)
                    rest = torch.empty_like(to)
                    _multiply_add(part, rise, zero, rest)
                    to.add_(rest)
        if len(mix) > STATISTICS:
            of_scale = torch.cat([of_scale, of_scale[:SHARED].sum(0, keepdim=True)])
            of_shift = torch.cat([of_shift, of_shift[SHARED:]])
        of_mix = None
        if ctx.needs_input_grad[3]:
            of_mix = torch.addcmul(weight * of_scale, bias, of_shift).sum(1, keepdim=True)
        return of_x, (of_scale * mix).view(-1), (of_shift * mix).view(-1), of_mix, None, None, None, None


_Parts = tuple[Tensor, ...]
_Moments = tuple[Tensor, Tensor, Tensor]


def _moments(parts: _Parts, values: tuple[int, int], running: tuple[Tensor, Tensor], momentum: float) -> _Moments:
    """Mean and variance of visible, infrared and all values, ``(3, c)``, and `_reciprocals`; running ones follow."""
    running_mean, running_var = running[0].unbind(), running[1].unbind()
    total = sum(values)
    # The running statistics also tell the kernel to count in their precision, not in that of x.
    moments = [torch.batch_norm_update_stats(parts[row], running_mean[row], running_var[row], momentum)
               for row in (0, 1) if values[row]]
    (mean_v, var_v), (mean_i, var_i) = moments[0], moments[-1]  # one and the same where a modality is absent
    share = values[1] / total
    gap = mean_i - mean_v
    mean_s = torch.lerp(mean_v, mean_i, share)
    var_s = torch.lerp(var_v, var_i, share).addcmul_(gap, gap, value=share * (1 - share))
    if momentum:
        running_mean[SHARED].lerp_(mean_s, momentum)
        running_var[SHARED].mul_(1 - momentum).add_(var_s, alpha=momentum * total / (total - 1))
    return (torch.stack([mean_v, mean_i, mean_s]), torch.stack([var_v, var_i, var_s]),
            _reciprocals(values, mean_s.dtype, mean_s.device))


def _moments_of_all(parts: _Parts, values: tuple[int, int], running: tuple[Tensor, Tensor], momentum: float
                    ) -> _Moments:
    """As `_moments`, of the values of every process."""
    channels = parts[0].shape[1]
    mine = running[0].new_zeros(1, 2, 2 * channels + 1)
    for row in (0, 1):
        if values[row]:
            spare = running[0].new_zeros(2, channels)  # tells the precision, and takes what is local only
            mine[0, row, :-1] = torch.cat(torch.batch_norm_update_stats(parts[row], spare[0], spare[1], 0.0))
            mine[0, row, -1] = values[row]
    every = gather(mine)
    mean, var, number = merge(every[..., :channels], every[..., channels:-1], every[..., -1:])
    mean, var, number = (torch.cat([each, both[None]])
                         for each, both in zip((mean, var, number), merge(mean, var, number), strict=True))
    if momentum:
        pace = momentum * number.clamp(max=1)  # a modality that is absent leaves its own untouched
        running[0].lerp_(mean, pace)
        running[1].lerp_(var * (number / (number - 1).clamp(min=1)), pace)
    return mean, var, -1 / number.clamp(min=1)


def _pairs(*rows: Tensor) -> tuple[Tensor, ...]:
    """For visible and for infrared, what its own moments' row and the shared one make together, of each argument."""
    every = torch.stack(rows, 1)
    return (every[:SHARED] + every[SHARED]).unbind()


def _multiply_add(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    """``out = x * scale + shift`` per channel, in one pass: a batch norm in evaluation by statistics 0 and 1."""
    if x.shape[0]:
        zero, one, unused = _constants(x.shape[1], scale.dtype, scale.device)
        torch.native_batch_norm(x, scale, shift, zero, one, False, 0.0, 0.0, out=(out, unused, unused))


@lru_cache(maxsize=64)
def _constants(channels: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Zeros, ones, and nothing."""
    zero = torch.zeros(channels, dtype=dtype, device=device)
    return zero, torch.ones_like(zero), zero.new_empty(0)


@lru_cache(maxsize=64)
def _reciprocals(values: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Minus one over the number of values of visible, infrared and both, shape ``(3, 1)``."""
    return torch.tensor([[-1 / max(1, number)] for number in (*values, sum(values))], dtype=dtype, device=device)


def _layout(x: Tensor) -> torch.memory_format:
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format

