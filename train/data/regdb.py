"""RegDB: 412 people, ten visible and ten thermal pictures of each (Nguyen et al., Sensors 2017).

``idx/train_visible_1.txt`` to ``idx/test_thermal_10.txt`` split them in halves ten times; their lines read
``Visible/285/male_back_v_05528_285.bmp 0``. A model is trained for each trial, and figures are means of ten.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train.data.layout import Count, Dataset, Row, by_folder, carved, labels, only, pictures, require, without
from train.data.pictures import Pictures

__all__ = ["REGDB"]

TRIALS = 10
VISIBLE_CAMERA, THERMAL_CAMERA = 1, 2
_CARVED = (50, 206)  # people of a trial's training half that validate


def read(root: Path, part: str, trial: int = 1) -> Pictures:
    """One part of one trial, in the order of the split files, visible before thermal.

    Identities are the numbers of folders, not the labels of the split files, which start at 0 on both sides.

    Args:
        root: Folder of the dataset.
        part: "trainval" (the trial's 206 training people), "validation" (50 of them, always the same 50), "train"
            (the others), "query" (visible test pictures), "gallery" (thermal ones) or "test" (both; take it for the
            other direction).
        trial: 1 to 10.

    Raises:
        ConfigError: A split file cannot be read, or a picture is not there.
    """
    side = "test" if part in ("query", "gallery", "test") else "train"
    rows: list[Row] = []
    folder_of: dict[int, int] = {}
    for infrared, band in enumerate(("visible", "thermal")):
        source = root / "idx" / f"{side}_{band}_{trial}.txt"
        found = labels(source)
        people = by_folder(source, found, folder_of)
        require(root, source, found)
        camera = THERMAL_CAMERA if infrared else VISIBLE_CAMERA
        rows += [Row(label.path, person, camera, bool(infrared)) for label, person in zip(found, people, strict=True)]
    both = pictures(root, rows, f"of the {side} part of trial {trial}")
    what = f"of the {part} part of trial {trial}"
    if part in ("train", "validation"):
        kept = carved(both.identity.tolist(), *_CARVED)
        return only(both, kept, what) if part == "validation" else without(both, kept, what)
    return both if part in ("trainval", "test") else both.take(both.infrared == (part == "gallery"))


def _counts(root: Path) -> list[Count]:
    rows: dict[str, list[Count]] = {}
    for trial in range(1, TRIALS + 1):
        for side, part in (("train", "trainval"), ("test", "test")):
            found = read(root, part, trial)
            visible = int((~found.infrared).sum())
            for what, published, count in ((f"identities to {side}", 206, len(np.unique(found.identity))),
                                           (f"visible pictures to {side}", 2_060, visible),
                                           (f"thermal pictures to {side}", 2_060, len(found) - visible)):
                rows.setdefault(what, []).append(Count(f"{what}, trial {trial}", published, count))
    # One line where the ten trials agree, as they should.
    return [row for what, each in rows.items() for row in
            ([Count(f"{what}, each of {TRIALS} trials", each[0].published, each[0].found)]
             if len({count.found for count in each}) == 1 else each)]


REGDB = Dataset(
    title="RegDB",
    ask="Dongguk University (DBPerson-Recog-DB1, http://dm.dongguk.edu/link.html; where that is down, mail the authors "
        "of doi.org/10.3390/s17030605)",
    tree="idx/{train,test}_{visible,thermal}_{1..10}.txt, Visible/285/male_back_v_05528_285.bmp and Thermal likewise",
    marks=("Visible", "Thermal", *(f"idx/{side}_{band}_{trial}.txt" for trial in range(1, TRIALS + 1)
                                   for side in ("train", "test") for band in ("visible", "thermal"))),
    read=read,
    counts=_counts,
    trials=TRIALS,
)
