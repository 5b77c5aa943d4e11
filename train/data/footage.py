"""What a folder of tracklets says of itself: how it was cut, which recordings are done, whom they show."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from cmnas_edge.embedding import Modality
from cmnas_edge.errors import ConfigError

__all__ = ["Box", "Footage", "Made", "Story", "Tracklet"]

Box = tuple[float, float, float, float]


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the pictures of a folder were cut; the same for all of them.

    Attributes:
        detector: ``motion``, or a network's file name and the start of its SHA-256.
        modality: ``auto``, or what the cameras were said to see.
        per_tracklet: Most pictures of one.
        height: Rows of a picture.
        width: Columns of a picture.
    """

    detector: str
    modality: Literal["auto", "visible", "infrared"]
    per_tracklet: int
    height: int
    width: int


class Footage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recording that is done.

    Attributes:
        file: Its name.
        fingerprint: By which it is known again.
        frames: How many it had.
        tracklets: How many were kept.
        pictures: How many were kept of them together.
    """

    file: str
    fingerprint: str
    frames: int
    tracklets: int
    pictures: int


class Tracklet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person whom one camera followed without a break: a line of ``tracklets.jsonl``.

    Attributes:
        camera: Name of the recording, without its ending.
        tracklet: Its number there.
        modality: What the camera saw with.
        seen_from: When it was first seen, epoch seconds as the footage counts them.
        seen_at: When it was last seen.
        quality: Of its best view, 0 to 1.
        frames: Numbers of the frames its pictures are from, ascending.
        times: When each was taken.
        boxes: Where the person was in each, ``x1, y1, x2, y2`` in pixels of the frame.
    """

    camera: str
    tracklet: int
    modality: Modality
    seen_from: float
    seen_at: float
    quality: float
    frames: tuple[int, ...]
    times: tuple[float, ...]
    boxes: tuple[Box, ...]

    @property
    def paths(self) -> list[str]:
        """Its pictures, below the folder."""
        return [f"{self.camera}/{self.modality}/{self.tracklet:05d}/{frame:06d}.jpg" for frame in self.frames]


class Story(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a folder is.

    Attributes:
        made: How its pictures are cut.
        footage: Recordings that are done, by camera.
    """

    made: Made
    footage: dict[str, Footage]

    @classmethod
    def read(cls, path: Path) -> Story:
        """What was written down.

        Raises:
            ConfigError: It is something else.
        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: expected what this command wrote, found something else ({error}); delete the "
                              "folder to start over") from error

    def difference(self, asked: Made) -> str:
        """In what pictures cut as asked would differ, in words."""
        return ", ".join(f"{name} {getattr(self.made, name)}, now {getattr(asked, name)}"
                         for name in Made.__struct_fields__ if getattr(self.made, name) != getattr(asked, name))
