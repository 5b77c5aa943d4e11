"""A picture file's pixels, or one sentence that says why there are none.

Damage inside a JPEG's compressed data that leaves its structure whole cannot be told from a picture: it decodes to
wrong colours, as in every reader.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from cmnas_edge.errors import ConfigError
from train.data.crops import U8

__all__ = ["load", "quietly"]

_SCAN, _END = b"\xff\xda", b"\xff\xd9"  # of a JPEG: where compressed data begin, and what ends a picture


def load(path: Path) -> U8:
    """Read a picture.

    Returns:
        BGR, shape ``(h, w, 3)``; a grey picture has three equal channels.

    Raises:
        ConfigError: The file is not there, empty, cut off, or no picture.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise _unreadable(path, "something that is no file")
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, f"no file that can be read ({error.strerror})") from error
    if not data:
        raise _unreadable(path, "an empty file")
    # What compressed data look like rules this marker out within them. Some decoders fill up a cut picture with grey.
    if data.startswith(b"\xff\xd8") and data.find(_END, max(0, data.rfind(_SCAN))) < 0:
        raise _unreadable(path, "a JPEG that is cut off")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise _unreadable(path, f"something else ({error.err})") from error
    if image is None:
        raise _unreadable(path, "something else, or a part of one")
    return np.asarray(image, np.uint8)


def quietly() -> None:
    """Keep OpenCV from writing about pictures it cannot read, since each gets a sentence of ours."""
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _unreadable(path: Path, found: str) -> ConfigError:
    return ConfigError(f"{path}: expected a picture, found {found}; extract it again from its archive")
