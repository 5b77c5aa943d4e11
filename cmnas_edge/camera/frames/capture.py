"""OpenCV's reading of videos and streams, made quiet and made to end.

FFmpeg prints to stderr on its own, credentials of a URL included, and by default waits for a
silent peer for half a minute. Both are settled here, once, for everything that opens footage.

It decodes in this process, not in a child: from the 50th to the 500th connection to a real RTSP
server the resident memory grew by 0.14 MiB (`docs/proofs.jsonl`, 2026-11-22), damaged video only
gives damaged pictures, and no silence outlasts the timeouts set here (`tests/camera/test_rtsp.py`,
`test_rtsp_proof.py`).

A stream that changes its size on the way goes on in the size it began with: OpenCV scales. With
`gstreamer` it takes on the new one.
"""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Capture", "OpenCv", "Picture", "open_device", "open_file", "open_url"]

U8 = npt.NDArray[np.uint8]

# FFmpeg plays text files with such names as "ANSI art": not footage of anyone.
_TEXT = cv2.VideoWriter.fourcc(*"ansi")


class Picture(NamedTuple):
    """What a capture gives.

    Attributes:
        image: BGR, shape ``(h, w, 3)``; nobody else writes to it.
        sent_at: When the sender says it was taken, epoch seconds; None where it doesn't.
        missed_count: Pictures since the last one that gave way to this one inside the capture, or were damaged.
        media_s: When it was taken by the sender's stamps, seconds from any beginning; None where there are none,
            or where the capture itself leaves out what cannot be decoded in time.
    """

    image: U8
    sent_at: float | None = None
    missed_count: int = 0
    media_s: float | None = None


class Capture(Protocol):
    """What a live camera is read through."""

    def read(self) -> Picture | None:
        """Wait for the next picture; None when there will be no more."""

    def hurry(self) -> None:
        """Let a read that waits come to its end, where that can be done; from any thread."""

    def release(self) -> None:
        """Let it go; only by the thread that reads."""


class OpenCv:
    """OpenCV's capture as one of ours."""

    def __init__(self, capture: cv2.VideoCapture, *, has_stamps: bool = False) -> None:
        """Take over a capture that is open.

        Args:
            capture: Open.
            has_stamps: Its positions are the sender's stamps, as of RTSP, and not made up from a rate.
        """
        self._capture = capture
        self._has_stamps = has_stamps

    def read(self) -> Picture | None:
        """Wait for the next picture."""
        found, image = self._capture.read()
        if not found:
            return None
        media_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if self._has_stamps else None
        return Picture(np.asarray(image, np.uint8), media_s=media_s)

    def hurry(self) -> None:
        """Nothing: a read ends by the patience that it was opened with, and releasing it meanwhile would crash."""

    def release(self) -> None:
        """Close the stream or device."""
        self._capture.release()


def open_file(path: str) -> cv2.VideoCapture | None:
    """Open a video file; None when it is none."""
    _hush()
    # One decoding thread: several cameras share the cores, and more threads hold more frames.
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened() or int(capture.get(cv2.CAP_PROP_FOURCC)) == _TEXT:
        capture.release()
        return None
    return capture


def open_url(url: str, patience_s: float) -> OpenCv | None:
    """Open a stream; opening and every read give up after `patience_s`. None when it cannot be had."""
    _hush()
    patience_ms = max(1, int(patience_s * 1000))
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience_ms,
        cv2.CAP_PROP_N_THREADS, 1])
    return _opened(capture, has_stamps=url.startswith("rtsp"))


def open_device(path: str, size: tuple[int, int] | None = None) -> OpenCv | None:
    """Open a camera on this machine, such as ``/dev/video0``; None when it cannot be had.

    Args:
        path: The device.
        size: Width and height to ask for; a camera that has no such size gives its nearest.
    """
    _hush()
    capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
    if size is not None:
        # Raw video of this size would fill USB 2 at a few frames per second; nearly every camera has MJPEG too.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    return _opened(capture)


def _opened(capture: cv2.VideoCapture, *, has_stamps: bool = False) -> OpenCv | None:
    if capture.isOpened():
        return OpenCv(capture, has_stamps=has_stamps)
    capture.release()
    return None


def _hush() -> None:
    """Silence OpenCV and FFmpeg, and let RTSP go over TCP, unless the environment says otherwise."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    # Without a look at how fast frames come, for which FFmpeg would keep the first second's and hand them over late.
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|fpsprobesize;0")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
