"""How somebody stands, and where on a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Pose:
    """How somebody stands at one moment."""

    yaw: float  # radians; 0 faces the camera, +pi/2 looks to the right
    phase: float  # radians of the gait cycle

    @property
    def sideways(self) -> float:
        """0 for somebody seen from the front or back, 1 from the side."""
        return abs(math.sin(self.yaw))

    @property
    def faces_camera(self) -> bool:
        """Whether the front is seen rather than the back."""
        return math.cos(self.yaw) > 0

    @property
    def narrowing(self) -> float:
        """How wide what is printed on a body looks, relative to seen from the front."""
        return max(0.35, 1 - 0.5 * self.sideways)


@dataclass(frozen=True)
class Placement:
    """Where a body lies on a canvas."""

    centre_px: float  # middle line
    crown_px: float
    length_px: float  # of the body seen level
    tilt: float = 1.0  # foreshortening by a camera that looks down

    def seen_from(self, left: int, top: int) -> Placement:
        """The same place on a canvas whose corner lies at this pixel."""
        return Placement(self.centre_px - left, self.crown_px - top, self.length_px, self.tilt)

    def finer(self, times: int) -> Placement:
        """The same place on a canvas with so many pixels for each; pixel centres are whole numbers."""
        shift = (times - 1) / 2
        return Placement(
            self.centre_px * times + shift, self.crown_px * times + shift, self.length_px * times, self.tilt
        )

    def column(self, x: float) -> float:
        """Pixels from body heights, across."""
        return self.centre_px + x * self.length_px

    def row(self, y: float) -> float:
        """Pixels from body heights, down."""
        return self.crown_px + y * self.length_px * self.tilt
