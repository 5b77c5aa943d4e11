"""Crops of drawn people, as training and scoring take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from cmnas_edge.synthetic.crops import draw_set
from train.data.crops import Crops

_Count = Annotated[int, msgspec.Meta(ge=1)]
# What every random generator takes as a seed.
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]


class Drawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="dataset", tag="drawn"):
    """Which people, under which cameras.

    Attributes:
        identities: How many people.
        first_identity: Number of the first; sets that do not overlap share nobody.
        cameras: Numbers of cameras; 3, 6, 9, ... are infrared.
        per_camera: Crops of each person under each camera.
        seed: Of the world: cameras and people of another seed are others.
        first_crop: Number of the first crop of each; other crops of the same people.
    """

    identities: _Count
    first_identity: Number = 0
    cameras: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    per_camera: _Count = 4
    seed: Number = 0
    first_crop: Number = 0

    def overlaps(self, other: Drawn) -> bool:
        """Whether somebody is in both sets."""
        mine, theirs = (range(s.first_identity, s.first_identity + s.identities) for s in (self, other))
        return self.seed == other.seed and max(mine.start, theirs.start) < min(mine.stop, theirs.stop)


def draw(what: Drawn, height: int, width: int, *, progress: Callable[[int, int], None] | None = None) -> Crops:
    """Draw a set; the same one every time.

    Args:
        what: Who and where.
        height: Rows of a crop.
        width: Columns of a crop.
        progress: Called with (people done, people in all).

    Raises:
        ValueError: A crop cannot have this size, or a camera has no such number.
    """
    found = draw_set(range(what.first_identity, what.first_identity + what.identities), what.cameras,
                     what.per_camera, height, width, what.seed, first=what.first_crop, progress=progress)
    return Crops(found.images, found.identity, found.camera, found.infrared)
