"""Every dataset that can be read, and which one lies in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from cmnas_edge.errors import ConfigError
from train.data.folder import FOLDER
from train.data.layout import Dataset, readable
from train.data.llcm import LLCM
from train.data.market import MARKET
from train.data.pictures import Pictures
from train.data.regdb import REGDB
from train.data.sysu import SYSU

__all__ = ["DATASETS", "DRAWN", "drawn", "read", "recognise", "world"]


class _Made(msgspec.Struct):
    seed: int


# A line above that imports it makes a dataset known, under its name in lower case. Drawn people lie on disk in one of
# these layouts, with a file DRAWN beside them.
DATASETS: Final[Mapping[str, Dataset]] = {
    name.lower(): found for name, found in globals().items() if isinstance(found, Dataset)}
DRAWN: Final = "drawn.json"


def recognise(root: Path) -> str:
    """Which of ``DATASETS`` lies in a folder.

    Raises:
        ConfigError: None does. The message says what the nearest one lacks, or where one lies instead, or what
            folders must look like and where to ask for them.
    """
    with readable(root):
        return _recognised(root)


def _recognised(root: Path) -> str:
    if not root.is_dir():
        what = "a file" if root.exists() else "nothing"
        raise ConfigError(f"{root}: expected the folder of a dataset, found {what}; {_known()}")
    if (root / "from_video.json").is_file():
        raise ConfigError(f"{root}: expected the folder of a dataset, found tracklets cut by from-video, and nobody "
                          f"has said who is who; put each person's pictures into {FOLDER.tree} below another folder, "
                          "and give that one")
    lacking = {name: dataset.missing(root) for name, dataset in DATASETS.items()}
    for name, missing in lacking.items():
        if not missing:
            return name
    nearest = min(lacking, key=lambda name: len(lacking[name]) / len(DATASETS[name].marks))
    if len(lacking[nearest]) < len(DATASETS[nearest].marks):
        raise _incomplete(root, DATASETS[nearest], lacking[nearest])
    for near in (*_folders(root), root.parent):
        title = _lying(near)
        if title is not None:
            raise ConfigError(f"{root}: expected the folder of a dataset, found {title} in {near}; give that folder")
    raise ConfigError(f"{root}: expected the folder of a dataset, found none of their files; {_known()}")


def read(root: Path, part: str, *, name: str | None = None, trial: int = 1) -> Pictures:
    """Read a part of a dataset.

    Args:
        root: Its folder.
        part: "train" and "validation" to choose on, "trainval" (both together: the whole official training set),
            "query" and "gallery" (the pool galleries are drawn from), "test" (both).
        name: One of ``DATASETS``; told from the folder if left out.
        trial: Which split, from 1; only RegDB has more than one.

    Returns:
        At least one picture, in the order that the module of the dataset states.

    Raises:
        ConfigError: The dataset is not there or not whole, or has no such part or trial.
    """
    with readable(root):
        dataset = _named(root, name)
    if part not in dataset.parts:
        raise ConfigError(f"{dataset.title}: expected a part {_either(dataset.parts)}, found {part!r}; change it")
    if not 1 <= trial <= dataset.trials:
        raise ConfigError(f"{dataset.title}: expected a trial from 1 to {dataset.trials}, found {trial}; change it")
    with readable(root):
        return dataset.read(root, part, trial)


def drawn(root: Path) -> bool:
    """Whether the people in a folder are drawn ones, in however small a number."""
    return (root / DRAWN).is_file()


def world(root: Path) -> int | None:
    """Seed of the world that the people in a folder are drawn from; None if they are photographed.

    In each of the layouts the identity of a drawn person is the number that the person has there.

    Raises:
        ConfigError: What says how they were drawn cannot be read.
    """
    if not drawn(root):
        return None
    try:
        return msgspec.json.decode((root / DRAWN).read_bytes(), type=_Made).seed
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{root / DRAWN}: expected how these people were drawn, found something else ({error}); draw "
                          "them again with cmnas-edge synth crops") from error


def _named(root: Path, name: str | None) -> Dataset:
    if name is None:
        return DATASETS[recognise(root)]
    if name not in DATASETS:
        raise ConfigError(f"dataset: expected {_either(tuple(DATASETS))}, found {name!r}; change it")
    dataset = DATASETS[name]
    missing = dataset.missing(root)
    if missing:
        raise _incomplete(root, dataset, missing)
    return dataset


def _incomplete(root: Path, dataset: Dataset, missing: list[str]) -> ConfigError:
    some = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
    whole = len(missing) == len(dataset.marks)
    then = "ask for it" if whole else "extract the archive again, or ask for it"
    return ConfigError(f"{root}: expected {dataset.title}, a folder with {dataset.tree}, found no {some}; {then}: "
                       f"{dataset.ask}")


def _known() -> str:
    return "give one of: " + "; ".join(f"{dataset.title}, which holds {dataset.tree} (ask: {dataset.ask})"
                                       for dataset in DATASETS.values())


def _either(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"


def _lying(near: Path) -> str | None:
    """What lies in a folder beside or below the one that was named, if that can be told."""
    with suppress(OSError):
        return next((dataset.title for dataset in DATASETS.values() if not dataset.missing(near)), None)
    return None


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return []
