"""A network built from an architecture: crops of both modalities in, embeddings out.

``build(arch)`` is the one way to make one. Training adds a classifier over identities; what
is matched is always ``Features.embedding``.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from train.modality_bn import ModalityBatchNorm, Rows
from train.osnet import WIDTHS, OSNet
from train.resnet import ResNet50
from train.space import BNNECK, Arch, followed_linear

__all__ = ["Features", "Network", "Site", "build"]


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
    ``classifier.weight`` (and ``.bias`` for OSNet).

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
        self.backbone: OSNet | ResNet50
        if arch.backbone == "resnet50":
            self.backbone = ResNet50(arch.choice)
        else:
            self.backbone = OSNet(WIDTHS[arch.backbone], arch.choice)
        self.dimension = self.backbone.dimension
        self.classifier: nn.Linear | None = None
        if identities:
            # As the references have it: OSNet's with bias, none behind a BNNeck.
            self.classifier = nn.Linear(self.dimension, identities, bias=arch.backbone != "resnet50")
            nn.init.normal_(self.classifier.weight, 0.0, 0.001 if arch.backbone == "resnet50" else 0.01)
            if arch.backbone != "resnet50":
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
        """Every BatchNorm in construction order with the layer it follows; ResNet-50's BNNeck comes last.

        Names are relative to ``backbone``.
        """
        found = [Site(name, self._norm(name), self.backbone.get_submodule(linear))
                 for name, linear in followed_linear(self.arch.backbone).items()]
        if self.arch.backbone == "resnet50":
            found.append(Site(BNNECK, self._norm(BNNECK), None))
        return tuple(found)

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
