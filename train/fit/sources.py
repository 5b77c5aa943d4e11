"""Where the crops of a recipe come from: drawn people, or one part of a photographed dataset.

A recipe names a dataset and a part of it, never a folder: where a dataset lies is the machine's business
(``--data ROOT``). Parts to learn from and to choose by are all a recipe can ask for; the people of a
published test set are read by ``evaluate`` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
import numpy as np

from cmnas_edge.errors import ConfigError
from train.data import datasets
from train.data.crops import Crops
from train.data.datasets import DATASETS
from train.data.drawn import Drawn, draw
from train.protocols.drawn import searchable
from train.protocols.embeddings import Embeddings

__all__ = ["Folder", "Llcm", "Market", "Photographed", "Regdb", "Source", "Sysu", "everybody", "judges",
           "overlap", "read", "together", "world"]

Part = Literal["train", "validation", "trainval"]


class Photographed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="dataset"):
    """A part of a dataset that lies under ``--data``.

    Attributes:
        part: ``train`` to learn from, ``validation`` to choose by, ``trainval`` both, for the final run.
    """

    part: Part = "train"


class Sysu(Photographed, frozen=True, tag="sysu"):
    """SYSU-MM01: 296 people, 99, or all 395."""


class Regdb(Photographed, frozen=True, tag="regdb"):
    """RegDB.

    Attributes:
        trial: Which of the ten published splits.
    """

    trial: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1


class Llcm(Photographed, frozen=True, tag="llcm"):
    """LLCM."""


class Market(Photographed, frozen=True, tag="market"):
    """Market-1501: visible only."""


class Folder(Photographed, frozen=True, tag="folder"):
    """One's own people: ``train.data.folder`` says how they lie."""


Source: TypeAlias = Drawn | Sysu | Regdb | Llcm | Market | Folder
if not TYPE_CHECKING:  # a dataset of which a recipe says no more than the part needs no class here
    for name in set(DATASETS) - {"sysu", "regdb", "llcm", "market", "folder"}:
        Source |= msgspec.defstruct(name, [], bases=(Photographed,), frozen=True, forbid_unknown_fields=True, tag=name)


def read(source: Source, height: int, width: int, *, root: Path | None = None, cache: Path | None = None,
         progress: Callable[[int, int], None] | None = None) -> Crops:
    """The crops a source names, at one size.

    Args:
        source: Which people.
        height: Rows of a crop.
        width: Columns of a crop.
        root: The dataset's folder; drawn people need none.
        cache: Folder in which decoded crops are kept; drawn people need none.
        progress: Called with (crops or people done, in all).

    Raises:
        ConfigError: No root for photographs, or the dataset there cannot be read.
        ValueError: The people cannot be drawn like this.
    """
    if isinstance(source, Drawn):
        return draw(source, height, width, progress=progress)
    name = str(source.__struct_config__.tag)
    if root is None or cache is None:
        raise ConfigError(f"recipe: expected the folder of {name}, found none; add --data ROOT")
    from train.data import shards  # noqa: PLC0415 - drawn people need no cache of photographs

    trial = source.trial if isinstance(source, Regdb) else 1
    pictures = datasets.read(root, source.part, name=name, trial=trial)
    return shards.decode(pictures, height, width, cache, progress=progress)


def world(source: Source, root: Path | None) -> int | None:
    """Seed of the world, where the people of a dataset are drawn ones that lie on disk; None elsewhere.

    Raises:
        ConfigError: What says how they were drawn cannot be read.
    """
    return None if root is None or isinstance(source, Drawn) else datasets.world(root)


def judges(source: Source, of: Source, learnt: Crops, height: int, width: int, *, root: Path | None = None,
           cache: Path | None = None) -> Crops:
    """The crops to validate on: of people who are not learnt from, and who can be searched for.

    Args:
        source: Which people.
        of: Where those come from who are learnt from.
        learnt: Their crops.
        height: As for ``read``; so are ``width``, ``root`` and ``cache``.
        width: Columns of a crop.
        root: The dataset's folder.
        cache: Of decoded crops.

    Raises:
        ConfigError: Somebody is learnt from, or nobody can be found again or mistaken for another; or as ``read``.
        ValueError: As ``read``.
    """
    found = read(source, height, width, root=root, cache=cache)
    if len(np.unique(found.identity)) < 2:
        raise ConfigError("recipe: expected at least two people in [validation], found one, whom any network finds "
                          "again; take more of them, or leave [validation] out")
    if not searchable(Embeddings.of(np.ones((len(found), 1), np.float32), found)):
        cameras = np.unique(found.camera)
        raise ConfigError("recipe: expected people in [validation] whom a second camera finds again, found none "
                          f"(cameras {', '.join(map(str, cameras))}); add a camera that sees the same people")
    if type(of) is type(source) and not isinstance(of, Drawn):
        both = np.intersect1d(learnt.identity, found.identity)
        if len(both):
            raise ConfigError(f"recipe: expected other people in [validation] than in [train], found {len(both)} in "
                              f"both, such as {both[0]}; correct the dataset's split files")
    return found


def overlap(learnt: Source, others: Source) -> bool:
    """Whether somebody can be in both sets by what the two say, before anything is read."""
    if isinstance(learnt, Drawn) or isinstance(others, Drawn):
        return isinstance(learnt, Drawn) and isinstance(others, Drawn) and learnt.overlaps(others)
    if isinstance(learnt, Regdb) and isinstance(others, Regdb) and learnt.trial != others.trial:
        return True  # each trial halves everybody anew
    return type(learnt) is type(others) and (learnt == others or "trainval" in (learnt.part, others.part))


def everybody(learnt: Source, others: Source) -> tuple[Source, ...]:
    """What holds the people of a training and of its validation set: one source where the dataset has that part.

    Raises:
        ConfigError: They are no parts of one dataset.
    """
    if isinstance(learnt, Drawn) and isinstance(others, Drawn):
        return learnt, others
    if type(learnt) is not type(others) or isinstance(learnt, Drawn):
        raise ConfigError("recipe: expected [train] and [validation] of one dataset to make a final run of, found two; "
                          "write a recipe whose [train] has both")
    return (msgspec.structs.replace(learnt, part="trainval"),)


def together(sets: tuple[Crops, ...]) -> Crops:
    """Several sets as one."""
    if len(sets) == 1:
        return sets[0]
    return Crops(*(np.concatenate([getattr(crops, name) for crops in sets])
                   for name in ("images", "identity", "camera", "infrared")))
