"""Drawn pictures on their way to a folder: counted, and digested in the order they are drawn.

A drawing that was announced (`begin`) and stopped is gone on with: pictures that are there are not drawn again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.errors import ConfigError
from cmnas_edge.synthetic.crops import Camera, check_size, crop_rng, draw_crop
from cmnas_edge.synthetic.people import Person

__all__ = ["MOST", "Asked", "Drawing", "begin", "encode"]

U8 = npt.NDArray[np.uint8]

JPEG_QUALITY: Final = 95
_BEGUN: Final = ".drawing.json"
_PART: Final = ".picture.part"
MOST: Final = 9999  # names have four digits


class Asked(NamedTuple):
    """What to draw, whatever the layout.

    Attributes:
        train: Identities to learn from, numbered from 1.
        validation: Identities after those.
        test: Identities after those.
        per_camera: Pictures of each identity under each camera and in each band it sees.
        height: Of a picture, pixels.
        width: Of a picture, pixels.
        seed: Of the world.
    """

    train: int
    validation: int
    test: int
    per_camera: int
    height: int = 256
    width: int = 128
    seed: int = 0

    @property
    def people_count(self) -> int:
        """Identities in all."""
        return self.train + self.validation + self.test

    def check(self) -> None:
        """Raise ``ValueError`` if a count or size cannot be."""
        check_size(self.height, self.width)
        if min(self.train, self.validation, self.test) < 0 or not 1 <= self.people_count <= MOST:
            raise ValueError(f"crops: expected 1 to {MOST} identities, none of the parts negative, "
                             f"found {self.train} + {self.validation} + {self.test}")
        if not 1 <= self.per_camera <= MOST:
            raise ValueError(f"crops: expected 1 to {MOST} pictures per camera, found {self.per_camera}")
        if self.seed < 0:
            raise ValueError(f"crops: expected a seed from 0, found {self.seed}")


def begin(folder: Path, layout: str, asked: Asked, **more: object) -> None:
    """Note in a folder what is about to be drawn into it, so that it can be gone on with.

    Raises:
        ConfigError: Something else is there, or a drawing that was begun otherwise.
        OSError: The folder cannot be written.
    """
    # Other versions draw other pixels.
    made = {"layout": layout, **asked._asdict(), **more, "opencv": cv2.__version__, "numpy": np.__version__}
    begun = folder / _BEGUN
    if begun.is_file():
        found = _noted(begun)
        other = ", ".join(f"{name} {found.get(name, 'unknown')}, now {value}" for name, value in made.items()
                          if found.get(name) != value)
        if other:
            raise ConfigError(f"{folder}: expected what was begun there with the same options, found others ({other}); "
                              "give the same command again, or choose another folder")
        return
    if folder.exists() and (not folder.is_dir() or any(path.name != _PART for path in folder.iterdir())):
        raise ConfigError(f"{folder}: expected an empty or new folder, found something there; choose another")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _PART).write_text(json.dumps(made) + "\n", encoding="utf-8")
    (folder / _PART).replace(begun)


def _noted(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


class Drawing:
    """A folder that is being filled.

    Args:
        folder: Made if missing; what it holds under the same names is replaced, unless it was begun.
        asked: Sizes and seed.
        every: How many pictures there will be.
        progress: Called with (pictures done, all) after each person.

    Attributes:
        written: Pictures so far.
    """

    def __init__(self, folder: Path, asked: Asked, every: int,
                 progress: Callable[[int, int], None] | None = None) -> None:
        self.written = 0
        self._folder, self._asked, self._every, self._progress = folder, asked, every, progress
        self._digest = hashlib.sha256()
        self._going_on = (folder / _BEGUN).is_file()

    def picture(self, path: str, person: Person, camera: Camera, k: int) -> None:
        """Draw crop k of somebody under a camera into a file; ``.bmp`` or ``.jpg``."""
        file = self._folder / path
        if self._going_on and file.is_file() and (data := file.read_bytes()):
            self._digest.update(data)
            self.written += 1
            return
        rng = crop_rng(self._asked.seed, person.identity, camera.number, k)
        self.keep(path, draw_crop(person, camera, rng, self._asked.height, self._asked.width))

    def keep(self, path: str, picture: U8) -> None:
        """Write a picture."""
        data = encode(picture, Path(path).suffix)
        self._digest.update(data)
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        part = self._folder / _PART
        part.write_bytes(data)
        part.replace(file)  # whole or not at all
        self.written += 1

    def text(self, path: str, lines: Sequence[str]) -> None:
        """Write lines."""
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")

    def told(self) -> None:
        """A person is done: say how far."""
        if self._progress is not None:
            self._progress(self.written, self._every)

    def finish(self, layout: str) -> int:
        """Say in ``drawn.json`` how to draw it all again, with a digest of every picture; returns how many."""
        made = {"layout": layout, **self._asked._asdict(), "opencv": cv2.__version__, "numpy": np.__version__,
                "sha256": self._digest.hexdigest()}
        (self._folder / "drawn.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        for left in (_BEGUN, _PART):
            (self._folder / left).unlink(missing_ok=True)
        return self.written


def encode(picture: U8, suffix: str = ".jpg") -> bytes:
    """A picture as the bytes of its file."""
    _, data = cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else [])
    return data.tobytes()
