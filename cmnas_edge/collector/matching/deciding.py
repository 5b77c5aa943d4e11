"""What a person decides about identities: planned first, then stored, then done; and done again at every start.

``confirm``      These tracklets are one person: nothing automatic parts them.
``merge``        These identities are one person. The oldest number stays.
``split``        These tracklets are somebody else: they leave with a new number, and stay apart from the rest.
``cannot_link``  These two identities are two people: nothing automatic joins them.
``undo``         A decision is taken back: its tracklets are bound no more, and those it moved go back to where they
                 were, unless something moved them since or they could no longer be there.

A plan says which tracklets move; its body is what stands in the journal. Moves are links of the rule ``decided``, so a
restart gives them back as it does all links, and `hold` gives back what binds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from cmnas_edge.collector.matching.held import Held
from cmnas_edge.collector.matching.identity import Identities, Link
from cmnas_edge.collector.matching.tracklet import Tracklet

__all__ = ["Impossible", "Kind", "Plan", "cannot_link", "carry_out", "confirm", "hold", "merge", "split", "undo"]

Kind = Literal["confirm", "split", "merge", "undo", "cannot_link"]


class Impossible(Exception):
    """What was asked for cannot be; the message is for the one who asked."""


class Plan(msgspec.Struct, frozen=True):
    """What would be stored, and which tracklets would move where."""

    kind: Kind
    body: dict[str, Any]
    moves: list[tuple[int, int]]    # tracklet, identity
    links: list[Link]


def confirm(identities: Identities, identity: int) -> Plan:
    """Hold all tracklets of an identity together.

    Raises:
        Impossible: There is none of that number. All of these raise it, each for what it says.
    """
    return _plan(identities, "confirm", _chain(identities, identity), {})


def merge(identities: Identities, numbers: Iterable[int]) -> Plan:
    """Make one of several; `Impossible` for fewer than two, or where one camera saw both at one time."""
    names = sorted(set(numbers))
    if len(names) < 2:
        raise Impossible(f"merge: expected at least two identities, found {len(names)}; name another")
    chains = [_chain(identities, name) for name in names]
    for at, ours in enumerate(chains):
        for other, theirs in enumerate(chains[:at]):
            if identities.clash(ours, theirs):
                raise Impossible(f"merge: expected identities that may be one person, found {names[other]} and "
                                 f"{names[at]}: one camera saw both at one time, or somebody decided that they are "
                                 "two; undo that first")
    moved = [one for chain in chains[1:] for one in chain]
    return _plan(identities, "merge", [one for chain in chains for one in chain],
                 {one.opened_by: names[0] for one in moved})


def split(identities: Identities, identity: int, tracklets: Iterable[int]) -> Plan:
    """Send some tracklets away; `Impossible` for none, all, or what somebody said belongs together."""
    chain, leaving = _chain(identities, identity), set(tracklets)
    away = [one for one in chain if one.opened_by in leaving]
    rest = [one for one in chain if one.opened_by not in leaving]
    if not away or not rest or len(away) != len(leaving):
        raise Impossible(f"split: expected some, not all, of the tracklets of identity {identity}, found others; name "
                         "those that are somebody else")
    if any(identities.held.together(a.opened_by, b.opened_by) for a in away for b in rest):
        raise Impossible("split: expected tracklets that may be parted, found some that somebody decided belong "
                         "together; undo that first")
    number = identities.last + 1
    return _plan(identities, "split", chain, {one.opened_by: number for one in away}, sides=(away, rest))


def cannot_link(identities: Identities, numbers: Iterable[int]) -> Plan:
    """Hold two identities apart; `Impossible` unless there are two."""
    names = sorted(set(numbers))
    if len(names) != 2:
        raise Impossible(f"cannot_link: expected two identities, found {len(names)}; name two")
    ours, theirs = (_chain(identities, name) for name in names)
    return _plan(identities, "cannot_link", [*ours, *theirs], {}, sides=(ours, theirs))


def undo(identities: Identities, number: int, made: Mapping[str, Any]) -> Plan:
    """Take a decision back.

    Args:
        identities: As they are now.
        number: The decision's.
        made: Its body.
    """
    back: dict[int, int] = {}
    for opened_by, was, became in made["moved"]:
        one = identities.tracklet(opened_by)
        if one is not None and one.identity == became:
            back[opened_by] = was
    for was in sorted(set(back.values())):
        some = [one for opened_by, to in back.items() if to == was and (one := identities.tracklet(opened_by))]
        there = [one for one in identities.members(was) if one.opened_by not in back]
        if there and identities.clash(some, there):
            back = {opened_by: to for opened_by, to in back.items() if to != was}
    about = [one for opened_by in made["tracklets"] if (one := identities.tracklet(opened_by)) is not None]
    plan = _plan(identities, "undo", about, back)
    return msgspec.structs.replace(plan, body={**plan.body, "undoes": number})


def carry_out(identities: Identities, plan: Plan, number: int) -> None:
    """Do what was planned and stored as decision ``number``."""
    hold(identities.held, number, plan.kind, plan.body)     # first: ways are learned of who is held together
    for opened_by, identity in plan.moves:
        one = identities.tracklet(opened_by)
        assert one is not None
        identities.move(one, identity)
    identities.renew(plan.body["tracklets"])


def hold(held: Held, number: int, kind: Kind, body: Mapping[str, Any]) -> None:
    """Bind what a decision binds, or release what it undoes."""
    if kind in ("confirm", "merge"):
        held.join(number, body["tracklets"])
    elif kind in ("split", "cannot_link"):
        held.part(number, (body["sides"][0], body["sides"][1]))
    else:
        held.release(body["undoes"])


def _chain(identities: Identities, identity: int) -> list[Tracklet]:
    chain = identities.members(identity)
    if not chain:
        raise Impossible(f"identity: expected one of the hot window, found none of number {identity}; it may be part "
                         "of another by now")
    return chain


def _plan(identities: Identities, kind: Kind, about: list[Tracklet], moves: Mapping[int, int],
          sides: tuple[list[Tracklet], list[Tracklet]] | None = None) -> Plan:
    body: dict[str, Any] = {"tracklets": [one.opened_by for one in about],
                            "moved": [[one.opened_by, one.identity, moves[one.opened_by]] for one in about
                                      if one.opened_by in moves]}
    if sides is not None:
        body["sides"] = [[one.opened_by for one in side] for side in sides]
    links = [Link(one.sightings[-1], one.opened_by, moves[one.opened_by], "decided",
                  fingerprint=identities.fingerprints[0]) for one in about if one.opened_by in moves]
    return Plan(kind, body, [(opened_by, to) for opened_by, to in moves.items()], links)
