"""Whom a checkpoint was taught, and whether it is now asked about people it knows.

A figure for people learnt from is worth nothing, and nothing in it says so. A checkpoint says whom it learnt from;
``evaluate`` asks here before it scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from cmnas_edge.errors import ConfigError
from train.data.crops import Crops
from train.data.drawn import Drawn
from train.fit.sources import Folder, Regdb, Source
from train.networks import checkpoint
from train.networks.checkpoint import Checkpoint, Lesson

__all__ = ["UNLABELLED", "before", "lesson", "of", "require_new_pictures", "require_strangers", "trial", "unsure"]

_UNKNOWN = Lesson({"dataset": "unknown"})
UNLABELLED = Lesson({"dataset": "unlabelled"})
"""Pictures of nobody knows whom."""


def lesson(source: Source, crops: Crops) -> Lesson:
    """What a checkpoint says of a source, given what it holds."""
    said = msgspec.to_builtins(source)
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


def require_strangers(path: Path, meta: Checkpoint, asked: Drawn | Regdb) -> None:
    """Make sure, by what both say, that nobody a checkpoint was taught is asked for.

    Args:
        path: The checkpoint.
        meta: What it says of itself.
        asked: Drawn people, or the split of RegDB whose test people they are.

    Raises:
        ConfigError: Somebody is.
    """
    for source in _sources(meta):
        if isinstance(source, Regdb) and isinstance(asked, Regdb) and source.trial != asked.trial:
            raise ConfigError(f"{path}: expected people it did not learn from, found test people of trial "
                              f"{asked.trial} of RegDB, half of whom trial {source.trial} taught it; evaluate with "
                              f"--trial {source.trial}, or train it on trial {asked.trial}")
        if isinstance(source, Drawn) and isinstance(asked, Drawn) and source.overlaps(asked):
            end = source.first_identity + source.identities
            raise ConfigError(f"{path}: expected people it did not learn from, found some of those it did (numbers "
                              f"{source.first_identity} to {end - 1} of world {source.seed}); give --first {end} or "
                              "above, or another --seed")


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


def _name(crops: Crops, row: int) -> str:
    return hashlib.sha256(np.ascontiguousarray(crops.images[row]).data).hexdigest()[:16]
