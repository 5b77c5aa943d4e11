"""Whether a daemon may be called alive: its frames advance, or it says itself that a camera is down.

A process that only still has a loop is not alive. A camera that is live and gives nothing for
longer than its settings allow hangs somewhere inside a decoder or behind a stage that hangs, and
only a new start helps; a camera whose server is gone is no such thing, as long as it is tried anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cmnas_edge.camera.running.vitals import CameraVitals

__all__ = ["LONGEST_WAIT_S", "MARGIN_S", "Pulse", "patience_s"]

MARGIN_S = 5.0          # what a busy machine may add
LONGEST_WAIT_S = 60.0   # between two attempts at a lost camera
_FRAMES = 2.0           # a slow camera is late once it is silent for this many of its periods


def patience_s(silence_s: float, *rates: float | None) -> float:
    """How long a healthy camera may give no frame: until it would be called lost, or its rate says.

    Args:
        silence_s: Of its settings.
        rates: Frames per second that its settings hold it to, or that it has by its own word, if any.
    """
    return max([silence_s, *(_FRAMES / rate for rate in rates if rate)])


class Pulse:
    """Remembers since when each camera has not moved."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved: dict[str, tuple[tuple[object, ...], float]] = {}

    def stuck(self, cameras: Sequence[CameraVitals]) -> list[str]:
        """Name the cameras that hang; while there is one, the watchdog must not be fed.

        Frames count as movement, and so does each declaration that the camera is down: one in the
        state ``lost`` must keep declaring it, or its thread hangs too.
        """
        now, found = self._clock(), []
        for camera in cameras:
            signs = tuple((one.frame_count, one.down_count, one.state) for one in cameras
                          if one is camera or (camera.group and one.group == camera.group))
            before, since = self._moved.get(camera.name, (None, now))
            if before != signs:
                since = now
            self._moved[camera.name] = signs, since
            if camera.state in ("failed", "ended"):     # declared, and for good
                continue
            longest_s = camera.patience_s + MARGIN_S
            if camera.state != "live":  # waits, then connects, then listens, each for its own time
                longest_s += LONGEST_WAIT_S + camera.patience_s
            if now - since > longest_s:
                found.append(camera.name)
        return found
