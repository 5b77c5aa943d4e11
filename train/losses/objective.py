"""The weighted sum of losses that a step minimises, as a recipe says it.

Another loss is a function in a module beside this one and a line in `train.losses.further`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from torch import Tensor

from train.losses.c3mmd import Kernel, cmmd, sp
from train.losses.classification import cosine_logits, cross_entropy
from train.losses.contrast import contrast
from train.losses.further import FURTHER
from train.losses.precision import at_least_float32
from train.losses.triplet import four_term_triplet, weighted_triplet
from train.networks.build import Features, Network

__all__ = ["Losses", "Read", "objective"]

_Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
_Weight = Annotated[float, msgspec.Meta(ge=0)]

Read = Literal["pooled", "signed", "embedding"]
"""One of ``train.networks.build.Features``. OSNet: pooled has 512 times the width, the other two are the
embedding before and after its last ReLU. ResNet-50: before the BNNeck, then behind it, twice."""


class Losses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is minimised: a weighted sum; a weight of 0 leaves a term out.

    CM-NAS trains ResNet-50 with ``cross_entropy = 1``, ``smoothing = 0``, ``triplet = 1``,
    ``margin = 0.4``, ``triplet_on = "pooled"``, ``sp = 5`` and ``cmmd = 0.05``; AGW with
    ``weighted_triplet = 1`` on the same feature instead of the last three.

    Attributes:
        cross_entropy: Weight of the cross-entropy over identities.
        smoothing: Label smoothing of the cross-entropy.
        cosine: 0 for the network's own logits; otherwise logits are this many times the
            cosine between embedding and class weight.
        triplet: Weight of the four-term triplet.
        weighted_triplet: Weight of AGW's weighted regularised triplet.
        margin: Of the four-term triplet; below 0 for the soft margin.
        normalise: Both triplets on unit vectors.
        triplet_on: The feature both triplets read.
        contrast: Weight of the supervised contrast within the batch.
        temperature: Of the contrast.
        contrast_on: The feature it reads.
        cmmd: Weight of the class-specific maximum mean discrepancy; CM-NAS has 0.05.
        cmmd_kernel: ``second_moment`` as published, or ``both_moments``, which sees the sign, too.
        sp: Weight of the similarity-preserving term; CM-NAS has 5.
        c3mmd_on: The feature ``cmmd`` and ``sp`` read.
        further: Weights of further losses by name (`train.losses.further`).
        further_on: The feature they read.
    """

    cross_entropy: _Weight = 1.0
    smoothing: _Share = 0.1
    cosine: _Weight = 0.0
    triplet: _Weight = 1.0
    weighted_triplet: _Weight = 0.0
    margin: float = 0.3
    normalise: bool = False
    triplet_on: Read = "embedding"
    contrast: _Weight = 0.0
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 0.1
    contrast_on: Read = "embedding"
    cmmd: _Weight = 0.0
    cmmd_kernel: Kernel = "second_moment"
    sp: _Weight = 0.0
    c3mmd_on: Read = "embedding"
    further: dict[str, _Weight] = {}
    further_on: Read = "embedding"

    def __post_init__(self) -> None:
        """Refuse to minimise nothing, or what there is not.

        Raises:
            ValueError: Every weight is 0, or a further loss is unknown.
        """
        if unknown := sorted(set(self.further) - set(FURTHER)):
            raise ValueError(f"losses: expected further ones of train/losses/further.py ({', '.join(FURTHER) or 'none'}"
                             f" so far), found {', '.join(unknown)}; correct the name, or add a line there")
        if not any((self.cross_entropy, self.triplet, self.weighted_triplet, self.contrast, self.cmmd, self.sp,
                    *self.further.values())):
            raise ValueError("losses: expected at least one weight above 0, found none; give cross_entropy one")


assert not set(FURTHER) & set(Losses.__struct_fields__), "a further loss has the name of a setting"


def objective(features: Features, network: Network, labels: Tensor, infrared: Tensor, losses: Losses
              ) -> dict[str, Tensor]:
    """The weighted terms that are summed into the loss, by name.

    Features may come in any precision and under any autocast: they are made float32 here, once,
    and every term is computed in it.

    Args:
        features: Of the batch.
        network: Whose classifier is taught; it needs none where ``losses.cross_entropy`` is 0.
        labels: Classes, int64, shape ``(n,)``.
        infrared: Modality of each row, bool, shape ``(n,)``.
        losses: Weights and constants.

    Returns:
        The terms of non-zero weight in the order of ``Losses``, each a scalar with gradient.

    Raises:
        ValueError: The batch is not one that a term can work with, or there is no classifier to
            teach.
    """
    reads: dict[Read, Tensor] = {"pooled": at_least_float32(features.pooled),
                                 "signed": at_least_float32(features.signed),
                                 "embedding": at_least_float32(features.embedding)}
    terms: dict[str, Tensor] = {}
    if losses.cross_entropy:
        terms["cross_entropy"] = losses.cross_entropy * cross_entropy(
            _logits(features, network, losses.cosine), labels, smoothing=losses.smoothing)
    if losses.triplet:
        terms["triplet"] = losses.triplet * four_term_triplet(
            reads[losses.triplet_on], labels, infrared, margin=losses.margin, normalise=losses.normalise)
    if losses.weighted_triplet:
        terms["weighted_triplet"] = losses.weighted_triplet * weighted_triplet(
            reads[losses.triplet_on], labels, normalise=losses.normalise)
    if losses.contrast:
        terms["contrast"] = losses.contrast * contrast(
            reads[losses.contrast_on], labels, temperature=losses.temperature)
    if losses.cmmd:
        terms["cmmd"] = losses.cmmd * cmmd(
            reads[losses.c3mmd_on], labels, infrared, kernel=losses.cmmd_kernel)
    if losses.sp:
        terms["sp"] = losses.sp * sp(reads[losses.c3mmd_on], labels, infrared)
    for name, weight in losses.further.items():
        if weight:
            terms[name] = weight * FURTHER[name](reads[losses.further_on], labels, infrared)
    return terms


def _logits(features: Features, network: Network, cosine: float) -> Tensor:
    if network.classifier is None or features.logits is None:
        raise ValueError("network: expected one with a classifier, got none; build it with identities, or set "
                         "losses.cross_entropy to 0")
    return cosine_logits(features.embedding, network.classifier.weight, scale=cosine) if cosine else features.logits
