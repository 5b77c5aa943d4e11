"""Whom a checkpoint was taught, and whether it is now asked about people it knows.

A figure for people learnt from is worth nothing, and nothing in it says so. A checkpoint says whom it learnt from;
``evaluate`` asks here before it scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from cmnas_edge.errors import ConfigError
from train.data.crops import I64, Crops
from train.data.drawn import Drawn
from train.fit.sources import Folder, Regdb, Source
from train.networks import checkpoint
from train.networks.checkpoint import Checkpoint, Lesson

__all__ = ["UNLABELLED", "Numbers", "before", "lesson", "of", "require_new_pictures", "require_strangers", "trial",
           "unsure"]

_UNKNOWN = Lesson({"dataset": "unknown"})
UNLABELLED = Lesson({"dataset": "unlabelled"})
"""Pictures of nobody knows whom."""


class Numbers(NamedTuple):
    """Drawn people.

    Attributes:
        world: Seed of theirs.
        people: Who they are in it.
    """

    world: int
    people: I64


def lesson(source: Source, crops: Crops, world: int | None = None) -> Lesson:
    """What a checkpoint says of a source.

    Args:
        source: As a recipe has it.
        crops: What it holds.
        world: Where that are drawn people on disk, the seed of their world (`train.data.datasets.world`).
    """
    said = msgspec.to_builtins(source)
    if world is not None:
        people = np.unique(crops.identity[crops.identity > 0])
        runs = np.split(people, np.flatnonzero(np.diff(people) > 1) + 1)
        return Lesson(said, world=world, numbers=tuple((int(run[0]), int(run[-1])) for run in runs if len(run)))
    if not isinstance(source, Folder):
        return Lesson(said)
    return Lesson(said, tuple(_name(crops, int(row)) for row in np.unique(crops.identity, return_index=True)[1]))


def of(meta: Checkpoint) -> tuple[Lesson, ...]:
    """Whom a checkpoint was taught; one that does not say so was taught somebody unknown."""
    return (_UNKNOWN,) if isinstance(meta.learnt, msgspec.UnsetType) else meta.learnt


def before(start: Path | None) -> tuple[Lesson, ...]:
    """Whom the weights of a checkpoint to begin with were taught.

    Raises:
        ConfigError: It is not there.
        BundleError: It cannot be read.
    """
    return () if start is None else of(checkpoint.load(start)[1])


def trial(meta: Checkpoint) -> int:
    """Which split of RegDB a checkpoint learnt from last; 1 if from none."""
    return next((source.trial for source in reversed([*_sources(meta)]) if isinstance(source, Regdb)), 1)


def require_strangers(path: Path, meta: Checkpoint, asked: Drawn | Numbers | Regdb) -> None:
    """Make sure, by what both say, that nobody a checkpoint was taught is asked for.

    Args:
        path: The checkpoint.
        meta: What it says of itself.
        asked: Drawn people, now or on disk, or the split of RegDB whose test people they are.

    Raises:
        ConfigError: Somebody is.
    """
    for source in _sources(meta):
        if isinstance(source, Regdb) and isinstance(asked, Regdb) and source.trial != asked.trial:
            raise ConfigError(f"{path}: expected people it did not learn from, found test people of trial "
                              f"{asked.trial} of RegDB, half of whom trial {source.trial} taught it; evaluate with "
                              f"--trial {source.trial}, or train it on trial {asked.trial}")
    for world, first, last in _numbers(meta):
        if isinstance(asked, Drawn):
            start, stop = asked.first_identity, asked.first_identity + asked.identities
            if world == asked.seed and max(start, first) < min(stop, last + 1):
                above = max(last for seed, _, last in _numbers(meta) if seed == world) + 1
                raise ConfigError(f"{path}: expected people it did not learn from, found some of those it did (numbers "
                                  f"{first} to {last} of world {world}); give --first {above} or above, or another "
                                  "--seed")
        elif isinstance(asked, Numbers) and world == asked.world:
            known = asked.people[(asked.people >= first) & (asked.people <= last)]
            if len(known):
                raise ConfigError(f"{path}: expected people it did not learn from, found drawn ones that it did ("
                                  f"{len(known)} of {len(asked.people)}, such as number {known[0]} of world {world}); "
                                  "draw people to ask about with another --seed")


def require_new_pictures(path: Path, meta: Checkpoint, root: Path, crops: Crops) -> None:
    """Make sure that no picture a checkpoint was taught is among those asked about, in one's own folder.

    Args:
        path: The checkpoint.
        meta: What it says of itself.
        root: The folder.
        crops: What is asked, at the checkpoint's size.

    Raises:
        ConfigError: Some are.
    """
    learnt = {name for one in of(meta) for name in one.pictures}
    known = {int(crops.identity[row]) for row in range(len(crops)) if learnt and _name(crops, row) in learnt}
    if known:
        raise ConfigError(f"{root}: expected people that {path} did not learn from, found {len(known)} of "
                          f"{len(np.unique(crops.identity))} that it did, such as {min(known)}; evaluate the "
                          "checkpoint of the run without --final, or give pictures of other people")


def unsure(meta: Checkpoint) -> str:
    """What nobody can rule out, in a sentence; empty if all is known."""
    said, labelled = [], [one for one in of(meta) if one != UNLABELLED]
    if len([*_sources(meta)]) < len(labelled):
        said.append("It does not say whom it was taught; whether it learnt from these people is not known.")
    if len(labelled) < len(of(meta)):
        said.append("Its norms were adapted to unlabelled pictures; whether they show these people is not known.")
    return " ".join(said)


def _sources(meta: Checkpoint) -> Iterator[Source]:
    """What this version knows of whom it was taught."""
    for one in of(meta):
        try:
            yield msgspec.convert(one.source, Source)
        except msgspec.ValidationError:
            continue


def _numbers(meta: Checkpoint) -> Iterator[tuple[int, int, int]]:
    """Drawn people whom it was taught: world, and first and last number of each run of them."""
    for source in _sources(meta):
        if isinstance(source, Drawn):
            yield source.seed, source.first_identity, source.first_identity + source.identities - 1
    for one in of(meta):
        if one.world is not None:
            yield from ((one.world, first, last) for first, last in one.numbers)


def _name(crops: Crops, row: int) -> str:
    return hashlib.sha256(np.ascontiguousarray(crops.images[row]).data).hexdigest()[:16]
