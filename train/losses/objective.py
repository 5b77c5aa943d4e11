"""The weighted sum of losses that a step minimises, as a recipe says it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from torch import Tensor
from torch.nn import functional

from train.losses.classification import cross_entropy
from train.losses.contrast import contrast
from train.losses.triplet import four_term_triplet
from train.networks import Features, Network

__all__ = ["Losses", "objective"]

_Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
_Weight = Annotated[float, msgspec.Meta(ge=0)]


class Losses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is minimised: a weighted sum of three terms; a weight of 0 leaves a term out.

    Attributes:
        cross_entropy: Weight of the cross-entropy over identities.
        smoothing: Label smoothing of the cross-entropy.
        cosine: 0 for the network's own logits; otherwise logits are this many times the
            cosine between embedding and class weight.
        triplet: Weight of the four-term triplet.
        margin: Of the triplet; below 0 for the soft margin.
        normalise: Triplet on unit vectors.
        contrast: Weight of the supervised contrast within the batch.
        temperature: Of the contrast.
    """

    cross_entropy: _Weight = 1.0
    smoothing: _Share = 0.1
    cosine: _Weight = 0.0
    triplet: _Weight = 1.0
    margin: float = 0.3
    normalise: bool = False
    contrast: _Weight = 0.0
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 0.1


def objective(features: Features, network: Network, labels: Tensor, infrared: Tensor, losses: Losses
              ) -> dict[str, Tensor]:
    """The weighted terms that are summed into the loss, by name.

    Args:
        features: Of the batch.
        network: Whose classifier is taught.
        labels: Classes, int64, shape ``(n,)``.
        infrared: Modality of each row, bool, shape ``(n,)``.
        losses: Weights and constants.
    """
    logits = features.logits
    if network.classifier is None or logits is None:
        raise ValueError("network: expected one with a classifier, got none")
    if losses.cosine:
        logits = losses.cosine * functional.linear(functional.normalize(features.embedding),
                                                   functional.normalize(network.classifier.weight))
    terms = {"cross_entropy": losses.cross_entropy * cross_entropy(logits, labels, smoothing=losses.smoothing)}
    if losses.triplet:
        terms["triplet"] = losses.triplet * four_term_triplet(
            features.embedding, labels, infrared, margin=losses.margin, normalise=losses.normalise)
    if losses.contrast:
        terms["contrast"] = losses.contrast * contrast(features.embedding, labels, temperature=losses.temperature)
    return terms
