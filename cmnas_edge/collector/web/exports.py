"""Lists to take away, as CSV (RFC 4180): sightings, and how each came to its identity. No vector is in them.

A cell that a spreadsheet would take for a formula begins with an apostrophe: a camera's name is what its device says.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import NamedTuple

from cmnas_edge.collector import views

__all__ = ["COLUMNS", "Table", "csv_lines", "safe"]

COLUMNS = ("id", "device", "camera", "seen_from", "seen_at", "received_at", "modality", "tracklet", "identity", "rule",
           "score", "threshold", "pair", "against", "probability", "suggestion", "quality", "view_count",
           "box_width", "box_height", "engine", "precision", "fingerprint")
_TIMES = ("seen_from", "seen_at", "received_at")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_TOGETHER = 500     # lines of one piece


class Table(NamedTuple):
    """A CSV file in pieces, and what to call it."""

    name: str
    pieces: Iterator[bytes]


def safe(text: str) -> str:
    """A cell that no spreadsheet works out.

    Examples:
        >>> safe("=1+1"), safe("gate")
        ("'=1+1", 'gate')
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def csv_lines(sightings: Iterable[views.Sighting]) -> Iterator[bytes]:
    """Pieces of the file; times in UTC."""
    yield _lines([COLUMNS])
    rows = ([_cell(name, getattr(each, name)) for name in COLUMNS] for each in sightings)
    while some := list(itertools.islice(rows, _TOGETHER)):
        yield _lines(some)


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(name: str, value: object) -> object:
    if name in _TIMES and isinstance(value, float):
        return datetime.fromtimestamp(value, timezone.utc).isoformat(timespec="milliseconds")
    return safe(value) if isinstance(value, str) else value     # None becomes an empty cell
