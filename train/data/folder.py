"""A folder of one's own people: ``people/17/entrance/visible/000051.jpg``.

Crops of a site's own footage (``python -m train data from-video``) become this once somebody says who is who: a
numbered folder for each person, in it one for each camera, in that ``visible`` or ``infrared``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from cmnas_edge.embedding import MODALITIES
from cmnas_edge.errors import ConfigError
from train.data.layout import Count, Dataset, Row, carved, listed, only, pictures, without
from train.data.pictures import Pictures

__all__ = ["FOLDER"]

_PERSON = re.compile(r"\d+")
_PICTURE = re.compile(r".+")
_CARVED = (1, 4)  # people that validate


def read(root: Path, part: str, _: int = 1) -> Pictures:
    """One part, ordered by person, camera, modality (visible first) and file name.

    Args:
        root: Holds ``people``.
        part: "trainval" (everybody), "validation" (a quarter of them, always the same) or "train" (the others).

    Raises:
        ConfigError: There is nobody, or a folder where a person's is expected has no number.
    """
    people: list[tuple[int, Path]] = []
    for folder in _folders(root / "people"):
        if not _PERSON.fullmatch(folder.name):
            raise ConfigError(f"{folder}: expected a folder named by a person's number, found {folder.name!r}; rename "
                              "it")
        people.append((int(folder.name), folder))
    cameras = sorted({camera.name for _, folder in people for camera in _folders(folder)})
    rows = [Row(f"people/{folder.name}/{camera}/{modality}/{name}", person, number, modality == "infrared")
            for person, folder in sorted(people) for number, camera in enumerate(cameras, start=1)
            for modality in MODALITIES
            for name, _ in listed(folder / camera / modality, _PICTURE, "000051.jpg")]
    both = pictures(root, rows, "as people/PERSON/CAMERA/visible|infrared/PICTURE.jpg")
    if part == "trainval":
        return both
    kept = carved(both.identity.tolist(), *_CARVED)
    return only(both, kept, "to validate") if part == "validation" else without(both, kept, "to train")


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder that can be read, found none ({error.strerror}); change its "
                          "permissions") from error


def _counts(root: Path) -> list[Count]:
    found = read(root, "trainval")
    return [Count("identities", None, len(np.unique(found.identity))),
            Count("cameras", None, len(np.unique(found.camera))),
            Count("visible pictures", None, int((~found.infrared).sum())),
            Count("infrared pictures", None, int(found.infrared.sum()))]


FOLDER = Dataset(
    title="a folder of one's own",
    ask="make it from your recordings with: python -m train data from-video",
    tree="people/17/entrance/visible/000051.jpg (person's number, camera, modality)",
    marks=("people",),
    parts=("train", "validation", "trainval"),
    read=read,
    counts=_counts,
)
