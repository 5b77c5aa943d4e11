"""Every architecture of a space in one network: shared convolutions, and a `MixedBatchNorm` at each site.

Before a forward pass somebody says what the norms are: `Supernet.spread` (all choices, weighted by
``softmax(alpha)``), `Supernet.sample` (one path, drawn by the Gumbel trick; the gradient passes
straight through), or `Supernet.follow` (the path of one given architecture). Then
``supernet.network`` is called as any other network.

Sources: differentiable search, Liu et al., DARTS, ICLR 2019; straight-through Gumbel-softmax, Jang
et al., ICLR 2017. That CM-NAS searches norms by "standard optimisation" is in its abstract; its
search code was never released, so this is the described idea, not that code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from train.fit.distributed import synchronise
from train.networks.build import Network, build
from train.networks.design import RELEASED, Design
from train.networks.modality_bn import ModalityBatchNorm
from train.networks.space import Arch, Choice
from train.search.mixed_norm import SPACES, MixedBatchNorm, per_row

__all__ = ["Supernet"]


class Supernet(nn.Module):
    """All architectures of one space, and a preference among them.

    Args:
        backbone: One of `train.networks.space.BACKBONES`.
        space: A key of `SPACES`.
        groups: Sites that choose together, by name of the group; every site on its own unless given.
        identities: Training identities for the classifier; 0 for none.
        design: What else the network is built like; parts that each modality owns have no sites.

    Attributes:
        network: A `Network` whose norms are `MixedBatchNorm`; the BNNeck stays as it is.
        alpha: A preference for each group (rows) and choice (columns), shape ``(g, k)``, zeros at first.
        choices: What the columns stand for.
        groups: Sites of each group, in the order of the rows.

    Raises:
        ValueError: An unknown space, or groups that don't hold every site once.
    """

    def __init__(self, backbone: str, *, space: str = "paper", groups: Mapping[str, Sequence[str]] | None = None,
                 identities: int = 0, design: Design = RELEASED) -> None:
        super().__init__()
        if space not in SPACES:
            raise ValueError(f"space: expected one of {', '.join(SPACES)}, found {space!r}")
        self.choices = SPACES[space]
        self.network = build(Arch.uniform(backbone, "shared", design=design), identities=identities)
        names = [name for name, _ in self.network.arch.choices]
        self.groups = {name: (name,) for name in names} if groups is None else {
            group: tuple(sites) for group, sites in groups.items()}
        if sorted(name for sites in self.groups.values() for name in sites) != sorted(names):
            raise ValueError(f"groups: expected each of the {len(names)} sites of {backbone} once, found "
                             f"{sum(map(len, self.groups.values()))} in {len(self.groups)} groups")
        self._norms: dict[str, MixedBatchNorm] = {}
        for name, norm in _norms(self.network).items():
            self._norms[name] = MixedBatchNorm(norm.channels, self.choices)
            self._norms[name].begin_as(norm)
            _put(self.network.backbone, name, self._norms[name])
        self.alpha = nn.Parameter(torch.zeros(len(self.groups), len(self.choices)))
        with torch.no_grad():
            self.spread()

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, in construction order."""
        return tuple(self._norms)

    def begin_as(self, network: Network) -> None:
        """Take over a network's numbers; the norms, whatever their choices, initialise every branch.

        The classifier is taken over where it tells as many identities apart.

        Raises:
            ValueError: Another backbone.
        """
        mine, theirs = self.network.arch, network.arch
        if (mine.backbone, mine.design) != (theirs.backbone, theirs.design):
            raise ValueError(f"start: expected a network of {mine.backbone}, found {theirs.backbone} "
                             "or another design")
        norms = _norms(network)
        rest = _apart_from(network, norms)
        if network.identities != self.network.identities:
            rest = {name: tensor for name, tensor in rest.items() if not name.startswith("classifier.")}
        self.network.load_state_dict(rest, strict=False)
        for name, norm in norms.items():
            self._norms[name].begin_as(norm)

    def probabilities(self, temperature: float = 1.0) -> Tensor:
        """``softmax(alpha / temperature)``, shape ``(g, k)``, with gradient."""
        return torch.softmax(self.alpha / temperature, 1)

    def spread(self, temperature: float = 1.0) -> None:
        """From now on every norm is the weighted sum of its choices."""
        self._weigh(self.probabilities(temperature))

    def sample(self, noise: Tensor, temperature: float = 1.0) -> None:
        """From now on every norm is one choice, drawn with `probabilities` by Gumbel noise.

        Args:
            noise: Independent standard Gumbel numbers, shape ``(g, k)``.
            temperature: Of the softmax through which the gradient passes.
        """
        soft = torch.softmax((self.alpha + noise.to(self.alpha)) / temperature, 1)
        hard = nn.functional.one_hot(soft.argmax(1), len(self.choices)).to(soft)
        self._weigh(hard + soft - soft.detach())

    def follow(self, arch: Arch) -> None:
        """From now on every norm is what an architecture says.

        Raises:
            ValueError: Another backbone, or a choice that this space lacks.
        """
        self._check(arch)
        eye = per_row(torch.eye(len(self.choices), device=self.alpha.device))
        for name, norm in self._norms.items():
            norm.mix = eye[self.choices.index(arch.choice(name))]

    def track(self, *, statistics: bool) -> None:
        """Whether a forward pass in training moves running statistics, of any norm, chosen at or not.

        Without, training still normalises by the batch's own.
        """
        for norm in self._norms.values():
            norm.tracking = statistics
        # The BNNeck, parts that each modality owns and non-local blocks keep the norms they have.
        for module in self.network.modules():
            if isinstance(module, ModalityBatchNorm):
                batch_norm = module.batch_norm
                moving = batch_norm.moving if isinstance(batch_norm, _Still) else batch_norm
                module.batch_norm = moving if statistics else _Still(moving)

    def synchronise(self) -> None:
        """From now on norms in training use the statistics of all processes' rows."""
        synchronise(self.network)
        for norm in self._norms.values():
            norm.together = True

    def favourite(self) -> Arch:
        """The likeliest choice of every group; ties go to the cheaper one, which comes first."""
        best = self.alpha.detach().argmax(1).tolist()
        return self.arch_of({group: self.choices[column] for group, column in zip(self.groups, best, strict=True)})

    def arch_of(self, choices: Mapping[str, Choice]) -> Arch:
        """The architecture that makes the given choice in each group; sharing where none is given."""
        return Arch.of(self.network.arch.backbone, {
            site: choice for group, choice in choices.items() for site in self.groups[group]},
            design=self.network.arch.design)

    def extract(self, arch: Arch) -> Network:
        """A plain network of an architecture with this one's numbers.

        Its running statistics were met under the mix, not under the architecture: see
        `train.search.derive.recalibrate`.

        Raises:
            ValueError: As for `follow`.
        """
        self._check(arch)
        with torch.random.fork_rng(devices=[]):
            network = build(arch, identities=self.network.identities)
        network.to(self.alpha.device).load_state_dict(_apart_from(self.network, self._norms), strict=False)
        for name, norm in _norms(network).items():
            self._norms[name].end_as(norm)
        return network.train(self.training)

    def _weigh(self, weights: Tensor) -> None:
        for row, sites in zip(per_row(weights).unbind(), self.groups.values(), strict=True):
            for site in sites:
                self._norms[site].mix = row

    def _check(self, arch: Arch) -> None:
        mine = self.network.arch
        if (arch.backbone, arch.design) != (mine.backbone, mine.design):
            raise ValueError(f"arch: expected one of {mine.backbone}, found one of {arch.backbone}, or another design")
        foreign = sorted({choice for _, choice in arch.choices} - set(self.choices))
        if foreign:
            raise ValueError(f"arch: expected choices of {', '.join(self.choices)}, found {', '.join(foreign)}")


@dataclass(frozen=True)
class _Still:
    """A batch norm that moves copies of the running statistics instead of these."""

    moving: Callable[..., Tensor]

    def __call__(self, x: Tensor, running_mean: Tensor, running_var: Tensor, *rest: Any) -> Tensor:
        return self.moving(x, running_mean.clone(), running_var.clone(), *rest)


def _norms(network: Network) -> dict[str, ModalityBatchNorm]:
    """The norms of a plain network that have a choice."""
    return {site.name: site.norm for site in network.sites() if site.name in dict(network.arch.choices)}


def _apart_from(network: Network, norms: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """A network's state without that of the named norms of its backbone."""
    of_norms = {f"backbone.{site}.{name}" for site, norm in norms.items() for name in norm.state_dict()}
    return {name: tensor for name, tensor in network.state_dict().items() if name not in of_norms}


def _put(backbone: nn.Module, site: str, norm: MixedBatchNorm) -> None:
    parent, _, child = site.rpartition(".")
    owner = backbone.get_submodule(parent)
    if isinstance(owner, nn.ModuleList):
        owner[int(child)] = norm
    else:
        setattr(owner, child, norm)


