"""Drawn people laid out as LLCM is: nine cameras, each seeing visible light by day and all but one infrared by night.

Training pictures lie in ``vis/0017/0017_c01_s100000_f1_vis.jpg`` and ``nir/...``, as ``idx/train_vis.txt`` and
``idx/train_nir.txt`` list them; test pictures in ``test_vis/cam1/0018/`` and ``test_nir/cam1/0018/``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cmnas_edge.embedding import Modality
from cmnas_edge.synthetic.crops import camera_of
from cmnas_edge.synthetic.files import Asked, Drawing
from cmnas_edge.synthetic.people import Person

__all__ = ["write_llcm"]

_BANDS: Final[tuple[tuple[str, Modality, tuple[int, ...]], ...]] = (
    ("vis", "visible", (1, 2, 3, 4, 5, 6, 7, 8, 9)),
    ("nir", "infrared", (1, 2, 4, 5, 6, 7, 8, 9)),  # the published code knows no infrared camera 3
)


def write_llcm(folder: Path, asked: Asked, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Draw a benchmark into a folder.

    Args:
        folder: Made if missing; what it holds under the same names is replaced.
        asked: LLCM has 713 people to learn from and 351 to test; it brings none to validate on, so those are
            among the ones to learn from.
        progress: Called with (pictures done, all) after each identity.

    Returns:
        How many pictures were written.

    Raises:
        ValueError: A count or size cannot be.
        OSError: The folder cannot be written.
    """
    asked.check()
    every = asked.people_count * asked.per_camera * sum(len(cameras) for _, _, cameras in _BANDS)
    drawing = Drawing(folder, asked, every, progress)
    learning = asked.train + asked.validation
    lines: dict[str, list[str]] = {band: [] for band, _, _ in _BANDS}
    for identity in range(1, asked.people_count + 1):
        person = Person.draw(asked.seed, identity)
        for band, modality, cameras in _BANDS:
            for number in cameras:
                inside = (f"{band}/{identity:04d}" if identity <= learning
                          else f"test_{band}/cam{number}/{identity:04d}")
                for k in range(asked.per_camera):
                    path = f"{inside}/{identity:04d}_c{number:02d}_s{100_000 + 250 * k}_f{1 + 25 * k}_{band}.jpg"
                    # By night nobody stands as by day: other crops of the same camera.
                    shifted = k + (asked.per_camera if modality == "infrared" else 0)
                    drawing.picture(path, person, camera_of(asked.seed, number, modality), shifted)
                    if identity <= learning:
                        lines[band].append(f"{path} {identity - 1}")
        drawing.told()
    for band, listed in lines.items():
        drawing.text(f"idx/train_{band}.txt", listed)
    drawing.text("idx/test_id.txt", [",".join(map(str, range(learning + 1, asked.people_count + 1)))])
    return drawing.finish("llcm")
