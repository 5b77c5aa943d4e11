"""A training run, said in full: data, network, losses, schedule. One TOML file each in ``recipes``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cmnas_edge.errors import ConfigError
from train.data.augment import Augmentation
from train.data.drawn import Number
from train.fit.optimisers import Optimiser
from train.fit.schedule import Curriculum
from train.fit.sources import Regdb, Source
from train.losses.objective import Losses
from train.networks.design import Design, differences
from train.networks.space import Arch, Choice

__all__ = ["Curriculum", "Optimiser", "Recipe", "varied"]

_Count = Annotated[int, msgspec.Meta(ge=1)]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides a run, apart from the machine.

    Attributes:
        backbone: One of ``train.networks.space.BACKBONES``.
        norms: The choice at every BatchNorm site; or leave it out and name an ``arch``.
        arch: A file with the choice at each site, as a search writes it; it says the design, too.
        design: What the network is built of, beside the norms.
        height: Rows of a crop.
        width: Columns of a crop.
        seed: Of initial weights, batches and augmentation.
        start: Weights to begin with: a checkpoint of the same backbone, whose classifier is taken along
            if it was trained on the very same crops; of another architecture, it begins every branch, as
            `train.networks.build.adopt` has it; or a file of another project.
        start_format: What wrote ``start``: this project, torchvision or torchreid; weights from
            elsewhere initialise every branch of a split site.
        steps: Batches until the schedule ends.
        precision: Of the convolutions in training; losses, weights and evaluation are fp32.
        identities_per_batch: P.
        crops_per_modality: K; a batch holds 2 P K crops.
        draw: How a batch is drawn: as `train.data.batches.Batches` has it (``cameras``, ``published``), or
            ``shuffled``: any 2 P K crops, each once an epoch, whoever and of whatever modality they show.
        pieces: Parts a batch is cut into, one after the other, when it does not fit in memory. Their
            gradients add up to the batch's, but norms and losses see one part at a time.
        train: The people learnt from.
        validation: Other people, scored every ``evaluate_every`` steps; may be left out.
        final: Learn from the people of ``train`` and ``validation`` together, and score nobody.
        until: The step to end at, if before the schedule does; 0 for its end. ``fit --final`` writes both.
        evaluate_every: Steps.
        checkpoint_every: Steps between two saved states; a run that is killed loses no more.
        curriculum: What comes first.
        augmentation: What is done to a batch.
        losses: What is minimised.
        optimiser: How.

    Raises:
        ValueError: The augmentation pads a crop by so much that it could come out all black.
    """

    backbone: str
    norms: Choice | None = None
    arch: Path | None = None
    design: Design = Design()
    height: _Count = 128
    width: _Count = 64
    seed: Number = 0
    start: Path | None = None
    start_format: Literal["checkpoint", "torchvision", "torchreid"] = "checkpoint"
    steps: _Count
    precision: Literal["fp32", "bf16"] = "fp32"
    identities_per_batch: Annotated[int, msgspec.Meta(ge=2)] = 16
    crops_per_modality: _Count = 2
    draw: Literal["cameras", "published", "shuffled"] = "cameras"
    pieces: _Count = 1
    train: Source
    validation: Source | None = None
    final: bool = False
    until: Annotated[int, msgspec.Meta(ge=0)] = 0
    evaluate_every: _Count = 1000
    checkpoint_every: _Count = 500
    curriculum: Curriculum = Curriculum()
    augmentation: Augmentation = Augmentation()
    losses: Losses = Losses()
    optimiser: Optimiser = Optimiser()

    def __post_init__(self) -> None:
        self.augmentation.require_smaller(self.height, self.width)

    def architecture(self) -> Arch:
        """What to build.

        Raises:
            ConfigError: Neither norms nor arch, or both; the arch cannot be read, or is of another backbone.
            ValueError: An unknown backbone, or a design it cannot have.
        """
        if (self.norms is None) == (self.arch is None):
            found = "neither" if self.norms is None else "both"
            raise ConfigError(f"recipe: expected either norms or arch, found {found}; keep one of them")
        if self.norms is not None:
            return Arch.uniform(self.backbone, self.norms, design=self.design)
        assert self.arch is not None
        try:
            text = self.arch.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "something that is no text"
            raise ConfigError(f"{self.arch}: expected an arch file, found {why}; correct recipe.arch") from error
        try:
            found_arch = Arch.from_json(text)
        except ConfigError as error:
            raise ConfigError(f"{self.arch}: {error}") from error
        if found_arch.backbone != self.backbone:
            raise ConfigError(f"{self.arch}: expected an arch of {self.backbone} as recipe.backbone says, found one of "
                              f"{found_arch.backbone}; search on this backbone, or change recipe.backbone")
        if self.design not in (Design(), found_arch.design):
            raise ConfigError(f"{self.arch}: expected the design of the recipe, found another one "
                              f"({', '.join(differences(self.design, found_arch.design))}); leave [design] out")
        return found_arch


def varied(recipe: Recipe, *, seed: int | None = None, trial: int | None = None, arch: Path | None = None,
           start: Path | None = None) -> Recipe:
    """The same recipe with another seed, on another split of RegDB, of another arch, or from other weights.

    Raises:
        ConfigError: The seed or the split cannot be, or the recipe has no splits.
    """
    if seed is not None:
        if not 0 <= seed < 1 << 32:
            raise ConfigError(f"--seed: expected 0 to {(1 << 32) - 1}, found {seed}; choose one in between")
        recipe = msgspec.structs.replace(recipe, seed=seed)
    if arch is not None:
        recipe = msgspec.structs.replace(recipe, norms=None, arch=arch)
    if start is not None:
        recipe = msgspec.structs.replace(recipe, start=start)
    if trial is not None:
        if not 1 <= trial <= 10:
            raise ConfigError(f"--trial: expected 1 to 10, found {trial}; choose one in between")
        if not isinstance(recipe.train, Regdb):
            raise ConfigError("--trial: expected a recipe for RegDB, which has ten splits, found another; leave it out")
        parts = {"train": msgspec.structs.replace(recipe.train, trial=trial)}
        if isinstance(recipe.validation, Regdb):
            parts["validation"] = msgspec.structs.replace(recipe.validation, trial=trial)
        recipe = msgspec.structs.replace(recipe, **parts)
    return recipe
