"""SYSU-MM01: visible cameras 1, 2, 4, 5 and infrared cameras 3, 6 (Wu et al., ICCV 2017).

Pictures lie in ``cam1/0001/0001.jpg``; ``exp/train_id.txt``, ``val_id.txt`` and ``test_id.txt`` hold one line of
numbers with commas: 296, 99 and 96 people. What ``cmnas-edge synth crops`` draws has this layout too.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from cmnas_edge.errors import ConfigError
from train.data import matlab
from train.data.crops import I64
from train.data.layout import Count, Dataset, Row, identities, listed, pictures
from train.data.pictures import Pictures
from train.protocols.sysu import MODES

__all__ = ["PERMUTATIONS", "SYSU", "permutations"]

CAMERAS = (1, 2, 3, 4, 5, 6)
VISIBLE = MODES["all"]
INFRARED = tuple(camera for camera in CAMERAS if camera not in VISIBLE)
PERMUTATIONS = "exp/rand_perm_cam.mat"
"""Where in a dataset's folder they lie, if they do."""

_NAME = re.compile(r"[0-9]+\.jpe?g", re.IGNORECASE)
_LISTS = {"train": ("train",), "validation": ("val",), "trainval": ("train", "val"), "query": ("test",),
          "gallery": ("test",), "test": ("test",)}
_RUNS = 10


def read(root: Path, part: str, _: int = 1) -> Pictures:
    """One part, ordered by identity, camera and file name, as the galleries of its protocol are drawn from it.

    Args:
        root: Folder of the dataset.
        part: "train" (296 people), "validation" (99), "trainval" (395, what papers train on), "query" (infrared
            test pictures), "gallery" (visible ones: the pool a trial draws from) or "test" (both).

    Raises:
        ConfigError: A split file cannot be read, or somebody in it has no picture.
    """
    people = sorted({person for name in _LISTS[part] for person in identities(root / "exp" / f"{name}_id.txt")})
    cameras = {"query": INFRARED, "gallery": VISIBLE}.get(part, CAMERAS)
    rows: list[Row] = []
    gone: list[int] = []
    for person in people:
        before = len(rows)
        for camera in CAMERAS:
            inside = f"cam{camera}/{person:04d}"
            names = listed(root / inside, _NAME, "0001.jpg")
            rows += [Row(f"{inside}/{name}", person, camera, camera in INFRARED) for name, _ in names]
        if len(rows) == before:
            gone.append(person)
    if gone:
        raise ConfigError(f"{root}: expected pictures of all {len(people)} identities of the {part} part in cam1 to "
                          f"cam6, as exp lists them, found none of {len(gone)}, the first {gone[0]:04d}; extract the "
                          "archive again")
    return pictures(root, (row for row in rows if row.camera in cameras), f"of the {part} part")


def permutations(root: Path) -> dict[tuple[int, int], I64]:
    """The official order in which galleries are drawn.

    ``exp/rand_perm_cam.mat`` comes with the authors' evaluation, not with the pictures: six cells, one a camera, each a
    cell for every identity number from 1, each 10 runs of one-based positions among that person's pictures under
    that camera. Run r of a trial takes the first 1 (single shot) or 10 (multi shot) of row r.

    Args:
        root: Folder of the dataset.

    Returns:
        For (camera, identity) that has any, an array of shape ``(10, n)``: each row holds 1 to n once.

    Raises:
        ConfigError: The file is not there, or holds something else.
    """
    path = root / PERMUTATIONS
    if not path.is_file():
        raise ConfigError(f"{path}: expected the official permutations, found no file; take rand_perm_cam.mat from "
                          "evaluation/data_split of https://github.com/wuancong/SYSU-MM01")
    try:
        cameras = matlab.cells(path, "rand_perm_cam")
        if len(cameras) != len(CAMERAS) or not all(isinstance(people, list) for people in cameras):
            raise ValueError(f"{len(cameras)} cells, or none within them")
        return {(camera, identity): _runs(runs) for camera, people in zip(CAMERAS, cameras, strict=True)
                for identity, runs in enumerate(people, start=1) if isinstance(runs, list) or runs.size}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected rand_perm_cam, six cells of a cell for every identity of 10 x n "
                          f"permutations, found something else ({error}); take the file again") from error


def _runs(runs: matlab.Cell) -> I64:
    if not isinstance(runs, np.ndarray) or runs.ndim != 2 or len(runs) != _RUNS:
        raise ValueError(f"a cell of {len(runs)} rows")
    ordered = np.sort(runs, 1)
    if (ordered != np.arange(1, runs.shape[1] + 1)).any():
        raise ValueError("a row that is no permutation of 1 to n")
    return runs.astype(np.int64)


def _counts(root: Path) -> list[Count]:
    parts = {part: read(root, part) for part in ("train", "validation", "trainval", "query", "gallery")}
    learnt, gallery = parts["trainval"], parts["gallery"]
    indoor = gallery.take(np.isin(gallery.camera, MODES["indoor"]))
    people = {part: len(np.unique(found.identity)) for part, found in parts.items()}
    return [
        Count("identities to train", 296, people["train"]),
        Count("identities to validate", 99, people["validation"]),
        Count("both together", 395, people["trainval"]),
        Count("identities to test", 96, people["query"]),
        Count("visible training pictures", 22_258, int((~learnt.infrared).sum())),
        Count("infrared training pictures", 11_909, int(learnt.infrared.sum())),
        Count("queries", 3_803, len(parts["query"])),
        Count("gallery, all search, single shot", 301, _drawn(gallery, 1)),
        Count("gallery, all search, multi shot", 3_010, _drawn(gallery, 10)),
        Count("gallery, indoor search, single shot", 112, _drawn(indoor, 1)),
        Count("gallery, indoor search, multi shot", 1_120, _drawn(indoor, 10)),
    ]


def _drawn(pool: Pictures, shots: int) -> int:
    """How many pictures a gallery of so many shots has."""
    held = np.unique(np.stack([pool.identity, pool.camera], 1), axis=0, return_counts=True)[1]
    return int(np.minimum(held, shots).sum())


def _faults(root: Path) -> list[str]:
    """Whether the official permutations, where they lie, are of these pictures."""
    if not (root / PERMUTATIONS).exists():
        return []
    try:
        runs = permutations(root)
    except ConfigError as error:
        return [str(error)]
    pool = read(root, "gallery")
    held = np.unique(np.stack([pool.camera, pool.identity], 1), axis=0, return_counts=True)
    odd = [(camera, person, count) for (camera, person), count in zip(held[0].tolist(), held[1].tolist(), strict=True)
           if (camera, person) not in runs or runs[camera, person].shape[1] != count]
    return [f"{root / PERMUTATIONS}: expected an order of all {count} pictures in cam{camera}/{person:04d}, found "
            f"{runs[camera, person].shape[1] if (camera, person) in runs else 0} ({len(odd)} such); take the file again"
            for camera, person, count in odd[:1]]


SYSU = Dataset(
    title="SYSU-MM01",
    ask="https://github.com/wuancong/SYSU-MM01 (an agreement, signed and mailed to the authors)",
    tree="exp/{train,val,test}_id.txt and cam1 to cam6 with cam1/0001/0001.jpg",
    marks=("exp/train_id.txt", "exp/val_id.txt", "exp/test_id.txt", *(f"cam{camera}" for camera in CAMERAS)),
    read=read,
    counts=_counts,
    faults=_faults,
)
