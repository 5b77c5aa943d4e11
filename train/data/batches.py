"""Which crops make up a batch: P identities with K visible and K infrared crops of each, or any at random.

The batch of a step follows from the seed and the step alone. Nothing is remembered from
one step to the next, so a run that is resumed sees what it would have seen. Several processes
that share a batch each ask for their part of it, and together have the batch of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import MODALITIES
from train.data.crops import I64, Mask

__all__ = ["Batches", "Draw", "Sampler", "Shuffled", "draw_as_published"]

Draw = Literal["cameras", "published"]
# Streams of one seed; 2 is the augmentation's.
_HOUSE, _PUBLISHED, _EPOCH, _FEW = 1, 3, 4, 5


class Sampler(Protocol):
    """What both ways to make batches offer."""

    @property
    def size(self) -> int: ...  # noqa: D102 (crops in a batch)

    @property
    def people_count(self) -> int: ...  # noqa: D102 (identities that batches are made of)

    @property
    def steps_per_epoch(self) -> int: ...  # noqa: D102 (steps that published recipes call an epoch)

    @property
    def odd(self) -> str: ...  # noqa: D102 (who comes otherwise than a reader of the recipe would think; or nothing)

    def share(self, rank: int, world: int) -> I64:
        """Positions in a batch of the part that one of several processes takes, ascending."""

    def at(self, step: int, people: int | None = None, *, rank: int = 0, world: int = 1) -> I64:
        """Rows of the batch of one step, or of one process's part of it."""


class Batches:
    """Batches with as many visible as infrared crops, balanced over identities.

    Identities are drawn anew for every batch, none twice in one: dealt out in turns, a
    classifier would learn that whoever was here lately will not come now. Somebody seen in
    one modality only is left out, which ``left_out_count`` counts. Two ways to draw K crops:

    - ``cameras``: without repetition where an identity has enough of them, and from
      different cameras first. One with fewer than K starts over, so that its crops come
      equally often, give or take one; ``short_count`` says how many there are.
    - ``published``: each crop anew, so the same one may come twice, as CM-NAS and AGW do.

    Args:
        identity: Identity of each crop, shape ``(n,)``.
        camera: Camera of each crop, shape ``(n,)``.
        infrared: Modality of each crop, shape ``(n,)``.
        identities_per_batch: P.
        crops_per_modality: K.
        seed: Two runs with one seed see the same batches.
        draw: How crops of an identity are drawn.

    Raises:
        ValueError: No crop is of one of the modalities, fewer than P identities were seen in both, or P or K is
            not positive.
    """

    def __init__(self, identity: I64, camera: I64, infrared: Mask, *, identities_per_batch: int,
                 crops_per_modality: int, seed: int, draw: Draw = "cameras") -> None:
        self._seed, self._p, self._k, self._draw = seed, identities_per_batch, crops_per_modality, draw
        if min(identities_per_batch, crops_per_modality) < 1:
            raise ValueError(f"batch: expected at least one identity and one crop of each modality, got "
                             f"{identities_per_batch} and {crops_per_modality}")
        if infrared.all() or not infrared.any():
            raise ValueError(f"crops: expected both modalities, found no {MODALITIES[not infrared.any()]} one under "
                             f"the cameras {', '.join(map(str, np.unique(camera)))}; add a camera (of drawn people 3, "
                             '6, 9, ... are infrared, all others visible); a training alone may say draw = "shuffled"')
        pools: list[tuple[list[I64], list[I64]]] = []
        for person in np.unique(identity):
            mine = identity == person
            pools.append((self._by_camera(np.flatnonzero(mine & ~infrared), camera),
                          self._by_camera(np.flatnonzero(mine & infrared), camera)))
        self._pools = [(visible, infra) for visible, infra in pools if visible and infra]
        self.left_out_count = len(pools) - len(self._pools)
        if len(self._pools) < identities_per_batch:
            raise ValueError(f"identities_per_batch: expected at most the {len(self._pools)} identities that have "
                             f"crops in both modalities, got {identities_per_batch}")
        self._flat = [(np.sort(np.concatenate(visible)), np.sort(np.concatenate(infra)))
                      for visible, infra in self._pools]

    @staticmethod
    def _by_camera(rows: npt.NDArray[np.intp], camera: I64) -> list[I64]:
        return [rows[camera[rows] == c].astype(np.int64) for c in np.unique(camera[rows])]

    @property
    def people_count(self) -> int:
        """Identities that have crops in both modalities."""
        return len(self._pools)

    @property
    def short_count(self) -> int:
        """Identities among them with fewer than K crops in a modality: theirs come more than once in a batch."""
        return sum(min(len(visible), len(infra)) < self._k for visible, infra in self._flat)

    @property
    def odd(self) -> str:
        """Who comes otherwise than a reader of the recipe would think, as a line; empty if nobody does."""
        said = []
        if self.left_out_count:
            said.append(f"{self.left_out_count} of {self.left_out_count + self.people_count} people were seen in one "
                        "modality only: left out")
        if self.short_count:
            fewest = min(len(rows) for halves in self._flat for rows in halves)
            said.append(f"{self.short_count} of {self.people_count} people have fewer crops of a modality than the "
                        f"{self._k} that a batch takes of it, the fewest {fewest}: theirs come more than once, up to "
                        f"about {self._k / fewest:.3g} times")
        return "; ".join(said)

    @property
    def size(self) -> int:
        """Crops in a batch: 2 P K."""
        return 2 * self._p * self._k

    @property
    def steps_per_epoch(self) -> int:
        """Steps that CM-NAS and AGW call an epoch: the larger modality's crops over P K, rounded down, and one."""
        visible, infra = (sum(len(pool[half]) for pool in self._flat) for half in (0, 1))
        return max(visible, infra) // (self._p * self._k) + 1

    def share(self, rank: int, world: int) -> I64:
        """Positions in a batch of one process's part: whole identities, and those of a rank side by side.

        Args:
            rank: 0, 1, ... of the process.
            world: How many processes share the batch.

        Returns:
            Shape ``(2 P K / world,)``, visible ones first, in the order of the batch.

        Raises:
            ValueError: P identities cannot be split evenly, so that gradients would not average to the batch's.
        """
        positions = np.arange(self.size, dtype=np.int64).reshape(2, self._p, self._k)
        return np.concatenate([_part(half, rank, world, "identities_per_batch") for half in positions]).ravel()

    def at(self, step: int, people: int | None = None, *, rank: int = 0, world: int = 1) -> I64:
        """Rows of the batch of one step.

        Args:
            step: 0, 1, 2, ...
            people: Draw from this many of the identities only, at least P, lowest first.
            rank: Of this process among those that share the batch.
            world: How many those are; see ``share``.

        Returns:
            Row numbers, shape ``(2 P K / world,)``: visible ones, then infrared ones,
            both in the same order of identities, K each.
        """
        among = self.people_count if people is None else min(people, self.people_count)
        if self._draw == "published":
            words = np.random.SeedSequence((self._seed, _PUBLISHED, step)).generate_state(8)
            rows = draw_as_published(self._flat[:among], self._p, self._k, np.random.RandomState(words))
            return rows[self.share(rank, world)]
        rng = np.random.default_rng((self._seed, _HOUSE, step))
        drawn = rng.choice(among, self._p, replace=False)
        halves = [[self._pick(self._pools[person][half], rng) for person in drawn] for half in (0, 1)]
        return np.concatenate([*halves[0], *halves[1]])[self.share(rank, world)]

    def _pick(self, cameras: list[I64], rng: np.random.Generator) -> I64:
        """K rows: one camera after another, starting over when all had their turn."""
        shuffled = [rng.permutation(rows) for rows in (cameras[c] for c in rng.permutation(len(cameras)))]
        most = max(len(rows) for rows in shuffled)
        dealt = [rows[turn] for turn in range(most) for rows in shuffled if turn < len(rows)]
        return np.array([dealt[i % len(dealt)] for i in range(self._k)], np.int64)


class Shuffled:
    """Batches of crops at random, each once an epoch, whoever they show: for a classifier, of one modality or both.

    The crops left over at the end of an epoch, fewer than a batch, are not seen in it.

    Args:
        identity: Identity of each crop, shape ``(n,)``.
        size: Crops in a batch.
        seed: Two runs with one seed see the same batches.

    Raises:
        ValueError: There are fewer crops than a batch holds, or it holds none.
    """

    def __init__(self, identity: I64, *, size: int, seed: int) -> None:
        if not 1 <= size <= len(identity):
            raise ValueError(f"batch: expected 1 to {len(identity)} crops, as many as there are, got {size}")
        self._seed, self._size = seed, size
        people, self._person = np.unique(identity, return_inverse=True)
        self.people_count = len(people)

    @property
    def size(self) -> int:
        """Crops in a batch."""
        return self._size

    @property
    def odd(self) -> str:
        """Nobody comes otherwise than said."""
        return ""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which each crop comes at most once."""
        return len(self._person) // self._size

    def share(self, rank: int, world: int) -> I64:
        """Positions in a batch of one process's part; see `Batches.share`.

        Raises:
            ValueError: The batch cannot be split evenly.
        """
        return _part(np.arange(self._size, dtype=np.int64), rank, world, "batch")

    def at(self, step: int, people: int | None = None, *, rank: int = 0, world: int = 1) -> I64:
        """Rows of the batch of one step; arguments as for `Batches.at`.

        With few ``people`` there are no epochs: each batch is drawn anew, with repetition
        if they have fewer crops than it holds.

        Returns:
            Row numbers, shape ``(size / world,)``.
        """
        if people is not None and people < self.people_count:
            rows = np.flatnonzero(self._person < people)
            rng = np.random.default_rng((self._seed, _FEW, step))
            chosen = rng.choice(rows, self._size, replace=len(rows) < self._size)
        else:
            epoch, turn = divmod(step, self.steps_per_epoch)
            order = np.random.default_rng((self._seed, _EPOCH, epoch)).permutation(len(self._person))
            chosen = order[turn * self._size:(turn + 1) * self._size]
        return chosen.astype(np.int64)[self.share(rank, world)]


def draw_as_published(pools: Sequence[tuple[I64, I64]], p: int, k: int, random: np.random.RandomState) -> I64:
    """Draw a batch as the sampler of CM-NAS and AGW does, number for number.

    Args:
        pools: Visible and infrared rows of each identity, identities ascending.
        p: Identities, none twice.
        k: Crops of each in each modality, with repetition.
        random: NumPy's older generator, which the published code draws from.

    Returns:
        Row numbers, shape ``(2 p k,)``, as `Batches.at`.
    """
    drawn = [pools[person] for person in random.choice(len(pools), p, replace=False)]
    pairs = [(random.choice(visible, k), random.choice(infra, k)) for visible, infra in drawn]
    return np.concatenate([crops[half] for half in (0, 1) for crops in pairs])


def _part(units: I64, rank: int, world: int, what: str) -> I64:
    """The rank's share of rows, side by side."""
    if not 0 <= rank < world:
        raise ValueError(f"rank: expected 0 to {world - 1}, got {rank}")
    if len(units) % world:
        raise ValueError(f"{what}: expected a multiple of the {world} processes that share it, got {len(units)}")
    each = len(units) // world
    return units[rank * each:(rank + 1) * each]
