"""Live frames: a thread takes whatever the camera sends, and only the newest waits.

A queue in front of a slow consumer grows old; a slot of one does not. The thread alone ever
touches the capture and lets it go by itself, since releasing one that is being read crashes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2

from cmnas_edge.camera.frames.capture import Capture, Picture
from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.frames.lag import Lag
from cmnas_edge.camera.frames.times import Stamper, Timescale
from cmnas_edge.errors import SourceLost

__all__ = ["Stream", "hanging"]

_log = logging.getLogger("cmnas.camera")
_EXPLAINING_S = 3.0     # what a failed attempt to connect has for finding out why
_TIMEOUTS_S = 60.0      # a library's own, beyond those that are set to a camera's silence_s


class _Left(NamedTuple):
    """A thread that was left behind, and until when its own timeouts may keep it."""

    name: str
    thread: threading.Thread
    until: float


_left: list[_Left] = []


def hanging(now: float) -> list[str]:
    """Name the cameras whose reading was given up and has not returned, long after every timeout of its own.

    Such a thread sits inside a decoder for good, with what that holds; only the end of the process frees it.

    Args:
        now: Monotonic seconds.
    """
    _left[:] = [one for one in _left if one.thread.is_alive()]
    return sorted({one.name for one in _left if now > one.until})


class Stream:
    """The newest frame of a live camera; `SourceLost` when it is silent for too long.

    Silence is the age of the newest frame, whatever the library underneath believes.
    """

    recorded = False
    fps = None

    def __init__(self, name: str, connect: Callable[[], Capture], silence_s: float, *,
                 max_fps: float | None = None, scale: Timescale | None = None,
                 sender_within_s: float = 0.0, lag: Lag | None = None) -> None:
        """Prepare; the camera is opened by entering the context.

        Args:
            name: What messages call it, without credentials.
            connect: Opens the capture, in the stream's own thread; raises what is to be told when it cannot.
            silence_s: Patience with opening, and between frames.
            max_fps: Leave out what arrives faster; that is not counted as dropped.
            scale: What the frames' times are told in; the same for all connections of a camera.
            sender_within_s: The sender's time of a frame is believed this near to ours; 0: never.
            lag: Sees whether pictures grow old before they are decoded.
        """
        self._name = name
        self._connect = connect
        self._silence_s = silence_s
        self._interval_s = 0.0 if max_fps is None else 1 / max_fps
        scale = scale or Timescale()
        self._monotonic = scale.monotonic
        self._stamper = Stamper(scale, sender_within_s)
        self._lag = lag or Lag()
        self._doubted_sender = False
        self._changed = threading.Condition()
        # All below is shared with the thread, under the condition's lock.
        self._slot: Frame | None = None
        self._capture: Capture | None = None
        self._failure: BaseException | None = None
        self._closed = False
        self._heard_at = 0.0
        self._due_at = -float("inf")
        self._arrived_count = 0
        self._dropped_count = 0
        self._thread = threading.Thread(target=self._fill, name=f"camera {name}", daemon=True)

    @property
    def dropped_count(self) -> int:
        """Frames replaced by newer ones before they were taken."""
        return self._dropped_count

    def __enter__(self) -> Stream:
        # Connecting ends by itself in time, and then has something to say.
        self._heard_at = self._monotonic() + _EXPLAINING_S
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
        # A read that hangs ends by its own timeout; the thread then lets the capture go.
        self._thread.join(timeout=1.0)
        if self._thread.is_alive():
            _left.append(_Left(self._name, self._thread, time.monotonic() + 2 * self._silence_s + _TIMEOUTS_S))

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with self._changed:
            while True:
                if self._closed:
                    raise StopIteration
                if self._slot is not None:
                    frame, self._slot = self._slot, None
                    return frame
                if self._failure is not None:
                    raise self._failure
                left_s = self._heard_at + self._silence_s - self._monotonic()
                if left_s <= 0:
                    raise SourceLost(f"{self._name}: expected a frame within {self._silence_s:g} s, found "
                                     "silence; check the camera and the network")
                self._changed.wait(left_s)

    def close(self) -> None:
        """End the iteration at once; the thread follows when its read returns."""
        with self._changed:
            self._closed = True
            self._slot = None
            self._changed.notify_all()
        if (capture := self._capture) is not None:
            capture.hurry()

    def _fill(self) -> None:
        try:
            capture = self._capture = self._connect()
            try:
                while not self._closed:
                    if (picture := capture.read()) is None:
                        raise SourceLost(f"{self._name}: expected more frames, found the stream ended; check the "
                                         "camera and the network")
                    self._put(picture)
            finally:
                capture.release()
        except cv2.error as error:
            self._fail(SourceLost(f"{self._name}: expected video, found what cannot be decoded ({error.code}); check "
                                  "the camera"))
        except BaseException as error:  # carried to the thread that asks for frames
            self._fail(error)

    def _put(self, picture: Picture) -> None:
        stamp = self._stamper.stamp(picture.sent_at)
        if stamp.foreign_s and not self._doubted_sender:
            self._doubted_sender = True
            _log.warning("%s: its own clock is %+.0f s off this one, so the time of arrival is told; let both follow "
                         "one time server", self._name, stamp.foreign_s)
        arrived_at = stamp.arrived_at
        if picture.media_s is not None and (late_s := self._lag.late_s(arrived_at, picture.media_s)):
            raise SourceLost(f"{self._name}: expected pictures as they are taken, found them {late_s:.0f} s old, since "
                             "this machine decodes them slower than they come; lower the camera's rate or size, or "
                             "decode in hardware (source.pipeline)")
        with self._changed:
            self._heard_at = arrived_at
            self._arrived_count += picture.missed_count
            index = self._arrived_count
            self._arrived_count += 1
            if not self._interval_s:
                self._dropped_count += picture.missed_count
            if self._closed or arrived_at < self._due_at:
                return
            # From frame to frame, not from arrival to arrival: jitter must not add up to a lower rate.
            self._due_at = max(self._due_at if index else arrived_at, arrived_at - self._interval_s) + self._interval_s
            self._dropped_count += self._slot is not None
            self._slot = Frame(picture.image, index, stamp.seen_at, arrived_at, stamp.shift_s, stamp.source)
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()
