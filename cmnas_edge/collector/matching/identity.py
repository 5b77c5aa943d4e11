"""Who is probably whom: tracklets joined into identities, one sighting at a time.

Every sighting belongs to a tracklet; an *identity* is a set of tracklets. The rules:

``tracklet``  A sighting of a known tracklet stays with it.
``joined``    A new tracklet joins the identity it matches best, if the score reaches the
              threshold of that pair of modalities and either stands out from the runner-up
              or is sure: as far beyond its threshold, also against all tracklets there.
``opened``    Else it opens an identity of its own.
``merged``    When a tracklet, better seen by now, is as sure of a second identity, the two
              become one (the older number stays) if all their tracklets match on average.
              So it matters little in which order cameras report.
``parted``    Two tracklets of one camera at overlapping times are two people (cannot-link).
              Such an identity is never made; when a later sighting reveals an overlap, the
              younger tracklet leaves and is matched again.

How a tracklet is held against an identity, and how far a match must stand out (nothing on a
small site), is `cmnas_edge.collector.matching.evidence`. Each decision is a `Link`; the links in
order give the identities back exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import Pair, Threshold, pair
from cmnas_edge.collector.matching.evidence import Evidence, between, rank, sure
from cmnas_edge.collector.matching.tracklet import Seen, Tracklet, Tracklets

__all__ = ["Identities", "Link", "Rule"]

F32 = npt.NDArray[np.float32]
Rule = Literal["tracklet", "joined", "opened", "merged", "parted"]


class Link(msgspec.Struct, frozen=True, array_like=True):
    """One decision: the tracklet that sighting ``opened_by`` opened is ``identity``.

    ``sighting`` is the one that brought it about. ``score``, ``threshold`` and ``pair`` are
    what decided, against the tracklet that ``against`` opened. Of an identity opened they
    tell how near the nearest was, if there was any; beyond its threshold means that it did
    not stand out from another. ``probability`` is the calibrated one, ``fingerprint`` the bundle's;
    None where the calibration knows none, and in links of earlier releases.
    """

    sighting: int
    opened_by: int
    identity: int
    rule: Rule
    score: float | None = None
    threshold: float | None = None
    pair: Pair | None = None
    against: int | None = None
    probability: float | None = None
    fingerprint: bytes | None = None


class Identities:
    """Tracklets of the hot window, parted into probable people.

    Promise: no identity ever holds two tracklets that cannot link.

    Args:
        dimension: Entries of a vector.
        thresholds: Per pair of modalities, the bundle's.
        last: The highest identity number given so far; numbers are never used twice.
    """

    def __init__(self, dimension: int, thresholds: Mapping[Pair, Threshold], *, last: int = 0) -> None:
        self._tracklets = Tracklets(dimension)
        self._thresholds = {name: threshold.score for name, threshold in thresholds.items()}
        self._members: dict[int, list[Tracklet]] = {}
        self._last = last

    def __iter__(self) -> Iterator[tuple[int, list[Tracklet]]]:
        return iter(self._members.items())

    def __len__(self) -> int:
        return len(self._members)

    def table(self) -> tuple[npt.NDArray[np.void], list[tuple[str, str]]]:
        """A copy of `Tracklets.traits`, and device and name of each camera by its number there."""
        return self._tracklets.traits.copy(), self._tracklets.cameras

    def tracklet(self, opened_by: int) -> Tracklet | None:
        """Return the tracklet that a sighting opened, if it has not left the window."""
        return self._tracklets.opened_by(opened_by)

    def members(self, identity: int) -> list[Tracklet]:
        """Return the tracklets of an identity; none if it is unknown or has left the window."""
        return self._members.get(identity, [])

    def add(self, seen: Seen, vector: F32) -> list[Link]:
        """Decide who a sighting shows.

        Args:
            seen: The sighting.
            vector: Its unit vector, shape ``(d,)``.

        Returns:
            The decisions in order, at least one; the first places the sighting itself.
        """
        tracklet, fresh = self._tracklets.extend(seen, vector)
        links: list[Link] = []
        if fresh:
            ranked = self._rank(tracklet)
            links.append(self._place(tracklet, seen.id, ranked, "joined"))
        else:
            same = pair(tracklet.modality, tracklet.modality)
            links.append(Link(seen.id, tracklet.opened_by, tracklet.identity, "tracklet",
                              float(self._tracklets.scores_between([tracklet], [tracklet])[0, 0]),
                              self._thresholds[same], same, tracklet.opened_by))
            links.extend(self._part(tracklet, seen.id))
            ranked = self._rank(tracklet, barred=tracklet.identity)
        links.extend(self._merge(tracklet, seen.id, ranked))
        return links

    def restore(self, seen: Seen, vector: F32, identity: int, *, opened_by: int = 0) -> Tracklet:
        """Take a sighting as it was decided before.

        Args:
            seen: The sighting; ids count up.
            vector: Its unit vector, shape ``(d,)``.
            identity: The one its tracklet was last given.
            opened_by: The sighting that opened its tracklet; 0 finds out.
        """
        tracklet, fresh = self._tracklets.extend(seen, vector, opened_by=opened_by)
        if fresh:
            self._move(tracklet, identity)
        return tracklet

    def expire(self, floor: int) -> list[Tracklet]:
        """Forget the tracklets whose last sighting is older than sighting ``floor``."""
        old = [tracklet for tracklet in self._tracklets if tracklet.sightings[-1] < floor]
        for tracklet in old:
            self._leave(tracklet)
            self._tracklets.remove(tracklet)
        return old

    def _whole(self, ours: list[Tracklet], identity: int) -> Evidence:
        return between(self._tracklets, ours, self._members[identity], self._thresholds)

    def _rank(self, tracklet: Tracklet, barred: int = 0) -> list[tuple[int, Evidence]]:
        return list(rank(self._tracklets, tracklet, self._thresholds, barred=barred))

    def _place(self, tracklet: Tracklet, sighting: int, ranked: list[tuple[int, Evidence]], rule: Rule) -> Link:
        """Join the best identity that is near enough, or open one."""
        needed = sure(len(self))
        for identity, evidence in ranked:
            runner_up = ranked[1][1].margin if len(ranked) > 1 else -1.0
            if evidence.margin < 0 or not (
                    (identity == ranked[0][0] and evidence.margin - runner_up >= needed)
                    or (evidence.margin >= needed and self._whole([tracklet], identity).margin >= needed)):
                continue
            self._move(tracklet, identity)
            return _link(sighting, tracklet, rule, evidence)
        self._last += 1
        self._move(tracklet, self._last)
        return _link(sighting, tracklet, "opened" if rule == "joined" else rule, ranked[0][1] if ranked else None)

    def _part(self, tracklet: Tracklet, sighting: int) -> Iterator[Link]:
        """Send away whoever turns out to have been in view at the same time."""
        members = list(self._members[tracklet.identity])
        for at in np.flatnonzero(self._tracklets.conflicts([tracklet], members)[0]):
            other = members[at]
            if tracklet.identity == other.identity:
                younger = max(tracklet, other, key=lambda t: t.opened_by)
                barred = younger.identity
                self._leave(younger)
                yield self._place(younger, sighting, self._rank(younger, barred), "parted")

    def _merge(self, tracklet: Tracklet, sighting: int, ranked: list[tuple[int, Evidence]]) -> list[Link]:
        """Make two identities one where this tracklet belongs to both."""
        needed = sure(len(self))
        for identity, evidence in ranked:
            if evidence.margin < needed:
                break
            if identity == tracklet.identity:
                continue
            ours, theirs = self._members[tracklet.identity], self._members[identity]
            if self._tracklets.conflicts(ours, theirs).any():
                continue
            whole = self._whole(ours, identity)
            if whole.margin < 0:
                continue
            keep = min(tracklet.identity, identity)
            moving = list(theirs if keep == tracklet.identity else ours)
            for each in moving:
                self._move(each, keep)
            return [_link(sighting, each, "merged", whole) for each in moving]
        return []

    def _move(self, tracklet: Tracklet, identity: int) -> None:
        self._leave(tracklet)
        self._tracklets.assign(tracklet, identity)
        self._members.setdefault(identity, []).append(tracklet)

    def _leave(self, tracklet: Tracklet) -> None:
        if tracklet.identity:
            members = self._members[tracklet.identity]
            members.remove(tracklet)
            if not members:
                del self._members[tracklet.identity]
            self._tracklets.assign(tracklet, 0)


def _link(sighting: int, tracklet: Tracklet, rule: Rule, evidence: Evidence | None) -> Link:
    if evidence is None:
        return Link(sighting, tracklet.opened_by, tracklet.identity, rule)
    return Link(sighting, tracklet.opened_by, tracklet.identity, rule, evidence.score, evidence.threshold,
                evidence.pair, evidence.against)
