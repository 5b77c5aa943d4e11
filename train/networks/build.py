"""A network built from an architecture: crops of both modalities in, embeddings out.

``build(arch)`` is the one way to make one. Training adds a classifier over identities; what
is matched is always ``Features.embedding``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple, cast

import msgspec
import torch
from torch import Tensor, nn

from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.errors import ConfigError
from train.networks.backbones import BACKBONES, owned
from train.networks.choices import Choice
from train.networks.inheritance import Adopted, inherit
from train.networks.modality_bn import ModalityBatchNorm, Rows
from train.networks.routes import Own
from train.networks.space import BNNECK, Arch, every_norm, fixed_norms, followed_linear

__all__ = ["Adopted", "Features", "Network", "Site", "adopt", "build"]


class Features(NamedTuple):
    """What a network says about ``n`` crops.

    Attributes:
        pooled: The last feature map pooled, ``(n, c)``; ResNet-50's metric losses act here.
        signed: The embedding before its last ReLU, ``(n, d)``; the embedding itself where there is none.
        embedding: What is matched, ``(n, d)``, not of unit length. OSNet: 512, after its ReLU;
            ResNet-50: 2048, behind the BNNeck.
        logits: One score per training identity, or None for a network without classifier.
    """

    pooled: Tensor
    signed: Tensor
    embedding: Tensor
    logits: Tensor | None


class Site(NamedTuple):
    """A BatchNorm and the layer it follows; ``linear`` is None for the BNNeck only, which follows a pool."""

    name: str
    norm: ModalityBatchNorm
    linear: nn.Module | None


class Network(nn.Module):
    """A backbone with a choice at every BatchNorm, and a classifier over ``identities`` if there are any.

    Parameters are named ``backbone.`` plus the reference implementation's own name, and
    ``classifier.weight`` (and ``.bias`` for OSNet); what only one modality uses has ``.visible.`` or
    ``.infrared.`` in its name.

    Attributes:
        arch: What was chosen.
        dimension: Length ``d`` of an embedding.
        identities: Training identities the classifier tells apart; 0 without classifier.
    """

    def __init__(self, arch: Arch, *, identities: int = 0) -> None:
        super().__init__()
        if identities < 0:
            raise ValueError(f"identities: expected 0 or more, found {identities}")
        self.arch = arch
        self.identities = identities
        kind, choices = BACKBONES[arch.backbone], dict(arch.choices)

        def choose(site: str) -> Choice:  # what is no site has nothing to split
            return choices.get(site, "shared")

        self.backbone = cast("nn.Module", kind.build(choose, arch.design))
        for name in owned(arch.backbone, arch.design.own):
            setattr(self.backbone, name, Own(self.backbone.get_submodule(name)))
        self.dimension = cast("int", self.backbone.dimension)
        self.classifier: nn.Linear | None = None
        if identities:
            # As the references have it: OSNet's with bias, none behind a BNNeck.
            self.classifier = nn.Linear(self.dimension, identities, bias=not kind.neck)
            nn.init.normal_(self.classifier.weight, 0.0, 0.001 if kind.neck else 0.01)
            if not kind.neck:
                nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor, infrared: Tensor) -> Features:
        """Embed crops of both modalities, in any order.

        Rows are grouped by modality once, here, so that no site has to; every output is in
        the batch's own order.

        Args:
            x: Normalised RGB, float ``(n, 3, h, w)``.
            infrared: Bool ``(n,)``, True where a crop is infrared.

        Raises:
            ValueError: ``infrared`` isn't one flag per row; or, in training, a split site
                that follows the pool sees a single row of a modality.
        """
        rows = Rows.of(infrared)
        if x.shape[0] != rows.count:
            raise ValueError(f"infrared: expected one flag for each of {x.shape[0]} rows, found {rows.count}")
        # Channels last is a layout, not a number: a step of OSNet x0.25 on one core takes 0.7 of the time.
        grouped = rows.group(x).contiguous(memory_format=torch.channels_last)
        pooled, signed, embedding = self.backbone(grouped, rows.grouped())
        logits = None if self.classifier is None else rows.restore(self.classifier(embedding))
        return Features(rows.restore(pooled), rows.restore(signed), rows.restore(embedding), logits)

    def sites(self) -> tuple[Site, ...]:
        """Every BatchNorm with a choice, in construction order, with the layer it follows; then ResNet-50's BNNeck.

        Norms of parts that each modality owns and of non-local blocks are no sites; `norms` has
        them too. Names are relative to ``backbone``.
        """
        found = [self._site(name, linear)
                 for name, linear in followed_linear(self.arch.backbone, self.arch.design).items()]
        return (*found, *self._neck())

    def norms(self) -> tuple[Site, ...]:
        """Every BatchNorm: as `sites`, and besides those nobody chooses at.

        A norm of an owned part is there once for each modality, with the modality behind the
        part's name: ``conv2.visible.0.conv3.bn``, ``bn1.visible``.
        """
        arch = self.arch
        apart = owned(arch.backbone, arch.design.own)
        found = []
        for name, linear in (*every_norm(arch.backbone, arch.design), *fixed_norms(arch.backbone, arch.design).items()):
            if name.partition(".")[0] in apart:
                found += [self._site(_owned(name, modality), _owned(linear, modality)) for modality in MODALITIES]
            else:
                found.append(self._site(name, linear))
        return (*found, *self._neck())

    def plain(self, modality: Modality) -> Network:
        """The network that one modality sees: the same function, with nothing split and nothing owned.

        A network of its own on the CPU, classifier included; this one is left as it was.
        """
        network = copy.deepcopy(self).cpu()
        design = msgspec.structs.replace(self.arch.design, own=0)
        network.arch = Arch.uniform(self.arch.backbone, "shared", design=design)
        for name, module in list(network.backbone.named_modules()):
            where, _, child = name.rpartition(".")
            if isinstance(module, Own):
                setattr(network.backbone.get_submodule(where), child, module.get_submodule(modality))
            elif isinstance(module, ModalityBatchNorm) and module.choice != "shared":
                setattr(network.backbone.get_submodule(where), child, module.plain(modality))
        return network

    def _neck(self) -> tuple[Site, ...]:
        return (Site(BNNECK, self._norm(BNNECK), None),) if BACKBONES[self.arch.backbone].neck else ()

    def _site(self, name: str, linear: str) -> Site:
        return Site(name, self._norm(name), self.backbone.get_submodule(linear))

    def _norm(self, name: str) -> ModalityBatchNorm:
        return cast("ModalityBatchNorm", self.backbone.get_submodule(name))


def build(arch: Arch, *, identities: int = 0) -> Network:
    """A freshly initialised network, from torch's global random state.

    Args:
        arch: Backbone and choices.
        identities: Training identities for the classifier; 0 for none.

    Raises:
        ValueError: ``identities`` is negative.
    """
    return Network(arch, identities=identities)


def adopt(source: Network | Mapping[str, Tensor], target: Network, *, classifier: bool = True) -> Adopted:
    """Start a network from one of another architecture or design, of the same backbone.

    What each tensor becomes is said in `train.networks.inheritance`: shared numbers go to every branch and
    copy, branches and copies that become one are averaged, running variances by moments.

    Args:
        source: A network, or the state of one; left as it is.
        target: Filled in place, or left as it was.
        classifier: Take the classifier over if the sizes agree; False leaves the target's own.

    Returns:
        Which tensors of the target stayed as they were, and which of the source were not used.

    Raises:
        ConfigError: Another backbone.
    """
    if isinstance(source, Network):
        if source.arch.backbone != target.arch.backbone:
            raise ConfigError(f"start: expected a network of {target.arch.backbone}, found {source.arch.backbone}; "
                              "start from another network")
        source = source.state_dict()
    head = {} if classifier else {name: t for name, t in source.items() if name.startswith("classifier.")}
    own = target.state_dict()
    values, report = inherit({name: tensor for name, tensor in source.items() if name not in head}, own)
    with torch.no_grad():
        for name, tensor in values.items():
            own[name].copy_(tensor)
    return Adopted(report.fresh, (*report.left_out, *head))


def _owned(name: str, modality: Modality) -> str:
    part, _, inner = name.partition(".")
    return f"{part}.{modality}.{inner}" if inner else f"{part}.{modality}"
