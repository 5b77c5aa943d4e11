"""What people decided about identities, and what those did by themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from cmnas_edge.calibration import Pair
from cmnas_edge.collector.store.records import DecisionKind
from cmnas_edge.collector.views.questions import Id, Limit

__all__ = ["Change", "ChangeList", "ChangesAsked", "Decided", "DecisionAsked", "DecisionList", "DecisionsAsked",
           "Move"]


class DecisionAsked(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person decides, and why.

    ``confirm`` and ``split`` are about one identity, ``cannot_link`` about two, ``merge`` about two or more. ``split``
    names the ``tracklets`` that are somebody else; ``undo`` the decision that it ``undoes``.
    """

    kind: DecisionKind
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    identities: Annotated[list[Id], Meta(max_length=50)] = []
    tracklets: Annotated[list[Id], Meta(max_length=1000)] = []
    undoes: Id | None = None


class DecisionsAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """How many decisions, the newest first."""

    limit: Limit = 100


class Move(Struct, frozen=True):
    """A tracklet that a decision gave another identity."""

    tracklet: int
    was: int
    became: int


class Decided(Struct, frozen=True, kw_only=True):
    """A decision as it stands; ``undone`` if another took it back.

    ``identities`` are the numbers that the tracklets it is about have now.
    """

    id: int
    made_at: float
    person: str
    kind: DecisionKind
    reason: str
    tracklets: list[int]
    identities: list[int]
    moved: list[Move]
    undoes: int | None
    undone: bool


class DecisionList(Struct, frozen=True):
    """What people decided, the newest first."""

    decisions: list[Decided]


class ChangesAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """How many changes, the newest first; ``identity``: only those that this number took part in."""

    limit: Limit = 100
    identity: Annotated[int, Meta(ge=1)] | None = None


class Change(Struct, frozen=True, kw_only=True):
    """What changed by itself: ``tracklets`` of identity ``was`` are of identity ``became`` since.

    ``merged``: two identities are probably one. ``parted``: the tracklet was in view together with another of its
    identity, and so is somebody else. ``score`` and the rest, to ``bundle``, say why they are thought to be whom they
    became, as in `Tracklet`. ``identity`` is the number they have now. ``at`` is the collector's clock; null for
    changes that an earlier release made.
    """

    at: float | None
    kind: Literal["merged", "parted"]
    was: int
    became: int
    tracklets: list[int]
    score: float | None
    threshold: float | None
    pair: Pair | None
    probability: float | None
    against: int | None
    bundle: str | None
    suggestion: bool
    identity: int


class ChangeList(Struct, frozen=True):
    """What changed by itself, the newest first."""

    changes: list[Change]
