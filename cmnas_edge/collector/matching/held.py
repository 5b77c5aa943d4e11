"""What people decided about tracklets: which belong together and which apart, until they take it back.

A decision is about tracklets, not about identities: those come and go, and what somebody saw of these tracklets stays
true. Nothing automatic parts what is held together or joins what is held apart. A tracklet that came later is bound by
none of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = ["Held"]


class Held:
    """Decisions in force, by their number; tracklets by the sighting that opened them."""

    def __init__(self) -> None:
        self._together: dict[int, set[int]] = {}                # decisions of each tracklet
        self._apart: dict[int, set[tuple[int, int]]] = {}       # decision and side of each tracklet
        self._sides: dict[tuple[int, int], set[int]] = {}       # tracklets of a decision's side

    def join(self, decision: int, tracklets: Collection[int]) -> None:
        """Hold tracklets together."""
        for one in tracklets:
            self._together.setdefault(one, set()).add(decision)

    def part(self, decision: int, sides: tuple[Collection[int], Collection[int]]) -> None:
        """Hold the tracklets of one side apart from those of the other."""
        for side, tracklets in enumerate(sides):
            self._sides[decision, side] = set(tracklets)
            for one in tracklets:
                self._apart.setdefault(one, set()).add((decision, side))

    def release(self, decision: int) -> None:
        """Take a decision back."""
        for one in [one for one, made in self._together.items() if decision in made]:
            self._together[one].discard(decision)
        for side in (0, 1):
            for one in self._sides.pop((decision, side), ()):
                self._apart[one].discard((decision, side))

    def forget(self, tracklet: int) -> None:
        """A tracklet has left the hot window."""
        self._together.pop(tracklet, None)
        for key in self._apart.pop(tracklet, ()):
            self._sides[key].discard(tracklet)

    def together(self, a: int, b: int) -> bool:
        """Whether somebody said that two tracklets are one person."""
        return not self._together.get(a, set()).isdisjoint(self._together.get(b, ()))

    def others(self, tracklets: Iterable[int]) -> set[int]:
        """Tracklets that are not to be with any of these."""
        found: set[int] = set()
        for one in tracklets:
            for decision, side in self._apart.get(one, ()):
                found |= self._sides[decision, 1 - side]
        return found
