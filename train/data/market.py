"""Market-1501: six visible cameras, no infrared (Zheng et al., ICCV 2015).

Names such as ``0002_c1s1_000451_03.jpg`` say who and which camera. In the gallery, identity 0 is a distractor
(nobody asked for) and -1 is junk, which a protocol leaves out.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from train.data.layout import NUMBER, Count, Dataset, Row, carved, listed, only, pictures, without
from train.data.pictures import Pictures
from train.protocols.market import DISTRACTOR, JUNK

__all__ = ["MARKET"]

_NAME = re.compile(rf"(-1|{NUMBER})_c({NUMBER})s[0-9]+_[0-9]+_[0-9]+(?:\.jpg)?\.jpg", re.IGNORECASE)
_FOLDERS = {"query": ("query",), "gallery": ("bounding_box_test",), "test": ("query", "bounding_box_test")}
_CARVED = (151, 751)  # people of the training set that validate; 600 are left


def read(root: Path, part: str, _: int = 1) -> Pictures:
    """One part, ordered by file name.

    Args:
        root: Folder of the dataset.
        part: "trainval" (751 people), "validation" (151 of them, always the same), "train" (the others), "query",
            "gallery" (750 people, distractors and junk) or "test" (queries, then gallery).

    Raises:
        ConfigError: A folder holds nothing, or a name of another form.
    """
    rows = []
    for folder in _FOLDERS.get(part, ("bounding_box_train",)):
        found = listed(root / folder, _NAME, "0002_c1s1_000451_03.jpg")
        rows += [Row(f"{folder}/{name}", int(match[1]), int(match[2]), False) for name, match in found]
    both = pictures(root, rows, f"of the {part} part")
    if part not in ("train", "validation"):
        return both
    kept = carved(both.identity.tolist(), *_CARVED)
    return only(both, kept, "to validate") if part == "validation" else without(both, kept, "to train")


def _counts(root: Path) -> list[Count]:
    learnt, query, gallery = (read(root, part) for part in ("trainval", "query", "gallery"))
    return [
        Count("identities to train", 751, len(np.unique(learnt.identity))),
        Count("identities to test", 750, len(np.unique(query.identity))),
        Count("training pictures", 12_936, len(learnt)),
        Count("queries", 3_368, len(query)),
        Count("gallery, with junk", 19_732, len(gallery)),
        Count("gallery, junk left out", 15_913, int((gallery.identity != JUNK).sum())),
    ]


def _faults(root: Path) -> list[str]:
    """Queries that ask for nobody."""
    query = read(root, "query")
    nobody = query.take(np.isin(query.identity, (JUNK, DISTRACTOR)))
    if not len(nobody):
        return []
    return [(f"{root / nobody.paths[0]}: expected queries that ask for somebody, found {len(nobody)} of identity "
             f"{JUNK} or {DISTRACTOR}, junk and distractors of the gallery; extract the archive again")]


MARKET = Dataset(
    title="Market-1501",
    ask="https://zheng-lab-anu.github.io/Project/project_reid.html",
    tree="bounding_box_train, query and bounding_box_test with 0002_c1s1_000451_03.jpg",
    marks=("bounding_box_train", "query", "bounding_box_test"),
    read=read,
    counts=_counts,
    nobody=frozenset({JUNK, DISTRACTOR}),
    faults=_faults,
)
