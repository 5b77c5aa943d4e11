"""OpenCV's reading of videos and streams, made quiet and made to end.

FFmpeg prints to stderr on its own, credentials of a URL included, and by default waits for a
silent peer for half a minute. Both are settled here, once, for everything that opens footage.
"""

from __future__ import annotations

import os

import cv2

__all__ = ["open_device", "open_file", "open_url"]

# FFmpeg plays text files with such names as "ANSI art": not footage of anyone.
_TEXT = cv2.VideoWriter.fourcc(*"ansi")


def open_file(path: str) -> cv2.VideoCapture | None:
    """Open a video file; None when it is none."""
    _hush()
    # One decoding thread: several cameras share the cores, and more threads hold more frames.
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened() or int(capture.get(cv2.CAP_PROP_FOURCC)) == _TEXT:
        capture.release()
        return None
    return capture


def open_url(url: str, patience_s: float) -> cv2.VideoCapture | None:
    """Open a stream; opening and every read give up after `patience_s`. None when it cannot be had."""
    _hush()
    patience_ms = max(1, int(patience_s * 1000))
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience_ms,
        cv2.CAP_PROP_N_THREADS, 1])
    return _opened(capture)


def open_device(path: str) -> cv2.VideoCapture | None:
    """Open a camera on this machine, such as ``/dev/video0``; None when it cannot be had."""
    _hush()
    return _opened(cv2.VideoCapture(path, cv2.CAP_V4L2))


def _opened(capture: cv2.VideoCapture) -> cv2.VideoCapture | None:
    if capture.isOpened():
        return capture
    capture.release()
    return None


def _hush() -> None:
    """Silence OpenCV and FFmpeg, and let RTSP go over TCP, unless the environment says otherwise."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
