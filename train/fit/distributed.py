"""Several processes that take one step together, with the result of one process that takes it alone.

``torchrun --nproc_per_node N -m train fit ...``, or ``search``, starts them. Each embeds its share of the
batch; features are gathered with their gradients, so that every process minimises the loss of the whole batch;
norms use the statistics of the whole batch, weighted by count. Gradients of every copy are then averaged: each
copy of the loss has given its own, and all copies are the same.

Synchronised batch norm: Peng et al., MegDet, CVPR 2018, section 3.2; moments are merged as Chan et al.,
Updating Formulae, 1979, equation 2.1, which loses no digits to a large mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from train.networks.build import Network
from train.networks.modality_bn import ModalityBatchNorm

__all__ = ["ALONE", "World", "batch_norm", "gather", "merge", "synchronise", "world"]


@dataclass(frozen=True)
class World:
    """Which process of how many this is.

    Attributes:
        rank: 0, 1, ...; rank 0 writes and speaks.
        count: Processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether a flag is up in any process: all of them leave a loop together."""
        if self.count == 1:
            return flag
        told = torch.tensor(float(flag), device=_device())
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()

    def average(self, parameters: list[nn.Parameter]) -> None:
        """Replace every gradient by its mean over processes."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.count == 1 or not gradients:
            return
        # One message for all: on a network, a hundred small ones wait a hundred times.
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        parts = torch.split(flat / self.count, [g.numel() for g in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])


ALONE = World()


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """Join the other processes that torchrun started, or be alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def gather(x: Tensor) -> Tensor:
    """The rows of every process, rank by rank, each as many; gradients find their way back."""
    parts: Tensor = _Gather.apply(x[None].contiguous())  # type: ignore[no-untyped-call]
    return parts.flatten(0, 1)


def synchronise(network: Network) -> None:
    """Let every norm of a network use the statistics of all processes' rows when it trains."""
    for module in network.modules():
        if isinstance(module, ModalityBatchNorm):
            module.batch_norm = batch_norm


def batch_norm(x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
               bias: Tensor | None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """`torch.nn.functional.batch_norm` over the rows of all processes.

    Args:
        x: This process's rows, ``(n, c)`` or ``(n, c, h, w)``; every process calls, each with its own n.
        running_mean: As torch's; every process moves its copy by the same.
        running_var: As torch's.
        weight: As torch's.
        bias: As torch's.
        training: Whether to use the batch's statistics; without, nobody waits for others.
        momentum: As torch's.
        eps: As torch's.
    """
    if not training:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    assert running_mean is not None
    assert running_var is not None
    over = [0, *range(2, x.ndim)]
    wide, count = x.float(), x.numel() // x.shape[1]
    mean = wide.mean(over)
    var = (wide - _channels(mean, x)).square().mean(over)
    sizes = torch.full_like(mean[:1], count)
    channels = x.shape[1]
    every: Tensor = _Gather.apply(torch.cat([mean, var, sizes])[None])  # type: ignore[no-untyped-call]
    mean, var, total = merge(every[:, :channels], every[:, channels:-1], every[:, -1:])
    with torch.no_grad():
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * total / (total - 1), momentum)
    scale = torch.rsqrt(var + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    shift = shift if bias is None else shift + bias
    return (wide * _channels(scale, x) + _channels(shift, x)).to(x.dtype)


def merge(mean: Tensor, var: Tensor, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of groups of values as those of all values.

    Args:
        mean: Of each group, ``(groups, ..., c)``.
        var: Biased, ``(groups, ..., c)``.
        number: Of its values, ``(groups, ..., 1)``; a group may have none.

    Returns:
        Mean, biased variance and number of all, each without the first dimension.
    """
    total = number.sum(0)
    share = number / total.clamp(min=1)
    middle = (share * mean).sum(0)
    return middle, (share * (var + (mean - middle).square())).sum(0), total


class _Gather(torch.autograd.Function):
    """``(1, ...)`` of each process to ``(processes, ...)``; a part's gradient is the sum of all copies' for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        whole = gradients[0].contiguous().clone()
        dist.all_reduce(whole)
        rank = dist.get_rank()
        return whole[rank:rank + 1]


def _channels(vector: Tensor, like: Tensor) -> Tensor:
    return vector.view(1, -1, *[1] * (like.ndim - 2))


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
