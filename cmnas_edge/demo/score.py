"""How right the links are: every pair of tracklets, held against who was really there.

A *tracklet* is what one camera followed without a break. Two tracklets are linked when the
collector gave them one identity. Judging pairs of tracklets, not of sightings, keeps a person
who stood still for long from counting a thousand times.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import msgspec
import numpy as np

from cmnas_edge.embedding import Modality

__all__ = ["Links", "Seen", "count_links", "name_tracklets", "rank_one"]

Key = tuple[str, int]  # camera, tracklet
_OVERLAP = 0.3  # a motion detector's box is loose; people in view rarely overlap this much


class Links(msgspec.Struct, frozen=True):
    """Pairs of tracklets: joined rightly, joined wrongly, or left apart though one person."""

    right: int
    wrong: int
    missed: int


class Seen(NamedTuple):
    """One tracklet as the collector knows it, and who it really shows (None: nobody)."""

    camera: str
    tracklet: int
    modality: Modality
    identity: int
    person: int | None


def name_tracklets(trace: Iterable[Mapping[str, Any]], truth: Iterable[Mapping[str, Any]]) -> dict[Key, int]:
    """Find who each tracklet shows, by the overlap of its boxes with the people drawn.

    Args:
        trace: Rows ``{camera, frame, tracklet, box}`` a daemon kept beside its footage.
        truth: Rows ``{camera, frame, identity, box}`` of the drawn site.

    Returns:
        (camera, tracklet) to person, for tracklets that show one person in most of their frames.
    """
    people: dict[tuple[str, int], list[tuple[int, Sequence[float]]]] = defaultdict(list)
    for row in truth:
        people[row["camera"], row["frame"]].append((row["identity"], row["box"]))
    votes: dict[Key, Counter[int | None]] = defaultdict(Counter)
    for row in trace:
        there = people.get((row["camera"], row["frame"]), [])
        overlaps = [(_iou(row["box"], box), person) for person, box in there]
        best = max(overlaps, default=(0.0, 0))
        votes[row["camera"], row["tracklet"]][best[1] if best[0] >= _OVERLAP else None] += 1
    named = {}
    for key, count in votes.items():
        person, share = count.most_common(1)[0]
        if person is not None and share * 2 > count.total():
            named[key] = person
    return named


def count_links(seen: Sequence[Seen], *, across: bool = False) -> Links:
    """Count pairs of tracklets that are linked rightly, wrongly, or not though they should be.

    Args:
        seen: Tracklets; one that shows nobody can only be linked wrongly.
        across: Count only pairs of one visible and one infrared tracklet.
    """
    right = wrong = missed = 0
    for a, b in combinations(seen, 2):
        if across and a.modality == b.modality:
            continue
        same = a.person is not None and a.person == b.person
        if a.identity == b.identity:
            right, wrong = right + same, wrong + (not same)
        else:
            missed += same
    return Links(right, wrong, missed)


def rank_one(queries: Iterable[tuple[int, Sequence[int | None]]]) -> float | None:
    """Return the share of queries whose best answer shows the same person.

    Args:
        queries: (person, persons of the gallery in ranked order); those whose person is not in
            the gallery at all are left out, since no answer could be right.
    """
    hits = [ranked[0] == person for person, ranked in queries if person in ranked]
    return float(np.mean(hits)) if hits else None


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
