"""Which crops make up a batch: P identities, K visible and K infrared crops of each.

The batch of a step follows from the seed and the step alone. Nothing is remembered from
one step to the next, so a run that is resumed sees what it would have seen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from train.data.crops import I64, Mask


class Batches:
    """Batches with as many visible as infrared crops, balanced over identities.

    Identities are drawn anew for every batch: dealt out in turns, a classifier would learn
    that whoever was here lately will not come now. Crops of an identity are drawn without
    repetition where it has enough of them, and from different cameras first.

    Args:
        identity: Identity of each crop, shape ``(n,)``.
        camera: Camera of each crop, shape ``(n,)``.
        infrared: Modality of each crop, shape ``(n,)``.
        identities_per_batch: P.
        crops_per_modality: K.
        seed: Two runs with one seed see the same batches.

    Raises:
        ValueError: Fewer than P identities were seen in both modalities.
    """

    def __init__(self, identity: I64, camera: I64, infrared: Mask, *, identities_per_batch: int,
                 crops_per_modality: int, seed: int) -> None:
        self._seed, self._p, self._k = seed, identities_per_batch, crops_per_modality
        pools: list[tuple[list[I64], list[I64]]] = []
        for person in np.unique(identity):
            mine = identity == person
            pools.append((self._by_camera(np.flatnonzero(mine & ~infrared), camera),
                          self._by_camera(np.flatnonzero(mine & infrared), camera)))
        self._pools = [(visible, infra) for visible, infra in pools if visible and infra]
        if len(self._pools) < identities_per_batch:
            raise ValueError(f"identities_per_batch: expected at most the {len(self._pools)} identities that have "
                             f"crops in both modalities, got {identities_per_batch}")

    @staticmethod
    def _by_camera(rows: npt.NDArray[np.intp], camera: I64) -> list[I64]:
        return [rows[camera[rows] == c].astype(np.int64) for c in np.unique(camera[rows])]

    @property
    def people_count(self) -> int:
        """Identities that have crops in both modalities."""
        return len(self._pools)

    @property
    def size(self) -> int:
        """Crops in a batch: 2 P K."""
        return 2 * self._p * self._k

    def at(self, step: int, people: int | None = None) -> I64:
        """Rows of the batch of one step.

        Args:
            step: 0, 1, 2, ...
            people: Draw from this many of the identities only, at least P, lowest first.

        Returns:
            Row numbers, shape ``(2 P K,)``: P K visible ones, then P K infrared ones,
            both in the same order of identities, K each.
        """
        rng = np.random.default_rng((self._seed, 1, step))
        among = self.people_count if people is None else min(people, self.people_count)
        drawn = rng.choice(among, self._p, replace=False)
        halves = [[self._pick(self._pools[person][half], rng) for person in drawn] for half in (0, 1)]
        return np.concatenate([*halves[0], *halves[1]])

    def _pick(self, cameras: list[I64], rng: np.random.Generator) -> I64:
        """K rows: one camera after another, starting over when all had their turn."""
        shuffled = [rng.permutation(rows) for rows in (cameras[c] for c in rng.permutation(len(cameras)))]
        most = max(len(rows) for rows in shuffled)
        dealt = [rows[turn] for turn in range(most) for rows in shuffled if turn < len(rows)]
        return np.array([dealt[i % len(dealt)] for i in range(self._k)], np.int64)
