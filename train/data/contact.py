"""The contact sheet of a dataset: some people under every camera, and what looks wrong."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from cmnas_edge.errors import ConfigError, unwritable
from train.data import private
from train.data.crops import U8
from train.data.decoding import load
from train.data.pictures import Pictures
from train.data.sheet import sheet

__all__ = ["Suspect", "write"]

Suspect = tuple[int, str]  # a row, and why

_PEOPLE: Final = 12
_VIEWS: Final = 18  # pictures of somebody, or of what looks wrong in one way


def write(path: Path, pictures: Pictures, suspects: Sequence[Suspect]) -> None:
    """Write a PNG that its owner alone may read: it shows people.

    Args:
        path: Replaced if it is there.
        pictures: To choose from: people spread over the whole set, each once a modality and camera.
        suspects: What looks wrong; some of each kind are shown, each kind in a strip of its own.

    Raises:
        ConfigError: The file cannot be written.
        DiskFull: Its disk is full.
    """
    people = np.unique(pictures.identity)
    chosen = people[np.linspace(0, len(people) - 1, min(_PEOPLE, len(people))).round().astype(int)]
    strips = [(f"identity {person}", _of(pictures, int(person))) for person in chosen]
    strips += [(f"looks wrong: {why}", [row for row, what in suspects if what == why])
               for why in dict.fromkeys(what for _, what in suspects)]
    paper = sheet([(name, [_shown(pictures.file(row)) for row in rows[:_VIEWS]]) for name, rows in strips],
                  views=_VIEWS, columns=1)
    _save(path, cv2.imencode(".png", paper)[1].tobytes())


def _of(pictures: Pictures, person: int) -> list[int]:
    """A person's first picture under each camera, visible before infrared."""
    seen: dict[tuple[bool, int], int] = {}
    for row in np.flatnonzero(pictures.identity == person).tolist():
        seen.setdefault((bool(pictures.infrared[row]), int(pictures.camera[row])), row)
    return [seen[key] for key in sorted(seen)]


def _shown(path: Path) -> U8:
    """The picture, or a grey field where it cannot be decoded."""
    try:
        return load(path)
    except ConfigError:
        return np.full((64, 32, 3), 128, np.uint8)


def _save(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)  # of a process that died; its mode is not to be trusted
        private.put(part, data)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise unwritable(path, "a picture", error, "choose another", kind="a file") from error
