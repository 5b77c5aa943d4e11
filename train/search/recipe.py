"""A search, said in full. One TOML file each in ``train/recipes``, named ``search_*``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from train.data.augment import Augmentation
from train.data.drawn import Number
from train.fit.optimisers import Optimiser
from train.fit.schedule import Curriculum
from train.fit.sources import Source
from train.losses.objective import Losses
from train.networks.cost import bytes_of
from train.networks.design import Design
from train.networks.schemes import Level
from train.networks.space import Arch

__all__ = ["Cost", "HeldOut", "Preference", "SearchRecipe"]

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Steps = Annotated[int, msgspec.Meta(ge=0)]
_Weight = Annotated[float, msgspec.Meta(ge=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class HeldOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the architecture is learnt from; the weights learn from the rest.

    By ``image``: of every person and modality a share of the crops. Both levels know the same
    people, so any loss may guide; what is measured is how well known people are recognised in new
    pictures. Take it where people are few. By ``identity``: a share of the people, whom the weights
    never see, as in the field. There is no classifier over them, so only losses between crops
    (triplet, contrast, C3MMD) can guide. Take it where people are many: it is the more honest signal.

    Attributes:
        by: One of the two.
        share: How much is held out; by ``identity``, at least one person is, and at least one is left.
    """

    by: Literal["image", "identity"] = "image"
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5


class Preference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the preference among choices, alpha, is learnt: Adam on held-out crops, weights held still.

    The defaults are ours, after the released recipe of TF-NAS (Hu et al., ECCV 2020), by an author of
    CM-NAS, whose own search was never published.

    Attributes:
        rate: Learning rate, at most 1: a step of Adam moves each preference by about as much, and at 1 the very
            first takes a choice of two from 0.5 to 0.88. Beyond, the first batch decides, not the search.
        betas: Of Adam's moments.
        weight_decay: Pulls towards no preference.
        every: One step of alpha to as many of the weights.
        warm_up: Steps of the weights before the first of alpha.
        mode: ``mix`` weighs all choices by softmax(alpha); ``sample`` draws one path a step
            (Gumbel), for the weights and, straight through, for alpha.
        sharpen_from: Share of the steps after which choices are urged to be clear.
        temperature: Of the softmax at the end; it falls there geometrically from 1.
        entropy: Weight, at the end, of the mean entropy of the choices in the loss of alpha.
        settle: Last steps, in which alpha stands still and the weights follow the decided path alone. From
            then on the path is scored, not the mix, and no gap between the two is told.
    """

    rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 5e-3
    betas: tuple[_Share, _Share] = (0.5, 0.999)
    weight_decay: _Weight = 0.0
    every: _Count = 2
    warm_up: _Steps = 0
    mode: Literal["mix", "sample"] = "mix"
    sharpen_from: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    temperature: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    entropy: _Weight = 0.0
    settle: _Steps = 0


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What bytes cost: the distinct tensors of both modalities' folded graphs, as a bundle stores them.

    Attributes:
        price: Added to the loss of alpha for every 100,000 bytes expected beyond sharing everything.
        budget: Bytes, in all, beyond which ``pressure`` is paid, and which the decided architecture
            keeps; at least what sharing everything costs, or 0 for none.
        pressure: Added to the loss of alpha for every 100,000 bytes expected beyond the budget.
    """

    price: _Weight = 0.0
    budget: Annotated[int, msgspec.Meta(ge=0)] = 0
    pressure: _Weight = 1.0


class SearchRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides a search, apart from the machine. Names shared with ``Recipe`` mean the same.

    Attributes:
        backbone: One of ``train.networks.space.BACKBONES``.
        design: What else the network is built like.
        space: ``paper`` (shared or split) or ``extended`` (split statistics as well).
        by: What chooses together: every ``site``, ``stream``, ``block`` or ``stage``.
        height: Rows of a crop.
        width: Columns of a crop.
        seed: Of initial weights, held-out crops, batches, augmentation and sampled paths.
        start: A checkpoint of the backbone, of any architecture, that initialises every branch.
        start_format: What wrote ``start``.
        steps: Of the weights.
        precision: Of the convolutions in training.
        identities_per_batch: P.
        crops_per_modality: K.
        draw: How a batch is drawn.
        train: The people learnt from, at both levels.
        validation: Other people: they decide nothing, and score the supernet and what is derived from it.
        held_out: What of ``train`` the architecture is learnt from.
        evaluate_every: Steps between two scores of the supernet.
        checkpoint_every: Steps between two saved states.
        recalibrate: Batches over which a derived network's statistics are measured anew.
        curriculum: What comes first.
        augmentation: What is done to a batch, at both levels.
        losses: What the weights minimise.
        guide: What alpha minimises.
        preference: How.
        cost: What bytes cost alpha.
        optimiser: Of the weights.

    Raises:
        ValueError: The augmentation pads a crop by so much that it could come out all black, alpha would
            never step, or the budget is below what sharing everything costs.
    """

    backbone: str
    design: Design = Design()
    space: Literal["paper", "extended"] = "paper"
    by: Level = "site"
    height: _Count = 128
    width: _Count = 64
    seed: Number = 0
    start: Path | None = None
    start_format: Literal["checkpoint", "torchvision", "torchreid"] = "checkpoint"
    steps: _Count
    precision: Literal["fp32", "bf16"] = "fp32"
    identities_per_batch: Annotated[int, msgspec.Meta(ge=2)] = 16
    crops_per_modality: _Count = 2
    draw: Literal["cameras", "published"] = "cameras"
    train: Source
    validation: Source
    held_out: HeldOut = HeldOut()
    evaluate_every: _Count = 500
    checkpoint_every: _Count = 250
    recalibrate: _Count = 50
    curriculum: Curriculum = Curriculum()
    augmentation: Augmentation = Augmentation()
    losses: Losses = Losses()
    guide: Losses = Losses()
    preference: Preference = Preference()
    cost: Cost = Cost()
    optimiser: Optimiser = Optimiser()

    def __post_init__(self) -> None:
        self.augmentation.require_smaller(self.height, self.width)
        how = self.preference
        if how.warm_up + how.settle >= self.steps:
            raise ValueError(f"preference.warm_up + preference.settle: expected less than the {self.steps} steps, "
                             f"found {how.warm_up} + {how.settle}; alpha would never step: raise steps, or lower one")
        if self.cost.budget:
            least = bytes_of(Arch.uniform(self.backbone, "shared", design=self.design)).total
            if self.cost.budget < least:
                raise ValueError(f"cost.budget: expected at least the {least} bytes that {self.backbone} has with "
                                 f"every site shared, found {self.cost.budget}; raise it, or give 0 for none")
