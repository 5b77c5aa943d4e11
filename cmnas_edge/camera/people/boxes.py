"""People as another program found them: one JSON object a line.

``{"frame": 12, "box": [x1, y1, x2, y2], "score": 0.9}``, or ``"boxes"`` (and ``"scores"``) for
all of a frame at once; ``frame`` counts from 0. A line may also name its ``camera``. Other keys
are not looked at, so this project's own traces and ground truth can be read back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.people.detection import Detections, nobody
from cmnas_edge.errors import ConfigError

__all__ = ["BoxesDetector"]

U8 = npt.NDArray[np.uint8]
Pixel = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Box = tuple[Pixel, Pixel, Pixel, Pixel]
Score = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Line(msgspec.Struct, frozen=True):
    frame: Annotated[int, msgspec.Meta(ge=0)]
    box: Box | None = None
    boxes: list[Box] | None = None
    score: Score = 1.0
    scores: list[Score] | None = None
    camera: str | int | None = None


class BoxesDetector:
    """Gives each frame the boxes that the file has for it."""

    def __init__(self, path: Path, *, least_score: float = 0.0, camera: str | None = None) -> None:
        """Read the file.

        Args:
            path: JSON lines.
            least_score: Boxes with less are left out.
            camera: Take only lines about this camera; None: all of them.

        Raises:
            ConfigError: It cannot be read, or a line is not as described; the line is named.
        """
        decoder = msgspec.json.Decoder(_Line)
        found: dict[int, list[tuple[Box, float]]] = {}
        try:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        row = _decode(decoder, line, f"{path}: line {number}")
                        if camera is None or str(row.camera) == camera:
                            found.setdefault(row.frame, []).extend(_scored(row, f"{path}: line {number}"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path and its mode") from None
        self._frames = {frame: _detections(rows, least_score) for frame, rows in found.items()}
        self._next = 0

    def detect(self, frame: U8, index: int | None = None) -> Detections:  # noqa: ARG002 (someone else looked)
        """Give the boxes of a frame; see `Detector`."""
        at = self._next if index is None else index
        self._next = at + 1
        return self._frames.get(at) or nobody()

    def reset(self) -> None:
        """Nothing is known of the scene; the count of frames goes on."""


def _decode(decoder: msgspec.json.Decoder[_Line], line: bytes, where: str) -> _Line:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error).replace("`", "'")
        raise ConfigError(f"{where}: expected {{\"frame\": 0, \"box\": [x1, y1, x2, y2]}}, found another form "
                          f"({reason}); mend that line") from None


def _scored(row: _Line, where: str) -> list[tuple[Box, float]]:
    boxes = row.boxes if row.boxes is not None else [] if row.box is None else [row.box]
    if (row.box is None) == (row.boxes is None):
        raise ConfigError(f"{where}: expected either 'box' or 'boxes', found {'both' if row.box else 'neither'}; "
                          "mend that line")
    scores = [row.score] * len(boxes) if row.scores is None else row.scores
    if len(scores) != len(boxes):
        raise ConfigError(f"{where}: expected a score per box, found {len(scores)} for {len(boxes)}; mend that line")
    return list(zip(boxes, scores, strict=True))


def _detections(rows: list[tuple[Box, float]], least_score: float) -> Detections:
    boxes: Any = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in rows], np.float32)
    kept = scores >= np.float32(least_score)
    return Detections(boxes[kept], scores[kept])
