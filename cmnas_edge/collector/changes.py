"""What changed by itself: identities that became one, and tracklets that left theirs, each with when and why.

A new tracklet that joins or opens an identity is no change; a decision of a person stands elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from cmnas_edge.collector.matching.identity import Link

__all__ = ["MOST", "Change", "Changes"]

MOST = 2000     # remembered; the oldest give way


class Change(NamedTuple):
    """Tracklets of identity ``was`` that moved together, by the first one's link, which says where to and why."""

    link: Link
    was: int
    tracklets: list[int]


class Changes:
    """The changes of the hot window, in the order they came about. One thread at a time may use it."""

    def __init__(self) -> None:
        self._found: deque[Change] = deque(maxlen=MOST)

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
            last = self._found[-1] if self._found else None
            if last is not None and _together(last, link, before.identity):
                last.tracklets.append(link.opened_by)
            else:
                self._found.append(Change(link, before.identity, [link.opened_by]))

    def keep(self, tracklets: Container[int]) -> None:
        """Forget what was about none but tracklets that are gone."""
        kept = [change for change in self._found if any(one in tracklets for one in change.tracklets)]
        if len(kept) < len(self._found):
            self._found = deque(kept, maxlen=MOST)

    def newest(self, limit: int, of: int | None = None) -> list[Change]:
        """The newest first; ``of``: those that a number took part in."""
        found = (change for change in reversed(self._found) if of is None or of in (change.was, change.link.identity))
        return [change for change, _ in zip(found, range(limit), strict=False)]


def _together(last: Change, link: Link, was: int) -> bool:
    """Whether a link is of the same change: two identities that became one, for one reason, at one time."""
    a = last.link
    return (link.rule == "merged" and (a.rule, last.was, a.identity, a.score, a.against, a.made_at)
            == (link.rule, was, link.identity, link.score, link.against, link.made_at))
