"""Drawn people laid out as RegDB is: one camera that sees both bands at once, ten random halves.

``Visible/17/male_front_v_00171_17.bmp`` and ``Thermal/17/male_front_t_00171_17.bmp`` are one moment; the words in
names only follow the form. ``idx/train_visible_1.txt`` to ``idx/test_thermal_10.txt`` hold lines of path and label.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cmnas_edge.embedding import Modality
from cmnas_edge.synthetic.crops import camera_of
from cmnas_edge.synthetic.draws import Draws, generator
from cmnas_edge.synthetic.files import Asked, Drawing
from cmnas_edge.synthetic.people import Person

__all__ = ["write_regdb"]

TRIALS: Final = 10
_BANDS: Final[tuple[tuple[str, Modality], ...]] = (("visible", "visible"), ("thermal", "infrared"))
_HALVES: Final = 8  # key of this stream; see draws.generator


def write_regdb(folder: Path, asked: Asked, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Draw a benchmark into a folder.

    Args:
        folder: Made if missing; what it holds under the same names is replaced.
        asked: RegDB has 412 people, 206 of them to test in each trial, and 10 pictures in each band; it brings no
            people to validate on, so those are among the ones to learn from.
        progress: Called with (pictures done, all) after each identity.

    Returns:
        How many pictures were written.

    Raises:
        ValueError: A count or size cannot be.
        OSError: The folder cannot be written.
    """
    asked.check()
    drawing = Drawing(folder, asked, 2 * asked.people_count * asked.per_camera, progress)
    for trial in range(1, TRIALS + 1):
        draws = Draws(generator(_HALVES, asked.seed, trial))
        shuffled = sorted(range(1, asked.people_count + 1), key=lambda _: draws.unit())
        for side, people in (("train", shuffled[asked.test:]), ("test", shuffled[:asked.test])):
            for band, _ in _BANDS:
                drawing.text(f"idx/{side}_{band}_{trial}.txt",
                             [f"{_path(band, person, k)} {label}" for label, person in enumerate(people)
                              for k in range(asked.per_camera)])
    for identity in range(1, asked.people_count + 1):
        person = Person.draw(asked.seed, identity)
        for band, modality in _BANDS:
            for k in range(asked.per_camera):
                drawing.picture(_path(band, identity, k), person, camera_of(asked.seed, 1, modality), k)
        drawing.told()
    return drawing.finish("regdb")


def _path(band: str, identity: int, k: int) -> str:
    side, half = ("front", "back")[k % 2], ("female", "male")[identity % 2]
    return f"{band.capitalize()}/{identity}/{half}_{side}_{band[0]}_{10 * identity + k:05d}_{identity}.bmp"
