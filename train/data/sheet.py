"""Many small pictures on one, to be looked at: a strip per person, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from train.data.crops import U8

__all__ = ["sheet"]

_LABEL: Final = 14  # rows of text above a strip
_GAP: Final = 6
_PAPER: Final = 255
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX


def sheet(strips: Sequence[tuple[str, Sequence[U8]]], *, views: int = 6, height: int = 96, columns: int = 4) -> U8:
    """Draw strips of pictures below each other, each with its name.

    Args:
        strips: Name (ASCII) and pictures of each, BGR, of any size.
        views: Most pictures shown of one; more are chosen evenly.
        height: Rows of a picture; all have the width of the widest one at that height.
        columns: Strips side by side.

    Returns:
        BGR.

    Raises:
        ValueError: There is nothing to draw.
    """
    if not strips:
        raise ValueError("sheet: expected at least one strip, got none")
    ratio = max((picture.shape[1] / picture.shape[0] for _, pictures in strips for picture in pictures), default=0)
    if not ratio:
        raise ValueError("sheet: expected at least one picture, got none")
    width = max(1, round(height * ratio))
    wide, high = views * width + _GAP, _LABEL + height + _GAP
    rows = -(-len(strips) // columns)
    paper = np.full((rows * high + _GAP, min(columns, len(strips)) * wide + _GAP, 3), _PAPER, np.uint8)
    for number, (name, pictures) in enumerate(strips):
        column, row = divmod(number, rows)
        x, y = _GAP + column * wide, _GAP + row * high
        cv2.putText(paper[:, x:x + wide - _GAP], name, (0, y + _LABEL - 4), _FONT, 0.34, (0, 0, 0), 1, cv2.LINE_AA)
        for place, chosen in enumerate(_evenly(len(pictures), views)):
            picture = pictures[chosen]
            shown = min(width, max(1, round(height * picture.shape[1] / picture.shape[0])))
            left, top = x + place * width, y + _LABEL
            paper[top:top + height, left:left + shown] = cv2.resize(picture, (shown, height),
                                                                    interpolation=cv2.INTER_AREA)
    return paper


def _evenly(count: int, most: int) -> list[int]:
    """At most so many positions out of ``count``, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []
