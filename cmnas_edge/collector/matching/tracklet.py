"""Tracklets: what one camera saw of one person in one go, each with its mean vector.

The mean is the plain one of the unit vectors, not scaled to length one again: the product
of two means is then the *mean cosine* over all pairs of their sightings. That is the
quantity thresholds are calibrated on, with less noise; the cosine of two normalised means
would be larger for friends and strangers alike.

While a site changes from one bundle to another, cameras tell of a tracklet by both: it is one tracklet then, with a
mean for each bundle. Bundles are numbers here, the leading one 0; vectors of two are never compared.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import MODALITIES, Modality

__all__ = ["TRACKLET_SILENCE_S", "Key", "Seen", "Tracklet", "Tracklets", "cannot_link"]

F32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Traits = npt.NDArray[np.void]
Key = tuple[str, str, str, int]
_TRAITS = np.dtype([("opened_by", np.int64), ("identity", np.int64), ("camera", np.int32), ("modality", np.int8),
                    ("transform", np.uint64), ("seen_from", np.float64), ("seen_at", np.float64)])
# A daemon counts its tracklets anew when it restarts: the same number after so much silence,
# in the footage's time, is another tracklet.
TRACKLET_SILENCE_S = 60.0


class Seen(Protocol):
    """What must be known of a sighting here (`cmnas_edge.collector.store.journal.Record` has it)."""

    @property
    def id(self) -> int:
        """Counts up in the order of storing."""
    @property
    def device(self) -> str:
        """Who sent it."""
    @property
    def spool(self) -> str:
        """The device's spool."""
    @property
    def camera(self) -> str:
        """Which of the device's cameras."""
    @property
    def tracklet(self) -> int:
        """The camera's number for the person it followed."""
    @property
    def seen_from(self) -> float:
        """Epoch seconds of the first view."""
    @property
    def seen_at(self) -> float:
        """Epoch seconds of the last view."""
    @property
    def modality(self) -> Modality:
        """What kind of picture it was."""
    @property
    def transform(self) -> int:
        """Which site key turned the vector; only vectors of one key compare."""


@dataclass(eq=False)
class Tracklet:
    """Sightings of one person by one camera, and the identity they have for now."""

    opened_by: int                  # id of the sighting that opened it: the tracklet's own id
    key: Key                        # device, spool, camera, number
    modality: Modality
    transform: int
    seen_from: float
    seen_at: float
    row: int                        # in the matrix of `Tracklets`
    identity: int = 0               # set by `Tracklets.assign`
    sightings: list[int] = field(default_factory=list)     # ids, counting up
    told: dict[int, int] = field(default_factory=dict)     # how many of them, by bundle
    means: dict[int, int] = field(default_factory=dict)    # row of its mean, by bundle

    @property
    def device(self) -> str:
        """Who reported it."""
        return self.key[0]

    @property
    def camera(self) -> str:
        """Which camera saw it."""
        return self.key[2]

    @property
    def sighting_count(self) -> int:
        """How often it was told of; by two bundles at once is once."""
        return max(self.told.values())

    def continues(self, seen: Seen) -> bool:
        """Say whether a sighting under this tracklet's number is still this tracklet."""
        return (seen.modality == self.modality and seen.transform == self.transform
                and seen.seen_from - self.seen_at <= TRACKLET_SILENCE_S
                and self.seen_from - seen.seen_at <= TRACKLET_SILENCE_S)


def cannot_link(a: Tracklet, b: Tracklet) -> bool:
    """Say whether two tracklets must be two people: one camera saw both at one time."""
    return (a is not b and a.device == b.device and a.camera == b.camera
            and max(a.seen_from, b.seen_from) <= min(a.seen_at, b.seen_at))


class _Means:
    """Mean vectors by one bundle, dense: removing one moves the last row into its place."""

    def __init__(self, bundle: int, dimension: int) -> None:
        self.vectors: F32 = np.zeros((64, dimension), np.float32)
        self._bundle = bundle
        self._owners: list[Tracklet] = []

    def take(self, tracklet: Tracklet, vector: F32) -> None:
        """Count a vector in."""
        if self._bundle not in tracklet.means:
            tracklet.means[self._bundle], tracklet.told[self._bundle] = len(self._owners), 0
            self._owners.append(tracklet)
            if len(self._owners) > len(self.vectors):
                self.vectors = np.concatenate([self.vectors, np.zeros_like(self.vectors)])
            self.vectors[len(self._owners) - 1] = 0
        tracklet.told[self._bundle] += 1
        mean = self.vectors[tracklet.means[self._bundle]]
        mean += (vector - mean) / tracklet.told[self._bundle]

    def remove(self, tracklet: Tracklet) -> None:
        """Forget those of a tracklet, if there are any."""
        row = tracklet.means.pop(self._bundle, None)
        if row is None:
            return
        last = self._owners.pop()
        if last is not tracklet:
            self.vectors[row] = self.vectors[len(self._owners)]
            self._owners[row] = last
            last.means[self._bundle] = row


class Tracklets:
    """The tracklets of the hot window, as one dense table, and their mean vectors, one for each bundle.

    Removing one moves the last row into its place, so there are no holes; memory doubles
    when it is full.

    Args:
        dimensions: Entries of a vector, by bundle.
    """

    def __init__(self, *dimensions: int) -> None:
        self._rows: list[Tracklet] = []
        self._means = [_Means(bundle, dimension) for bundle, dimension in enumerate(dimensions)]
        self._traits: Traits = np.zeros(64, _TRAITS)
        self._by_key: dict[Key, Tracklet] = {}
        self._by_opening: dict[int, Tracklet] = {}
        self._cameras: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Tracklet]:
        return iter(self._rows)

    @property
    def traits(self) -> Traits:
        """What decides about each tracklet, by row: see `_TRAITS`. Not to be written."""
        return self._traits[:len(self._rows)]

    @property
    def cameras(self) -> list[tuple[str, str]]:
        """Device and name of each camera, by its number in `traits`."""
        return list(self._cameras)

    def extend(self, seen: Seen, vector: F32, *, bundle: int = 0, opened_by: int = 0) -> tuple[Tracklet, bool]:
        """Add a sighting to its tracklet, or open one.

        Args:
            seen: The sighting.
            vector: Its unit vector, shape ``(d,)``.
            bundle: Which made it.
            opened_by: The tracklet it was put in before; 0 finds out. It is never decided twice:
                what lies between its sightings may be here now and was not then, or the reverse.

        Returns:
            The tracklet, and whether it is new (then of no identity yet).
        """
        key = (seen.device, seen.spool, seen.camera, seen.tracklet)
        tracklet = self._by_opening.get(opened_by) if opened_by else self._by_key.get(key)
        fresh = tracklet is None or not (opened_by or tracklet.continues(seen))
        if tracklet is None or fresh:
            tracklet = self._open(seen, key, opened_by or seen.id)
        bisect.insort(tracklet.sightings, seen.id)
        tracklet.seen_from = min(tracklet.seen_from, seen.seen_from)
        tracklet.seen_at = max(tracklet.seen_at, seen.seen_at)
        self._traits["seen_from"][tracklet.row] = tracklet.seen_from
        self._traits["seen_at"][tracklet.row] = tracklet.seen_at
        self._means[bundle].take(tracklet, vector)
        return tracklet, fresh

    def assign(self, tracklet: Tracklet, identity: int) -> None:
        """Give a tracklet an identity; 0 is none."""
        tracklet.identity = identity
        self._traits["identity"][tracklet.row] = identity

    def remove(self, tracklet: Tracklet) -> None:
        """Forget a tracklet."""
        last = self._rows.pop()
        for means in self._means:
            means.remove(tracklet)
        if last is not tracklet:
            self._traits[tracklet.row] = self._traits[last.row]
            last.row = tracklet.row
            self._rows[last.row] = last
        del self._by_opening[tracklet.opened_by]
        if self._by_key.get(tracklet.key) is tracklet:
            del self._by_key[tracklet.key]

    def means(self, some: list[Tracklet], bundle: int = 0) -> F32:
        """Mean vectors by one bundle of some tracklets that all have one, shape ``(n, d)``."""
        found: F32 = self._means[bundle].vectors[[t.means[bundle] for t in some]]
        return found

    def mean(self, some: list[Tracklet], bundle: int = 0) -> F32:
        """Mean of these mean vectors, shape ``(d,)``."""
        found: F32 = (self._means[bundle].vectors[some[0].means[bundle]] if len(some) == 1
                      else self.means(some, bundle).mean(0))
        return found

    def camera(self, tracklet: Tracklet) -> int:
        """The number of a tracklet's camera in `cameras`."""
        return int(self._traits["camera"][tracklet.row])

    def scores_between(self, some: list[Tracklet], others: list[Tracklet], bundle: int = 0) -> F32:
        """Mean cosine by one bundle of each of some tracklets with each of others, shape ``(n, m)``."""
        scores: F32 = self.means(some, bundle) @ self.means(others, bundle).T
        return scores

    def conflicts(self, some: list[Tracklet], others: list[Tracklet] | None = None) -> Mask:
        """Which of some tracklets cannot link with which others, shape ``(n, m)``.

        The same as `cannot_link` for each two. Without ``others``: with all, by row.
        """
        a = self._traits[[t.row for t in some]][:, None]
        b = (self.traits if others is None else self._traits[[t.row for t in others]])[None]
        mask: Mask = ((a["camera"] == b["camera"]) & (a["opened_by"] != b["opened_by"])
                      & (np.maximum(a["seen_from"], b["seen_from"]) <= np.minimum(a["seen_at"], b["seen_at"])))
        return mask

    def opened_by(self, sighting: int) -> Tracklet | None:
        """Return the tracklet that a sighting opened, if it is still here."""
        return self._by_opening.get(sighting)

    def _open(self, seen: Seen, key: Key, opened_by: int) -> Tracklet:
        row = len(self._rows)
        tracklet = Tracklet(opened_by, key, seen.modality, seen.transform, seen.seen_from, seen.seen_at, row)
        if row == len(self._traits):
            self._traits = np.concatenate([self._traits, np.zeros_like(self._traits)])
        self._traits[row] = (opened_by, 0, self._cameras.setdefault((seen.device, seen.camera), len(self._cameras)),
                             MODALITIES.index(seen.modality), seen.transform, seen.seen_from, seen.seen_at)
        self._rows.append(tracklet)
        self._by_key[key] = tracklet
        self._by_opening[opened_by] = tracklet
        return tracklet
