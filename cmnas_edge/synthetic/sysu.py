"""Crops on disk, laid out as SYSU-MM01 is, so that what reads that benchmark reads drawn people.

``cam3/0017/0002.jpg`` is the second picture of person 17 under camera 3, and equals crop k = 1 of identity 17 in
`crops.draw_set`. ``exp/train_id.txt``, ``val_id.txt``, ``test_id.txt`` and ``available_id.txt`` each hold one line
of numbers with commas. ``drawn.json`` says how to draw it all again, with a digest of every picture.
``exp/rand_perm_cam.mat``, on demand, is what the benchmark's authors draw galleries with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from cmnas_edge.synthetic import matlab
from cmnas_edge.synthetic.crops import CAMERAS, camera_of
from cmnas_edge.synthetic.draws import Draws, generator
from cmnas_edge.synthetic.files import Asked, Drawing
from cmnas_edge.synthetic.people import Person

_GALLERIES: Final = 7  # key of this stream; see draws.generator
_RUNS: Final = 10


def write_sysu(
    folder: Path,
    *,
    train: int,
    validation: int,
    test: int,
    per_camera: int,
    height: int = 256,
    width: int = 128,
    seed: int = 0,
    permutations: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Draw a benchmark into a folder.

    Args:
        folder: Made if missing; what it holds under the same names is replaced.
        train: Identities to learn from, numbered from 1; SYSU-MM01 has 296.
        validation: Identities after those; SYSU-MM01 has 99.
        test: Identities after those; SYSU-MM01 has 96.
        per_camera: Pictures of each identity under each of six cameras.
        height: Of a picture, pixels.
        width: Of a picture, pixels.
        seed: Of the world.
        permutations: Write ``exp/rand_perm_cam.mat`` too.
        progress: Called with (pictures done, all) after each identity.

    Returns:
        How many pictures were written.

    Raises:
        ValueError: A count or size cannot be.
        OSError: The folder cannot be written.
    """
    asked = Asked(train, validation, test, per_camera, height, width, seed)
    asked.check()
    drawing = Drawing(folder, asked, asked.people_count * len(CAMERAS) * per_camera, progress)
    ends = (train, train + validation, asked.people_count)
    parts = {"train": (1, ends[0]), "val": (ends[0] + 1, ends[1]), "test": (ends[1] + 1, ends[2]),
             "available": (1, ends[2])}
    for name, (first, last) in parts.items():
        drawing.text(f"exp/{name}_id.txt", [",".join(map(str, range(first, last + 1)))])
    if permutations:
        matlab.write_cells(folder / "exp" / "rand_perm_cam.mat", "rand_perm_cam", _permutations(asked))
    for identity in range(1, asked.people_count + 1):
        person = Person.draw(seed, identity)
        for number in CAMERAS:
            for k in range(per_camera):
                drawing.picture(f"cam{number}/{identity:04d}/{k + 1:04d}.jpg", person, camera_of(seed, number), k)
        drawing.told()
    return drawing.finish("sysu")


def _permutations(asked: Asked) -> list[matlab.Cell]:
    """For each camera and identity, ten orders of its pictures, counted from one."""
    cells: list[matlab.Cell] = []
    for number in CAMERAS:
        people: list[matlab.Cell] = []
        for identity in range(1, asked.people_count + 1):
            draws = Draws(generator(_GALLERIES, asked.seed, identity, number))
            runs = [sorted(range(1, asked.per_camera + 1), key=lambda _: draws.unit()) for _ in range(_RUNS)]
            people.append(np.array(runs, np.float64))
        cells.append(people)
    return cells
