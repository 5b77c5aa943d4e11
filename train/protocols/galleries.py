"""Galleries of one or a few pictures of everybody under every camera, drawn the ways the field draws them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from train.protocols.embeddings import I64, Embeddings, Rows

__all__ = ["Permutations", "drawn", "in_order", "official", "seeded"]

Permutations = Mapping[tuple[int, int], I64]
"""By (camera, identity): an order of the pictures for each run, shape ``(runs, n)``, counted from 1."""


def in_order(pictures: Embeddings, rows: Iterable[int]) -> list[int]:
    """Rows by identity, then camera, then file name, as the reference evaluations list them.

    Raises:
        ValueError: The pictures have no names.
    """
    if not pictures.name:
        raise ValueError("name: expected the pictures' paths, which decide what a gallery is drawn from, got none")
    return sorted(rows, key=lambda row: (pictures.identity[row], pictures.camera[row], pictures.name[row]))


def seeded(pictures: Embeddings, rows: Iterable[int], *, shot: int, trial: int) -> Rows:
    """What ``random.seed(trial)`` and ``random.sample`` pick of everybody under every camera.

    The convention of AGW, CM-NAS, CAJ and DEEN. Where the reference code stops, at an identity
    with fewer than ``shot`` pictures under a camera, all of these are taken.

    Args:
        pictures: With names.
        rows: Those to draw from.
        shot: Pictures of each identity under each camera.
        trial: From 0.

    Raises:
        ValueError: The pictures have no names, or ``shot`` is not positive.
    """
    _check(shot)
    rng = random.Random(trial)  # a published draw, no secret
    return np.array([row for _, group in _groups(pictures, rows)
                     for row in rng.sample(group, min(shot, len(group)))], np.intp)


def official(pictures: Embeddings, rows: Iterable[int], permutations: Permutations, *, shot: int, trial: int) -> Rows:
    """The first ``shot`` entries of run ``trial`` of the permutations published with SYSU-MM01.

    The convention of the dataset itself, and of MPANet, SAAI and IDKL.

    Args:
        pictures: With names; a permutation's entry k is the k-th sorted file name of its folder.
        rows: Those to draw from.
        permutations: By camera and identity.
        shot: Pictures of each identity under each camera.
        trial: From 0.

    Raises:
        ValueError: A permutation is missing, is not one of the pictures there, or has no such run.
    """
    _check(shot)
    picked: list[int] = []
    for (identity, camera), group in _groups(pictures, rows):
        where = f"permutations of camera {camera}, identity {identity}"
        found = permutations.get((camera, identity))
        if found is None:
            raise ValueError(f"{where}: expected one for each run, got none")
        if found.ndim != 2 or not 0 <= trial < len(found):
            raise ValueError(f"{where}: expected shape (runs, n) with a run {trial + 1}, got {found.shape}")
        if not np.array_equal(np.sort(found[trial]), np.arange(1, len(group) + 1)):
            raise ValueError(f"{where}: expected 1 to {len(group)}, the pictures there, in some order, got "
                             f"{found.shape[1]} numbers, {', '.join(map(str, found[trial, :5]))} and so on")
        picked += [group[entry - 1] for entry in found[trial, :shot]]
    return np.array(picked, np.intp)


def drawn(pictures: Embeddings, rows: Rows, rng: np.random.Generator) -> Rows:
    """One row of every identity under every camera, at random; needs no names."""
    shuffled = rng.permutation(rows)
    key = np.stack([pictures.identity[shuffled], pictures.camera[shuffled]], 1)
    return np.asarray(shuffled[np.unique(key, axis=0, return_index=True)[1]], np.intp)


def _groups(pictures: Embeddings, rows: Iterable[int]) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """Rows of each identity under each camera, ascending, each group by file name."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row in in_order(pictures, rows):
        groups.setdefault((int(pictures.identity[row]), int(pictures.camera[row])), []).append(row)
    yield from groups.items()


def _check(shot: int) -> None:
    if shot < 1:
        raise ValueError(f"shot: expected at least 1, got {shot}")
