"""Everybody of the hot window as arrays: who is listed, in which order, and how people get about.

Made once per change from a copy of what decides about each tracklet, so that a page of a hundred thousand people costs
milliseconds, and none of them under the gallery's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.collector import overviews, views
from cmnas_edge.embedding import MODALITIES

__all__ = ["LONGEST_TRANSIT_S", "SPAN_S", "Page", "Roster"]

LONGEST_TRANSIT_S = 1800.0
SPAN_S = 3600.0
_BOTH = (1 << len(MODALITIES)) - 1
Names = Sequence[tuple[str, str]]


class Page(NamedTuple):
    """Some identities, how many there are, and when those that fit were seen first and last."""

    identities: list[int]
    found: int
    seen_from: float | None
    seen_to: float | None


class Roster:
    """Identities by when they were last seen.

    Args:
        tracklets: One row each, with the fields ``identity``, ``camera``, ``modality`` (number in `MODALITIES`),
            ``seen_from`` and ``seen_at``, shape ``(n,)``; of no identity where that is 0.
        cameras: Device and name by the number in ``camera``.
    """

    def __init__(self, tracklets: npt.NDArray[np.void], cameras: Names) -> None:
        rows = tracklets[tracklets["identity"] > 0]
        self._rows = rows = rows[np.lexsort((rows["seen_from"], rows["identity"]))]
        self._cameras = list(cameras)
        identity, first = np.unique(rows["identity"], return_index=True)
        if len(identity):
            last = np.maximum.reduceat(rows["seen_at"], first)
            lights = np.bitwise_or.reduceat(1 << rows["modality"].astype(np.int64), first)
        else:
            last, lights = np.zeros(0), np.zeros(0, np.int64)
        self._identity, self._first, self._lights = identity, first, lights
        self._order = np.lexsort((identity, -last))     # positions in `identity`, last seen first
        self.total = len(identity)
        self.across = int((lights == _BOTH).sum())
        self.newest = float(last.max()) if self.total else None

    def page(self, asked: views.IdentitiesAsked) -> Page:
        """Choose and order: those who have an appearance that fits, last seen first."""
        rows = self._rows
        fits = np.ones(len(rows), bool)
        if asked.seen_since is not None:
            fits &= rows["seen_at"] >= asked.seen_since
        if asked.seen_until is not None:
            fits &= rows["seen_from"] <= asked.seen_until
        if asked.camera is not None:
            wanted = [n for n, key in enumerate(self._cameras) if asked.camera in (key[1], "/".join(key))]
            fits &= np.isin(rows["camera"], wanted)
        if asked.modality is not None:
            fits &= rows["modality"] == MODALITIES.index(asked.modality)
        who = np.add.reduceat(fits, self._first) > 0 if self.total else np.zeros(0, bool)
        if asked.across:
            who &= self._lights == _BOTH
        chosen = self._order[who[self._order]]
        shown = rows[np.repeat(who, np.diff(self._first, append=len(rows)))]
        return Page(self._identity[chosen[asked.offset:asked.offset + asked.limit]].tolist(), len(chosen),
                    float(shown["seen_from"].min()) if len(shown) else None,
                    float(shown["seen_at"].max()) if len(shown) else None)

    def transits(self, until: float) -> list[overviews.Transit]:
        """How people got from camera to camera: an appearance and the same person's next, elsewhere."""
        a, b = self._rows[:-1], self._rows[1:]
        took = np.maximum(0, b["seen_from"] - a["seen_at"])
        goes = (a["identity"] == b["identity"]) & (a["camera"] != b["camera"]) & (took <= LONGEST_TRANSIT_S)
        took, recent = took[goes], b["seen_from"][goes] > until - SPAN_S
        way = a["camera"][goes].astype(np.int64) * len(self._cameras) + b["camera"][goes]
        order = np.lexsort((took, way))
        found = []
        for number, some in _runs(way[order]):
            start, end = (self._cameras[each] for each in divmod(int(number), len(self._cameras)))
            soonest, median, latest = np.quantile(took[order][some], (0.1, 0.5, 0.9))
            found.append(overviews.Transit(
                from_device=start[0], from_camera=start[1], to_device=end[0], to_camera=end[1],
                count=some.stop - some.start, recent_count=int(recent[order][some].sum()), median_s=float(median),
                soonest_s=float(soonest), latest_s=float(latest)))
        return found

    def traffic(self, until: float) -> list[overviews.Traffic]:
        """How many appearances began before each camera in the stretch of `SPAN_S` up to ``until``."""
        at = np.floor((self._rows["seen_from"] - (until - SPAN_S)) * (overviews.BINS / SPAN_S)).astype(np.int64)
        at[self._rows["seen_from"] == until] = overviews.BINS - 1
        inside = (at >= 0) & (at < overviews.BINS)
        counts = np.bincount(self._rows["camera"][inside] * overviews.BINS + at[inside],
                             minlength=overviews.BINS * len(self._cameras)).reshape(-1, overviews.BINS)
        return [overviews.Traffic(device=device, camera=camera, counts=row)
                for (device, camera), row in zip(self._cameras, counts.tolist(), strict=True)]


def _runs(values: npt.NDArray[np.int64]) -> list[tuple[int, slice]]:
    """Each value of a sorted array, and where it stands."""
    each, first = np.unique(values, return_index=True)
    ends = np.append(first, len(values))[1:]
    return [(int(value), slice(int(a), int(b))) for value, a, b in zip(each, first, ends, strict=True)]
