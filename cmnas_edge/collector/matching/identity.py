"""Who is probably whom: tracklets joined into identities, one sighting at a time.

Every sighting belongs to a tracklet; an *identity* is a set of tracklets. The rules:

``tracklet``  A sighting of a known tracklet stays with it.
``joined``    A new tracklet joins the identity it most probably belongs to, if that is probable enough.
``opened``    Else it opens an identity of its own.
``unsure``    The same, but somebody known was not improbable: worth a look (`Identities.suggest`).
``merged``    When two identities, as they are by now, are most probably one, they become one; the
              older number stays. So it matters little in which order cameras report.
``parted``    Two tracklets of one camera at overlapping times are two people (cannot-link).
              Such an identity is never made; when a later sighting reveals an overlap, the
              younger tracklet leaves and is matched again.
``decided``   A person said so (`cmnas_edge.collector.matching.deciding`).

Two bundles never compare, but a tracklet that a camera tells of by both is one, and who is known by one is by both.
How probable somebody is, is `cmnas_edge.collector.matching.evidence`. Each decision is a `Link`; the links in
order, and what people decided, give the identities back exactly.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import Calibration, Pair, pair
from cmnas_edge.collector.matching.chains import Chains
from cmnas_edge.collector.matching.compare import Known, Scales
from cmnas_edge.collector.matching.evidence import JOIN, NEWCOMER, UNSURE, Evidence, Judge
from cmnas_edge.collector.matching.held import Held
from cmnas_edge.collector.matching.prototypes import Prototypes
from cmnas_edge.collector.matching.tracklet import Seen, Tracklet, Tracklets
from cmnas_edge.collector.matching.transit import Leg, Transit

__all__ = ["Identities", "Link", "Rule"]

F32 = npt.NDArray[np.float32]
Rule = Literal["tracklet", "joined", "opened", "unsure", "merged", "parted", "decided"]
# Two identities are joined for all their tracklets, so it must be likelier than for one.
MERGE = 0.8
_SUGGESTED = 8


class Link(msgspec.Struct, frozen=True, array_like=True):
    """One decision: the tracklet that sighting ``opened_by`` opened is ``identity``.

    ``sighting`` is the one that brought it about. ``score`` is the likeness by ``pair``, nearest to the
    tracklet that ``against`` opened; ``threshold`` the score that was needed, with these people about and
    this way from where that one was. Of an identity opened they tell of the most probable one, if there
    was any. ``probability`` is that of the whole, ``fingerprint`` the bundle's; None where the
    calibration knows none, and in links of earlier releases. ``made_at``, epoch seconds, is set where it changed what
    was: of ``merged`` and ``parted``.
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
    made_at: float | None = None


class Identities:
    """Tracklets of the hot window, parted into probable people.

    Promise: no identity ever holds two tracklets that cannot link, unless a person joined them.

    Args:
        dimension: Entries of a vector.
        calibration: What scores are worth.
        also: The same of each further bundle that is accepted.
        last: The highest identity number given so far; numbers are never used twice.
        newcomer: How many strangers count as much as one person known; see `evidence`.

    Attributes:
        fingerprints: Of the bundles, the leading one first.
    """

    def __init__(self, dimension: int, calibration: Calibration, *, also: Sequence[tuple[int, Calibration]] = (),
                 last: int = 0, newcomer: float = NEWCOMER) -> None:
        bundles = ((dimension, calibration), *also)
        self.fingerprints = [bytes.fromhex(each.fingerprint) for _, each in bundles]
        self.held = Held()
        self._tracklets = Tracklets(*(entries for entries, _ in bundles))
        self._known = [Known(Prototypes(entries, at), Scales(each)) for at, (entries, each) in enumerate(bundles)]
        self._thresholds = [each.thresholds for _, each in bundles]
        self._transit = Transit()
        self._judge = Judge(self._tracklets, self._known, self._transit, newcomer=newcomer)
        self._chains = Chains(self._tracklets, self._known, self._transit, self._judge, self.held)
        self.last = last
        self._repaired = 0      # the identity that was looked at last

    def __iter__(self) -> Iterator[tuple[int, list[Tracklet]]]:
        return iter(self._chains.items())

    def __len__(self) -> int:
        return len(self._chains)

    def table(self) -> tuple[npt.NDArray[np.void], list[tuple[str, str]]]:
        """A copy of `Tracklets.traits`, and device and name of each camera by its number there."""
        return self._tracklets.traits.copy(), self._tracklets.cameras

    def means(self, opened_by: Sequence[int]) -> tuple[list[bool], F32]:
        """Which of some tracklets are here, seen by the leading bundle, and the means of those, shape ``(n, d)``."""
        found = [one if (one := self._tracklets.opened_by(number)) and 0 in one.means else None for number in opened_by]
        return [one is not None for one in found], self._tracklets.means([one for one in found if one])

    def tracklet(self, opened_by: int) -> Tracklet | None:
        """Return the tracklet that a sighting opened, if it has not left the window."""
        return self._tracklets.opened_by(opened_by)

    def members(self, identity: int) -> list[Tracklet]:
        """Return the tracklets of an identity by time; none if it is unknown or has left the window."""
        return self._chains.get(identity, [])

    def legs(self) -> list[tuple[tuple[str, str], tuple[str, str], Leg]]:
        """The camera graph as learned: from, to (device and camera), and how long it takes."""
        cameras = self._tracklets.cameras
        return [(cameras[leg.start], cameras[leg.end], leg) for leg in self._transit.legs()]

    def add(self, seen: Seen, vector: F32, fingerprint: bytes | None = None) -> list[Link]:
        """Decide who a sighting shows.

        Args:
            seen: The sighting.
            vector: Its unit vector, shape ``(d,)``.
            fingerprint: Of the bundle that made it; None: the leading one.

        Returns:
            The decisions in order, at least one; the first places the sighting itself.
        """
        bundle = 0 if fingerprint is None else self.fingerprints.index(fingerprint)
        tracklet, fresh = self._tracklets.extend(seen, vector, bundle=bundle)
        links: list[Link] = []
        if fresh:
            links.append(self._place(tracklet, seen.id, "joined"))
            if links[0].rule != "joined":
                return links    # held against everybody just now
        else:
            self._chains.renew(tracklet.identity)
            same = pair(tracklet.modality, tracklet.modality)
            links.append(Link(seen.id, tracklet.opened_by, tracklet.identity, "tracklet",
                              float(self._tracklets.scores_between([tracklet], [tracklet], bundle)[0, 0]),
                              self._thresholds[bundle][same].score, same, tracklet.opened_by, None,
                              self.fingerprints[bundle]))
            links.extend(self._part(tracklet, seen.id))
        if tracklet.told[bundle].bit_count() == 1:  # what has doubled may look another
            # What another bundle adds counts for those whom the first of this tracklet's cannot compare with.
            links.extend(self._merge(tracklet.identity, seen.id, None if bundle == min(tracklet.told) else bundle))
        return links

    def restore(self, seen: Seen, vector: F32, identity: int, *, fingerprint: bytes | None = None,
                opened_by: int = 0) -> Tracklet:
        """Take a sighting as it was decided before.

        Args:
            seen: The sighting; ids count up.
            vector: Its unit vector, shape ``(d,)``.
            identity: The one its tracklet was last given.
            fingerprint: Which of the bundles made it; None: the leading one.
            opened_by: The sighting that opened its tracklet; 0 finds out.
        """
        bundle = 0 if fingerprint is None else self.fingerprints.index(fingerprint)
        tracklet, fresh = self._tracklets.extend(seen, vector, bundle=bundle, opened_by=opened_by)
        if fresh:
            self.move(tracklet, identity)
        else:
            self._chains.renew(tracklet.identity)
        return tracklet

    def restoring(self) -> AbstractContextManager[None]:
        """Within, `restore` only takes in; what is known of each identity is brought up to date once, at the end."""
        return self._chains.at_once()

    def repair(self, limit: int) -> list[Link]:
        """Look again at so many identities, in turn, and make one of two that are one; return what changed."""
        names = sorted(self._chains)
        at = bisect.bisect_right(names, self._repaired)
        links: list[Link] = []
        for identity in (names[at:] + names[:at])[:limit]:
            self._repaired = identity
            if identity in self._chains:
                links.extend(self._merge(identity, 0))
        return links

    def suggest(self, identity: int) -> list[Evidence]:
        """Who else an identity may be, most probable first; nobody it cannot be."""
        chain = self._chains[identity]
        return [one for one in self._judge.weigh(identity, self._chains, _SUGGESTED)
                if one.probability >= 0.01 and not self.clash(chain, self._chains[one.identity])]

    def clash(self, ours: Sequence[Tracklet], theirs: Sequence[Tracklet]) -> bool:
        """Whether two lots of tracklets cannot be one person: by what cameras saw, or because somebody said so."""
        if self._tracklets.conflicts(list(ours), list(theirs)).any():
            return True
        others = self.held.others(one.opened_by for one in ours)
        return any(one.opened_by in others for one in theirs)

    def expire(self, floor: int) -> list[Tracklet]:
        """Forget the tracklets whose last sighting is older than sighting ``floor``."""
        old = [tracklet for tracklet in self._tracklets if tracklet.sightings[-1] < floor]
        with self._chains.at_once():
            for tracklet in old:
                self._chains.leave(tracklet)
                self._tracklets.remove(tracklet)
                self.held.forget(tracklet.opened_by)
        return old

    def move(self, tracklet: Tracklet, identity: int) -> None:
        """Give a tracklet an identity, and keep all that follows from it."""
        self._chains.move(tracklet, identity)
        self.last = max(self.last, identity)

    def renew(self, opened_by: Iterable[int]) -> None:
        """Bring up to date what is known of whoever has these tracklets, of whom somebody said something."""
        there = (self._tracklets.opened_by(number) for number in opened_by)
        for identity in sorted({one.identity for one in there if one is not None}):
            self._chains.renew(identity)

    def _place(self, tracklet: Tracklet, sighting: int, rule: Rule) -> Link:
        """Join the most probable identity if it is probable enough, or open one."""
        clash = {int(i) for i in self._tracklets.traits["identity"][self._tracklets.conflicts([tracklet])[0]]}
        for one in self.held.others([tracklet.opened_by]):
            if (other := self._tracklets.opened_by(one)) is not None:
                clash.add(other.identity)
        best = self._judge.best(tracklet, self._chains, clash)
        if best is not None and best.probability >= JOIN:
            self.move(tracklet, best.identity)
            return self._link(sighting, tracklet, rule, best)
        self.move(tracklet, self.last + 1)
        if rule == "joined":
            rule = "unsure" if best is not None and best.probability >= UNSURE else "opened"
        return self._link(sighting, tracklet, rule, best)

    def _part(self, tracklet: Tracklet, sighting: int) -> Iterator[Link]:
        """Send away whoever turns out to have been in view at the same time."""
        members = list(self._chains[tracklet.identity])
        for at in np.flatnonzero(self._tracklets.conflicts([tracklet], members)[0]):
            other = members[at]
            if tracklet.identity == other.identity and not self.held.together(tracklet.opened_by, other.opened_by):
                younger = max(tracklet, other, key=lambda t: t.opened_by)
                self._chains.leave(younger)
                yield self._place(younger, sighting, "parted")

    def _merge(self, identity: int, sighting: int, by: int | None = None) -> list[Link]:
        """Make one identity of two that most probably are, each the likeliest for the other; only as a bundle says."""
        ours = self._chains[identity]
        for there in self._judge.weigh(identity, self._chains, 1):
            if there.probability < MERGE or by not in (None, there.bundle):
                break
            theirs = self._chains[there.identity]
            back = [one for one in self._judge.weigh(there.identity, self._chains, 1) if one.identity == identity]
            if not back or back[0].probability < MERGE or self.clash(ours, theirs):
                continue
            keep = min(identity, there.identity)
            moving = list(theirs if keep == identity else ours)
            links = []
            for each in moving:
                self.move(each, keep)
                links.append(self._link(sighting or each.sightings[-1], each, "merged", there))
            return links
        return []

    def _link(self, sighting: int, tracklet: Tracklet, rule: Rule, evidence: Evidence | None) -> Link:
        link = Link(sighting, tracklet.opened_by, tracklet.identity, rule)
        if evidence is None:
            return msgspec.structs.replace(link, fingerprint=self.fingerprints[min(tracklet.told)])
        return msgspec.structs.replace(
            link, score=evidence.score, threshold=evidence.threshold, pair=evidence.pair, against=evidence.against,
            probability=evidence.probability if self._known[evidence.bundle].scales.known else None,
            fingerprint=self.fingerprints[evidence.bundle])
