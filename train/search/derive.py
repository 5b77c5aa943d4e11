"""From a supernet to one network: what is decided, within which bytes, and what it is worth.

A path of a supernet met its running statistics under the mix, so its own are measured anew before
it is judged: an exact mean over training batches, each at the path's own activations.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from train.data.crops import Crops
from train.evaluate import embed, score
from train.networks.build import Network
from train.networks.cost import bytes_of, site_bytes
from train.networks.design import RELEASED, Design
from train.networks.modality_bn import MOMENTUM
from train.networks.space import Arch, Choice
from train.search.supernet import Supernet

__all__ = ["Bytes", "decide", "probabilities", "recalibrate", "score_arch_in_supernet", "weigh"]

Batch = tuple[Tensor, Tensor]  # normalised images (n, 3, h, w), and which of them are infrared (n,)


@dataclass(frozen=True)
class Bytes:
    """What an architecture weighs as both modalities' folded float32 graphs, equal tensors counted once.

    Attributes:
        shared: With every site shared.
        extra: What each site adds when it is not: its folded layer a second time.
        apart: Two graphs that share nothing, whatever is chosen.
    """

    shared: int
    extra: Mapping[str, int]
    apart: int

    def of(self, arch: Arch) -> int:
        """Distinct bytes of an architecture."""
        return self.shared + sum(self.extra[site] for site, choice in arch.choices if choice != "shared")

    def of_groups(self, supernet: Supernet) -> Tensor:
        """What each group adds when its sites are not shared, float32 ``(g,)``."""
        return torch.tensor([float(sum(self.extra[site] for site in sites)) for sites in supernet.groups.values()])


def weigh(backbone: str, design: Design = RELEASED) -> Bytes:
    """The bytes of every architecture of a backbone and design.

    Raises:
        ValueError: Unknown backbone, or it doesn't have an option of the design.
    """
    shared = bytes_of(Arch.uniform(backbone, "shared", design=design))
    return Bytes(shared.total, site_bytes(backbone, design), shared.without_sharing)


def probabilities(supernet: Supernet) -> dict[str, dict[Choice, float]]:
    """How likely each choice is, for every site."""
    rows = supernet.probabilities().detach().double().tolist()
    return {site: dict(zip(supernet.choices, row, strict=True))
            for row, sites in zip(rows, supernet.groups.values(), strict=True) for site in sites}


def decide(supernet: Supernet, weights: Bytes, budget: int | None = None, *, least: float | None = None) -> Arch:
    """The architecture a preference amounts to.

    Args:
        supernet: Whose preference.
        weights: Of its backbone.
        budget: Distinct bytes not to exceed: of the groups that would rather not share, the surest are
            granted first, and those that no longer fit share.
        least: Instead of the likeliest choice of each group: not to share where that is at least so likely.

    Returns:
        An architecture of the supernet's space.

    Raises:
        ValueError: A budget that not even sharing everything keeps.
    """
    if budget is not None and budget < weights.shared:
        raise ValueError(f"budget: expected at least {weights.shared} bytes, as many as sharing everything costs, "
                         f"found {budget}")
    table = supernet.probabilities().detach().double().cpu()
    apart = 1 - table[:, 0]  # the first choice is to share
    wanted = table.argmax(1) > 0 if least is None else apart >= least
    best = 1 + table[:, 1:].argmax(1)
    left = float("inf") if budget is None else budget - weights.shared
    extra = weights.of_groups(supernet).tolist()
    names = list(supernet.groups)
    granted: dict[str, Choice] = {}
    for row in sorted(range(len(names)), key=lambda row: -float(apart[row])):
        if bool(wanted[row]) and extra[row] <= left:
            left -= extra[row]
            granted[names[row]] = supernet.choices[int(best[row])]
    return supernet.arch_of(granted)


def recalibrate(network: Network, batches: Iterable[Batch]) -> Network:
    """A copy of a network with running statistics measured on batches, in evaluation mode.

    Each statistic is the mean over the batches of the batch's own (variance unbiased, as torch
    counts it), not the moving average that training leaves, in which the last few dominate.
    """
    fresh = copy.deepcopy(network).train()
    statistics = {name: buffer for name, buffer in fresh.named_buffers() if "running_" in name}
    sums = {name: torch.zeros_like(buffer, dtype=torch.float64) for name, buffer in statistics.items()}
    count = 0
    with torch.no_grad():
        for images, infrared in batches:
            for buffer in statistics.values():
                buffer.zero_()
            fresh(images, infrared)
            count += 1
            for name, buffer in statistics.items():
                sums[name] += buffer / MOMENTUM
        if not count:
            raise ValueError("batches: expected at least one, found none")
        for name, buffer in statistics.items():
            buffer.copy_(sums[name] / count)
    return fresh.eval()


def score_arch_in_supernet(supernet: Supernet, arch: Arch, crops: Crops, *, batches: Iterable[Batch] = ()
                           ) -> dict[str, dict[str, float]]:
    """What an architecture is worth with the supernet's weights: a guess at what it would be worth retrained.

    Args:
        supernet: Left as it is.
        arch: Of its space.
        crops: People to score on.
        batches: Of training crops, to measure the path's own statistics on; without any, those met
            under the mix are used.

    Returns:
        As `train.evaluate.score`.
    """
    network = supernet.extract(arch).eval()
    some = list(batches)
    return score(embed(recalibrate(network, some) if some else network, crops), crops)
