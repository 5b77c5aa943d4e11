"""Drawn people laid out as Market-1501 is: six visible cameras, and a gallery with distractors and junk.

``bounding_box_test/0017_c2s1_000051_03.jpg`` is somebody, ``0000_...`` somebody nobody asks for, and ``-1_...`` a
box around half of a person.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from cmnas_edge.synthetic.crops import camera_of, crop_rng, draw_crop
from cmnas_edge.synthetic.files import MOST, Asked, Drawing
from cmnas_edge.synthetic.people import Person

__all__ = ["write_market"]

_CAMERAS: Final = (1, 2, 3, 4, 5, 6)


def write_market(folder: Path, asked: Asked, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Draw a benchmark into a folder.

    Args:
        folder: Made if missing; what it holds under the same names is replaced.
        asked: Market-1501 has 751 people to learn from and 750 to test; it brings none to validate on, so those are
            among the ones to learn from. Of each to test there is one query more under every camera; for each to
            test the gallery holds one distractor and one piece of junk.
        progress: Called with (pictures done, all) after each identity.

    Returns:
        How many pictures were written.

    Raises:
        ValueError: A count or size cannot be.
        OSError: The folder cannot be written.
    """
    asked.check()
    per_person = len(_CAMERAS) * asked.per_camera
    drawing = Drawing(folder, asked, asked.people_count * per_person + asked.test * (len(_CAMERAS) + 2), progress)
    learning = asked.train + asked.validation
    for inside in ("bounding_box_train", "query", "bounding_box_test"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    for identity in range(1, asked.people_count + 1):
        person = Person.draw(asked.seed, identity)
        tested = identity > learning
        for number in _CAMERAS:
            camera = camera_of(asked.seed, number, "visible")
            for k in range(asked.per_camera):
                inside = "bounding_box_test" if tested else "bounding_box_train"
                drawing.picture(f"{inside}/{_name(f'{identity:04d}', number, identity, k)}", person, camera, k)
            if tested:  # boxes of queries are drawn by hand and numbered 0
                drawing.picture(f"query/{_name(f'{identity:04d}', number, identity, asked.per_camera, 0)}", person,
                                camera, asked.per_camera)
        if tested:
            _nobody(drawing, asked, identity, person)
        drawing.told()
    return drawing.finish("market")


def _nobody(drawing: Drawing, asked: Asked, identity: int, person: Person) -> None:
    """A distractor, who is nobody of the set, and junk: the lower half of somebody."""
    number = _CAMERAS[identity % len(_CAMERAS)]
    camera = camera_of(asked.seed, number, "visible")
    stranger = Person.draw(asked.seed, MOST + identity)
    drawing.picture(f"bounding_box_test/{_name('0000', number, identity, 0)}", stranger, camera, 0)
    rng = crop_rng(asked.seed, identity, number, asked.per_camera + 1)
    whole = draw_crop(person, camera, rng, asked.height, asked.width)
    half = cv2.resize(whole[asked.height // 2:], (asked.width, asked.height))
    drawing.keep(f"bounding_box_test/{_name('-1', number, identity, 0)}", np.asarray(half, np.uint8))


def _name(who: str, camera: int, identity: int, k: int, box: int | None = None) -> str:
    return f"{who}_c{camera}s1_{25 * k + 51 + identity:06d}_{k + 1 if box is None else box:02d}.jpg"
