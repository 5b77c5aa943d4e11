"""What people decided about identities of the hot window: planned, stored, done, and listed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from cmnas_edge.collector import views
from cmnas_edge.collector.matching import deciding
from cmnas_edge.collector.matching.identity import Identities, Link
from cmnas_edge.collector.store.records import Decision

__all__ = ["Decisions", "Keep"]

Keep = Callable[[Decision, Iterable[Link]], int]    # stores a decision and what it moves; returns its number


class Decisions:
    """Decisions by their number. Whoever has it guards it (`cmnas_edge.collector.gallery`)."""

    def __init__(self) -> None:
        self._made: dict[int, Decision] = {}

    def take(self, decisions: Iterable[Decision], identities: Identities) -> None:
        """Take what was decided before, in order, and let it bind."""
        for decision in decisions:
            self._made[decision.id] = decision
            deciding.hold(identities.held, decision.id, decision.kind, decision.body)

    def keep(self, numbers: Collection[int]) -> None:
        """Forget all but these."""
        self._made = {number: held for number, held in self._made.items() if number in numbers}

    def make(self, asked: views.DecisionAsked, person: str, now: float, identities: Identities, keep: Keep
             ) -> tuple[views.Decided, list[Link]]:
        """Do what a person decided, once ``keep`` has it; return what is told of it, and which links it made.

        Raises:
            Unanswerable: It cannot be; the message is for the one who asked. Nothing was stored.
        """
        try:
            plan = self._planned(asked, identities)
        except deciding.Impossible as error:
            raise views.Unanswerable(409, str(error)) from None
        number = keep(Decision(now, person, asked.kind, asked.reason, plan.body), plan.links)
        deciding.carry_out(identities, plan, number)
        decision = Decision(now, person, asked.kind, asked.reason, plan.body, number)
        self._made[number] = decision
        return self._told(decision, identities), plan.links

    def made(self) -> list[Decision]:
        """As the journal has them, the oldest first."""
        return list(self._made.values())

    def listed(self, limit: int, identities: Identities) -> views.DecisionList:
        """List them, the newest first."""
        return views.DecisionList([self._told(self._made[number], identities)
                                   for number in sorted(self._made, reverse=True)[:limit]])

    def _planned(self, asked: views.DecisionAsked, identities: Identities) -> deciding.Plan:
        if asked.kind == "merge":
            return deciding.merge(identities, asked.identities)
        if asked.kind == "cannot_link":
            return deciding.cannot_link(identities, asked.identities)
        if asked.kind == "undo":
            made = self._made.get(asked.undoes or 0)
            if made is None or made.kind == "undo" or self._is_undone(made.id):
                raise deciding.Impossible("undo: expected the number of a decision that stands as undoes, found "
                                          f"{'none' if asked.undoes is None else asked.undoes}; see GET /v1/decisions")
            return deciding.undo(identities, made.id, made.body)
        if len(asked.identities) != 1:
            raise deciding.Impossible(f"{asked.kind}: expected one identity, found {len(asked.identities)}; name one")
        if asked.kind == "split":
            return deciding.split(identities, asked.identities[0], asked.tracklets)
        return deciding.confirm(identities, asked.identities[0])

    def _is_undone(self, number: int) -> bool:
        return any(one.kind == "undo" and one.body["undoes"] == number for one in self._made.values())

    def _told(self, decision: Decision, identities: Identities) -> views.Decided:
        there = (identities.tracklet(one) for one in decision.body["tracklets"])
        return views.Decided(
            id=decision.id, made_at=decision.made_at, person=decision.person, kind=decision.kind,
            reason=decision.reason, tracklets=decision.body["tracklets"],
            identities=sorted({one.identity for one in there if one is not None}),
            moved=[views.Move(*one) for one in decision.body["moved"]], undoes=decision.body.get("undoes"),
            undone=self._is_undone(decision.id))
