"""Crops on disk, laid out as SYSU-MM01 is, so that what reads that benchmark reads drawn people.

``cam3/0017/0002.jpg`` is the second picture of person 17 under camera 3, and equals crop k = 1 of identity 17 in
`crops.draw_set`. ``exp/train_id.txt``, ``val_id.txt``, ``test_id.txt`` and ``available_id.txt`` each hold one line
of numbers with commas. ``drawn.json`` says how to draw it all again, with a digest of every picture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.synthetic.crops import CAMERAS, camera_of, check_size, crop_rng, draw_crop
from cmnas_edge.synthetic.people import Person

U8 = npt.NDArray[np.uint8]

JPEG_QUALITY: Final = 95
_MAX_IDENTITY: Final = 9999  # names have four digits


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
        progress: Called with (pictures done, all) after each identity.

    Returns:
        How many pictures were written.

    Raises:
        ValueError: A count or size cannot be.
        OSError: The folder cannot be written.
    """
    check_size(height, width)
    count = train + validation + test
    if min(train, validation, test) < 0 or not 1 <= count <= _MAX_IDENTITY:
        raise ValueError(
            f"crops: expected 1 to {_MAX_IDENTITY} identities, none of the parts negative, "
            f"found {train} + {validation} + {test}"
        )
    if not 1 <= per_camera <= _MAX_IDENTITY:
        raise ValueError(f"crops: expected 1 to {_MAX_IDENTITY} pictures per camera, found {per_camera}")
    if seed < 0:
        raise ValueError(f"crops: expected a seed from 0, found {seed}")
    _write_splits(folder / "exp", train, validation, test)
    digest = hashlib.sha256()
    written = 0
    for identity in range(1, count + 1):
        person = Person.draw(seed, identity)
        for number in CAMERAS:
            camera = camera_of(seed, number)
            inside = folder / f"cam{number}" / f"{identity:04d}"
            inside.mkdir(parents=True, exist_ok=True)
            for k in range(per_camera):
                picture = draw_crop(person, camera, crop_rng(seed, identity, number, k), height, width)
                data = encode(picture)
                digest.update(data)
                (inside / f"{k + 1:04d}.jpg").write_bytes(data)
                written += 1
        if progress is not None:
            progress(written, count * len(CAMERAS) * per_camera)
    made = {
        "train": train, "validation": validation, "test": test, "per_camera": per_camera,
        "height": height, "width": width, "seed": seed,
        "opencv": cv2.__version__, "numpy": np.__version__, "sha256": digest.hexdigest(),
    }  # fmt: skip
    (folder / "drawn.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return written


def encode(picture: U8) -> bytes:
    """A picture as the bytes of its JPEG file."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()


def _write_splits(folder: Path, train: int, validation: int, test: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ends = (train, train + validation, train + validation + test)
    parts = {
        "train_id": range(1, ends[0] + 1),
        "val_id": range(ends[0] + 1, ends[1] + 1),
        "test_id": range(ends[1] + 1, ends[2] + 1),
        "available_id": range(1, ends[2] + 1),
    }
    for name, identities in parts.items():
        (folder / f"{name}.txt").write_text(",".join(map(str, identities)) + "\n", encoding="ascii")
