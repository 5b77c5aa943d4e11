"""LLCM: 1,064 people under nine cameras by day and night (Zhang and Wang, CVPR 2023).

``idx/train_vis.txt`` and ``idx/train_nir.txt`` list training pictures with labels, such as
``nir/0001/0001_c01_s185535_f7010_nir.jpg 0``; test pictures of the people in ``idx/test_id.txt`` lie in
``test_vis/cam1/0004/`` and ``test_nir/cam1/0004/``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from cmnas_edge.errors import ConfigError
from train.data.layout import (
    NUMBER,
    Count,
    Dataset,
    Row,
    by_folder,
    carved,
    identities,
    labels,
    listed,
    only,
    pictures,
    require,
    without,
)
from train.data.pictures import Pictures

__all__ = ["LLCM"]

_CARVED = (178, 713)  # people of the training set that validate: a quarter, as in SYSU-MM01
_CAMERA = re.compile(rf"cam({NUMBER})")
_CAMERA_IN_NAME = re.compile(rf"(?:^|_)c({NUMBER})(?=_)")
_PICTURE = re.compile(r".+")


def read(root: Path, part: str, _: int = 1) -> Pictures:
    """One part.

    Args:
        root: Folder of the dataset.
        part: "trainval" (713 people, in the order of the split files, visible first), "validation" (178 of them, always
            the same), "train" (the others), "query" (infrared test pictures), "gallery" (visible ones: the pool a
            trial draws from) or "test" (both; take it for the other direction). Test parts are ordered by identity,
            camera and file name, visible first.

    Raises:
        ConfigError: A split file cannot be read, a picture is not there, or somebody to test has none.
    """
    if part in ("query", "gallery", "test"):
        both = _tested(root)
        return both if part == "test" else both.take(both.infrared == (part == "query"))
    both = _learnt(root)
    if part == "trainval":
        return both
    kept = carved(both.identity.tolist(), *_CARVED)
    return only(both, kept, "to validate") if part == "validation" else without(both, kept, "to train")


def _learnt(root: Path) -> Pictures:
    rows: list[Row] = []
    folder_of: dict[int, int] = {}
    for infrared, name in enumerate(("train_vis.txt", "train_nir.txt")):
        source = root / "idx" / name
        found = labels(source)
        people = by_folder(source, found, folder_of)
        require(root, source, found)
        rows += [Row(label.path, person, _camera(label.path), bool(infrared))
                 for label, person in zip(found, people, strict=True)]
    return pictures(root, rows, "to train")


def _camera(path: str) -> int:
    """The camera a training picture's name tells, 0 if it does not."""
    told = _CAMERA_IN_NAME.search(path.rpartition("/")[2]) or _CAMERA.search(path)
    return int(told[1]) if told else 0


def _tested(root: Path) -> Pictures:
    people = identities(root / "idx" / "test_id.txt")
    rows: list[Row] = []
    for infrared, side in enumerate(("test_vis", "test_nir")):
        cameras = sorted((int(match[1]), folder.name) for folder in (root / side).glob("cam*")
                         if (match := _CAMERA.fullmatch(folder.name)))
        for person in people:
            for camera, name in cameras:
                inside = f"{side}/{name}/{person:04d}"
                rows += [Row(f"{inside}/{picture}", person, camera, bool(infrared))
                         for picture, _ in listed(root / inside, _PICTURE, "0004_c01_s1_f1_vis.jpg")]
    seen = {row.identity for row in rows}
    gone = [person for person in people if person not in seen]
    if gone:
        raise ConfigError(f"{root}: expected pictures of all {len(people)} identities of idx/test_id.txt in "
                          f"test_vis or test_nir, found none of {len(gone)}, the first {gone[0]:04d}; extract the "
                          "archive again")
    return pictures(root, rows, "to test")


def _counts(root: Path) -> list[Count]:
    learnt, tested = _learnt(root), _tested(root)
    return [
        Count("identities to train", 713, len(np.unique(learnt.identity))),
        Count("identities to test", 351, len(np.unique(tested.identity))),
        Count("visible training pictures", 16_946, int((~learnt.infrared).sum())),
        Count("infrared training pictures", 13_975, int(learnt.infrared.sum())),
        Count("visible test pictures", 8_680, int((~tested.infrared).sum())),
        Count("infrared test pictures", 7_166, int(tested.infrared.sum())),
    ]


LLCM = Dataset(
    title="LLCM",
    ask="https://github.com/ZYK100/LLCM (an agreement, signed and mailed to the authors)",
    tree="idx/train_vis.txt, idx/train_nir.txt, idx/test_id.txt, what they list (nir/0001/0001_c01_..._nir.jpg), "
         "test_vis/cam1/0004/ and test_nir likewise",
    marks=("idx/train_vis.txt", "idx/train_nir.txt", "idx/test_id.txt", "test_vis", "test_nir"),
    read=read,
    counts=_counts,
)
