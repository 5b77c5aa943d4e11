"""A training run, said in full: data, network, losses, schedule. One TOML file each in ``recipes``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from train.data.augment import Augmentation
from train.data.drawn import Drawn, Number
from train.losses.objective import Losses
from train.space import Choice

__all__ = ["Curriculum", "Optimiser", "Recipe"]

_Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Weight = Annotated[float, msgspec.Meta(ge=0)]


class Optimiser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """AdamW, or SGD with Nesterov momentum 0.9; linear warm-up, then half a cosine down to zero.

    Attributes:
        kind: Which of the two.
        rate: Learning rate at the end of the warm-up.
        weight_decay: Decoupled for AdamW; matrices and convolutions only.
        warm_up: Steps until the rate is reached.
        average: Decay of the moving average of weights and statistics that is evaluated
            and kept; 0 keeps the weights themselves.
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    rate: Annotated[float, msgspec.Meta(gt=0)] = 3e-3
    weight_decay: _Weight = 0.01
    warm_up: Annotated[int, msgspec.Meta(ge=0)] = 200
    average: _Share = 0.998


class Curriculum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Begin with few people and undisturbed crops, then grow to all of them at full strength.

    A small network that starts from nothing finds no gradient to follow among a thousand
    people seen through every disturbance at once: its embedding shrinks until its ReLU dies.

    Attributes:
        identities: People at the start; 0 starts with everything.
        hold: Steps before it grows.
        grow: Steps until everything is in.
    """

    identities: Annotated[int, msgspec.Meta(ge=0)] = 0
    hold: Annotated[int, msgspec.Meta(ge=0)] = 0
    grow: Annotated[int, msgspec.Meta(ge=0)] = 0

    def share(self, step: int) -> float:
        """How much of the way from the start to everything is done, 0 to 1."""
        if not self.identities or step >= self.hold + self.grow:
            return 1.0
        return max(0.0, (step - self.hold) / max(1, self.grow))


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides a run, apart from the machine.

    Attributes:
        backbone: One of ``train.space.BACKBONES``.
        norms: The choice at every BatchNorm site.
        height: Rows of a crop.
        width: Columns of a crop.
        seed: Of initial weights, batches and augmentation.
        start: A checkpoint of the same architecture to begin with; its classifier is
            taken along if it was trained on the very same crops.
        steps: Batches until the schedule ends.
        precision: Of the convolutions in training; losses, weights and evaluation are fp32.
        identities_per_batch: P.
        crops_per_modality: K; a batch holds 2 P K crops.
        train: The people learnt from.
        validation: Other people, scored every ``evaluate_every`` steps.
        evaluate_every: Steps.
        checkpoint_every: Steps between two saved states; a run that is killed loses no more.
        curriculum: What comes first.
        augmentation: What is done to a batch.
        losses: What is minimised.
        optimiser: How.
    """

    backbone: str
    norms: Choice
    height: _Count = 128
    width: _Count = 64
    seed: Number = 0
    start: Path | None = None
    steps: _Count
    precision: Literal["fp32", "bf16"] = "fp32"
    identities_per_batch: Annotated[int, msgspec.Meta(ge=2)] = 16
    crops_per_modality: _Count = 2
    train: Drawn
    validation: Drawn
    evaluate_every: _Count = 1000
    checkpoint_every: _Count = 500
    curriculum: Curriculum = Curriculum()
    augmentation: Augmentation = Augmentation()
    losses: Losses = Losses()
    optimiser: Optimiser = Optimiser()
