"""The drawn people that evidence is about: who is learnt from, and who is asked for at the end.

All of world 0. No two of the sets below share a person, except `TRAIN` and what is cut from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.synthetic.crops import draw_set
from train.data.crops import Crops
from train.data.drawn import Drawn, draw

__all__ = ["HEIGHT", "SETS", "STRESS", "TESTS", "WIDTH", "Group", "Tone", "drawn", "look_alikes", "unmet",
           "validation"]

U8 = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 128, 64

_VISIBLE, _INFRARED = (1, 2, 4, 5), (3, 6)
# Visible like the first four. Called infrared, they make a set whose two modalities are one.
_NO_GAP = (7, 8)


class Tone(msgspec.Struct, frozen=True):
    """What a camera's electronics may do to brightness: ``pedestal + contrast * x ** gamma``, x from 0 to 1."""

    pedestal: float
    gamma: float
    contrast: float

    def of(self, images: U8) -> U8:
        """Every value of some images, as this camera would give it."""
        levels = self.pedestal + self.contrast * (np.arange(256) / 255) ** self.gamma
        return np.asarray(np.rint(255 * levels.clip(0, 1)).astype(np.uint8)[images], np.uint8)


STRESS = Tone(pedestal=0.25, gamma=0.45, contrast=0.5)
"""Lifted blacks, half the contrast, light middle tones: well beyond the shift that real footage shows."""


class Group(msgspec.Struct, frozen=True):
    """People under some cameras, and which of these count as infrared.

    Attributes:
        people: Who, and under which cameras.
        second: Cameras whose crops are flagged infrared; the true ones unless it is said
            otherwise, for the control without a gap.
        tone: What is done to the infrared crops after they are drawn; nothing if None.
    """

    people: Drawn
    second: Annotated[tuple[int, ...], msgspec.Meta(min_length=1)] = _INFRARED
    tone: Tone | None = None


def _group(first: int, count: int, *, per_camera: int = 4, visible: tuple[int, ...] = _VISIBLE,
           second: tuple[int, ...] = _INFRARED) -> Group:
    return Group(Drawn(identities=count, first_identity=first, cameras=tuple(sorted((*visible, *second))),
                       per_camera=per_camera), second)


SETS: Mapping[str, Group] = {
    # As many people and cameras of each kind as SYSU-MM01 has for training.
    "sysu-like": _group(0, 395),
    "sysu-like 50": _group(0, 50),
    "sysu-like 100": _group(0, 100),
    "sysu-like 200": _group(0, 200),
    # One camera of each kind, ten crops under each, as in RegDB.
    "regdb-like": _group(1000, 206, per_camera=10, visible=(1,), second=(3,)),
    "no gap": _group(0, 395, second=_NO_GAP),
    # A stronger shift of tone than real crops show, which no figure may be quoted from as if it were real.
    "stress": msgspec.structs.replace(_group(0, 395), tone=STRESS),
    # What a network knows before it sees an infrared crop, as ImageNet's weights do elsewhere.
    "before": _group(2000, 600, visible=(10, 11, 13, 14), second=(16, 17)),
}

# Four populations of 96 people as SYSU-MM01 tests with; each is a gallery of its own.
TESTS = 4
_TEST_IDENTITIES = 96
_TEST_FIRST = 100_000
_VALIDATION_FIRST = 50_000


def drawn(name: str, progress: Callable[[int, int], None] | None = None) -> Crops:
    """Draw one of `SETS`, 128x64.

    Raises:
        ValueError: No set has this name.
    """
    return _draw(_named(name), progress)


def validation(like: str) -> Crops:
    """Draw the people by whom a search's own figures are told: neither learnt from nor asked for at the end.

    Raises:
        ValueError: No set has this name.
    """
    return _population(like, _VALIDATION_FIRST)


def unmet(like: str) -> list[Crops]:
    """Draw the people that one of `SETS` is tested with: others, under its cameras.

    Raises:
        ValueError: No set has this name.
    """
    return [_population(like, _TEST_FIRST + number * _TEST_IDENTITIES) for number in range(TESTS)]


def look_alikes() -> Crops:
    """The first test population, dressed alike four by four."""
    people = msgspec.structs.replace(SETS["sysu-like"].people, identities=_TEST_IDENTITIES, first_identity=_TEST_FIRST)
    found = draw_set(range(_TEST_FIRST, _TEST_FIRST + _TEST_IDENTITIES), people.cameras, people.per_camera, HEIGHT,
                     WIDTH, look_alikes=4)
    return Crops(found.images, found.identity, found.camera, found.infrared)


def _population(like: str, first: int) -> Crops:
    group = _named(like)
    people = msgspec.structs.replace(group.people, identities=_TEST_IDENTITIES, first_identity=first)
    return _draw(msgspec.structs.replace(group, people=people), None)


def _named(name: str) -> Group:
    if name not in SETS:
        raise ValueError(f"set: expected one of {', '.join(SETS)}, got {name!r}")
    return SETS[name]


def _draw(group: Group, progress: Callable[[int, int], None] | None) -> Crops:
    crops = draw(group.people, HEIGHT, WIDTH, progress=progress)
    infrared = np.isin(crops.camera, group.second)
    images = crops.images
    if group.tone is not None:
        images = images.copy()
        images[infrared] = group.tone.of(images[infrared])
    return replace(crops, images=images, infrared=infrared)
