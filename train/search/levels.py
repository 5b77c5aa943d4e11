"""The two parts of the crops, one for the weights and one for the architecture, and their batches."""

from __future__ import annotations

import numpy as np

from train.data.augment import augment
from train.data.batches import Batches
from train.data.crops import I64, U8, Crops, Mask
from train.fit.distributed import World
from train.search.recipe import HeldOut, SearchRecipe

__all__ = ["Level", "hold_out"]


def hold_out(crops: Crops, how: HeldOut, seed: int) -> tuple[I64, I64]:
    """Rows the weights learn from, and rows the architecture learns from; nobody's crop is in both.

    Raises:
        ValueError: By image, a person with crops in both modalities would be left with none in one of
            the parts; by identity, a part would be left with nobody.
    """
    rng = np.random.default_rng((seed, 3))
    people = np.unique(crops.identity)
    if how.by == "identity":
        chosen = rng.permutation(people)[:round(how.share * len(people))]
        if len(chosen) in (0, len(people)):
            raise ValueError(f"held_out.share: expected a share that holds out somebody and leaves somebody, found "
                             f"{how.share:g}, which holds out {len(chosen)} of {len(people)} people; "
                             f"{'lower' if len(chosen) else 'raise'} it, or learn from more people")
        held = np.isin(crops.identity, chosen)
    else:
        held = np.zeros(len(crops), bool)
        for person in people:
            for infrared in (False, True):
                mine = np.flatnonzero((crops.identity == person) & (crops.infrared == infrared))
                if len(mine) == 1:
                    raise ValueError(f"held_out: expected two crops or more of a person in a modality to share them "
                                     f"out by image, found one of identity {person}; hold out by identity")
                take = min(max(1, round(how.share * len(mine))), len(mine) - 1)
                held[rng.permutation(mine)[:take]] = True
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


class Level:
    """Crops of one level, its batches, and its numbers for identities.

    Args:
        recipe: Of the search.
        crops: Of this level.
        seed: Of its batches and their augmentation.
        world: Which processes share a batch.

    Attributes:
        classes: Number of each crop's identity, shape ``(n,)``.
        mine: Positions in a batch of what this process embeds.
        back: Puts what all processes embedded, rank by rank, in the order of the batch.

    Raises:
        ValueError: The crops don't make the batches asked for, or these cannot be shared by so many processes.
    """

    def __init__(self, recipe: SearchRecipe, crops: Crops, seed: int, world: World) -> None:
        self.classes = crops.classes()
        self._crops, self._seed, self._recipe = crops, seed, recipe
        self._batches = Batches(crops.identity, crops.camera, crops.infrared, seed=seed, draw=recipe.draw,
                                identities_per_batch=recipe.identities_per_batch,
                                crops_per_modality=recipe.crops_per_modality)
        shares = [self._batches.share(rank, world.count) for rank in range(world.count)]
        self.mine: I64 = shares[world.rank]
        self.back: I64 = np.argsort(np.concatenate(shares))

    @property
    def odd(self) -> str:
        """Who comes in batches otherwise than a reader of the recipe would think; empty if nobody does."""
        return self._batches.odd

    def at(self, step: int) -> tuple[U8, Mask, I64]:
        """Images, which are infrared, and classes, of the whole batch of a step."""
        recipe = self._recipe
        share = recipe.curriculum.share(step)
        few, everybody = recipe.curriculum.identities, self._batches.people_count
        rows = self._batches.at(step, max(recipe.identities_per_batch, round(few + share * (everybody - few))))
        infrared = self._crops.infrared[rows]
        images = augment(self._crops.images[rows], infrared, recipe.augmentation.scaled(share),
                         np.random.default_rng((self._seed, 2, step)))
        return images, infrared, self.classes[rows]
