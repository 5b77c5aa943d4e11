"""What changed by itself: identities that became one, and tracklets that left theirs, each with when and why.

A new tracklet that joins or opens an identity is no change; a decision of a person stands elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Mapping

import msgspec

from cmnas_edge.collector import views
from cmnas_edge.collector.matching.identity import Link

__all__ = ["MOST", "Changes"]

MOST = 2000     # remembered; the oldest give way


class Changes:
    """The changes of the hot window, in the order they came about. One thread at a time may use it."""

    def __init__(self) -> None:
        self._found: deque[views.Change] = deque(maxlen=MOST)

    def note(self, links: Iterable[Link], decided: Mapping[int, Link]) -> None:
        """Take links, in order, of which some may change what was.

        Args:
            links: Made just now, or read back.
            decided: What each tracklet was before them, by its opening sighting.
        """
        was: dict[int, Link] = {}
        for link in links:
            before = was.get(link.opened_by) or decided.get(link.opened_by)
            was[link.opened_by] = link
            if link.rule not in ("merged", "parted") or before is None or before.identity == link.identity:
                continue
            self._add(views.Change(
                at=link.made_at, kind=link.rule, was=before.identity, became=link.identity,
                tracklets=[link.opened_by], score=link.score, threshold=link.threshold, pair=link.pair,
                probability=link.probability, against=link.against, identity=link.identity))

    def keep(self, tracklets: Container[int]) -> None:
        """Forget what was about none but tracklets that are gone."""
        if any(not any(one in tracklets for one in change.tracklets) for change in self._found):
            self._found = deque((change for change in self._found if any(one in tracklets for one in change.tracklets)),
                                maxlen=MOST)

    def newest(self, limit: int, of: int | None = None) -> list[views.Change]:
        """The newest first; ``of``: those that a number took part in."""
        found = (change for change in reversed(self._found) if of is None or of in (change.was, change.became))
        return [change for change, _ in zip(found, range(limit), strict=False)]

    def _add(self, change: views.Change) -> None:
        """Put one behind the others; tracklets that moved together are one change."""
        last = self._found[-1] if self._found else None
        if last is not None and change.kind == "merged" and _apart(last) == _apart(change):
            self._found[-1] = msgspec.structs.replace(last, tracklets=[*last.tracklets, *change.tracklets])
        else:
            self._found.append(change)


def _apart(change: views.Change) -> views.Change:
    return msgspec.structs.replace(change, tracklets=[])
