"""The tracklets of each identity by time, and what follows from them: prototypes, and legs between cameras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from cmnas_edge.collector.matching.compare import Known
from cmnas_edge.collector.matching.evidence import Judge
from cmnas_edge.collector.matching.held import Held
from cmnas_edge.collector.matching.prototypes import NEWEST
from cmnas_edge.collector.matching.tracklet import Tracklet, Tracklets
from cmnas_edge.collector.matching.transit import Transit

__all__ = ["Chains"]

# A leg is learned from two tracklets that look it by themselves, wherever they were: evidence in nats.
_LEARN = 5.0
_Leg = tuple[int, int, float]


class Chains(Mapping[int, list[Tracklet]]):
    """Chains by identity. Whatever changes one goes through here, and brings what follows from it up to date.

    Args:
        tracklets: The table that all of them stand in.
        known: Of each bundle; their prototypes are kept up here.
        transit: Is told the legs that are learned.
        judge: Says which tracklets look one person by themselves.
        held: Says which are one person because somebody said so.
    """

    def __init__(self, tracklets: Tracklets, known: Sequence[Known], transit: Transit, judge: Judge,
                 held: Held) -> None:
        self._tracklets = tracklets
        self._known = known
        self._transit = transit
        self._judge = judge
        self._held = held
        self._chains: dict[int, list[Tracklet]] = {}
        self._legs: dict[int, list[_Leg]] = {}      # learned from each identity
        self._stale: dict[int, None] | None = None  # identities to be renewed at the end of `at_once`

    def __getitem__(self, identity: int) -> list[Tracklet]:
        return self._chains[identity]

    def __iter__(self) -> Iterator[int]:
        return iter(self._chains)

    def __len__(self) -> int:
        return len(self._chains)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, tracklets only come and go; what follows from each chain is brought up to date once, at the end."""
        stale = self._stale = dict[int, None]()     # in the order in which they changed
        try:
            yield
        finally:
            self._stale = None
            for identity in stale:
                self.renew(identity)

    def move(self, tracklet: Tracklet, identity: int) -> None:
        """Give a tracklet an identity."""
        self.leave(tracklet)
        self._tracklets.assign(tracklet, identity)
        self._chains.setdefault(identity, []).append(tracklet)
        self.renew(identity)

    def leave(self, tracklet: Tracklet) -> None:
        """Take its identity, if it has one, from a tracklet; an identity without any is no more."""
        if tracklet.identity:
            self._chains[tracklet.identity].remove(tracklet)
            self.renew(tracklet.identity)
            self._tracklets.assign(tracklet, 0)

    def renew(self, identity: int) -> None:
        """Bring up to date what follows from a chain of which some tracklet has changed: its order, too."""
        if self._stale is not None:
            self._stale[identity] = None
            return
        chain = self._chains[identity]
        chain.sort(key=lambda one: (one.seen_from, one.opened_by))
        now, then = self._learned(chain[-NEWEST:]), self._legs.pop(identity, [])
        for leg, times in (Counter(then) - Counter(now)).items():
            self._transit.add(*leg, times=-times)
        for leg, times in (Counter(now) - Counter(then)).items():
            self._transit.add(*leg, times=times)
        if now:
            self._legs[identity] = now
        for known in self._known:
            known.prototypes.put(identity, chain, self._tracklets)
        if not chain:
            del self._chains[identity]

    def _learned(self, chain: list[Tracklet]) -> list[_Leg]:
        if len(chain) < 2:
            return []
        alike = self._judge.likeness(chain) >= _LEARN
        return [(self._tracklets.camera(a), self._tracklets.camera(b), b.seen_from - a.seen_at)
                for a, b, look_it in zip(chain, chain[1:], alike, strict=False)
                if a.transform == b.transform and (look_it or self._held.together(a.opened_by, b.opened_by))]
