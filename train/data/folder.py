"""A folder of one's own people: ``people/17/entrance/visible/000051.jpg``.

Crops of a site's own footage (``python -m train data from-video``) become this once somebody says who is who: a
numbered folder for each person, in it one for each camera, in that ``visible`` or ``infrared``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cmnas_edge.embedding import MODALITIES
from cmnas_edge.errors import ConfigError
from train.data.layout import NUMBER, SUFFIXES, Count, Dataset, Row, carved, listed, only, pictures, without
from train.data.pictures import Pictures

__all__ = ["FOLDER"]

_PERSON = re.compile(NUMBER)
_PICTURE = re.compile(r".+")
_CARVED = (1, 4)  # people that validate
_PEOPLE, _CAMERAS, _BANDS, _PICTURES = (
    "folders of people", "folders of cameras", " and ".join(f"a folder {modality}" for modality in MODALITIES),
    "pictures")


def read(root: Path, part: str, _: int = 1) -> Pictures:
    """One part, ordered by person, camera, modality (visible first) and file name.

    Args:
        root: Holds ``people``.
        part: "trainval" (everybody), "validation" (a quarter of them, always the same) or "train" (the others).

    Raises:
        ConfigError: There is nobody, or a folder where a person's is expected has no number, or another one's.
    """
    people: dict[int, Path] = {}
    for folder in _folders(root / "people"):
        if not _PERSON.fullmatch(folder.name):
            raise ConfigError(f"{folder}: expected a folder named by a person's number, found {folder.name!r}; rename "
                              "it")
        before = people.setdefault(int(folder.name), folder)
        if before != folder:
            raise ConfigError(f"{folder}: expected one folder for each person, found {before.name!r} beside it, the "
                              "same number; rename one, or put both together")
    cameras = sorted({camera.name for folder in people.values() for camera in _folders(folder)})
    rows = [Row(f"people/{folder.name}/{camera}/{modality}/{name}", person, number, modality == "infrared")
            for person, folder in sorted(people.items()) for number, camera in enumerate(cameras, start=1)
            for modality in MODALITIES
            for name, _ in listed(folder / camera / modality, _PICTURE, "000051.jpg")]
    strays = [] if rows else _faults(root)
    if strays:
        raise ConfigError(strays[0])
    both = pictures(root, rows, "as people/PERSON/CAMERA/visible|infrared/PICTURE.jpg")
    if part == "trainval":
        return both
    kept = carved(both.identity.tolist(), *_CARVED)
    return only(both, kept, "to validate") if part == "validation" else without(both, kept, "to train")


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _counts(root: Path) -> list[Count]:
    found = read(root, "trainval")
    return [Count("identities", None, len(np.unique(found.identity))),
            Count("cameras", None, len(np.unique(found.camera))),
            Count("visible pictures", None, int((~found.infrared).sum())),
            Count("infrared pictures", None, int(found.infrared.sum()))]


def _faults(root: Path) -> list[str]:
    """What lies where nothing reads it, a sentence for each folder."""
    wrong = []
    for place, expected in _places(root / "people"):
        odd = [entry.name for entry in _entries(place) if not _belongs(entry, expected)]
        if odd:
            wrong.append(f"{place}: expected {expected}, found {', '.join(map(repr, odd))}; rename or move "
                         f"{'it' if len(odd) == 1 else 'them'}")
    return wrong


def _places(people: Path) -> Iterator[tuple[Path, str]]:
    """Every folder of the layout, with what it holds."""
    yield people, _PEOPLE
    for person in _folders(people):
        yield person, _CAMERAS
        for camera in _folders(person):
            yield camera, _BANDS
            yield from ((camera / modality, _PICTURES) for modality in MODALITIES if (camera / modality).is_dir())


def _belongs(entry: Path, expected: str) -> bool:
    if expected == _PICTURES:
        return entry.is_file() and entry.name.lower().endswith(SUFFIXES)
    return entry.is_dir() and (expected != _BANDS or entry.name in MODALITIES)


def _entries(folder: Path) -> list[Path]:
    """What is there, without hidden files and those that file managers leave."""
    try:
        return sorted(path for path in folder.iterdir()
                      if not path.name.startswith(".") and path.name.lower() not in ("thumbs.db", "desktop.ini"))
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder that can be read, found none ({error.strerror}); change its "
                          "permissions") from error


FOLDER = Dataset(
    title="a folder of one's own",
    ask="make it from your recordings with: python -m train data from-video",
    tree="people/17/entrance/visible/000051.jpg (person's number, camera, modality)",
    marks=("people",),
    parts=("train", "validation", "trainval"),
    read=read,
    counts=_counts,
    faults=_faults,
)
