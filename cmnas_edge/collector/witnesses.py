"""Pairs of tracklets of which it is known whether they are one person, though nobody labelled the site.

*Strangers* for certain: two tracklets of one camera at overlapping times (cannot-link), and two that a person put
apart. *One person*: tracklets that a person confirmed, or merged, to be one. Whoever is confirmed to be one person is
apart, with every tracklet, from whoever was in view beside any of them: so strangers across modalities are known, too.

A decision that was undone counts no more. A group that a camera saw twice at one time contradicts itself: it is left
out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import PAIRS, Pair, pair
from cmnas_edge.calibration.fit import Scores
from cmnas_edge.collector.store.reading import Reading
from cmnas_edge.collector.store.records import Decision
from cmnas_edge.embedding import MODALITIES

__all__ = ["Certain", "Said", "Seen", "Witnessed", "certain", "overlaps", "read", "said", "scored", "witnessed"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_MOST = 5_000_000       # pairs of strangers, so that they fit into memory


@dataclass(frozen=True, eq=False)
class Seen:
    """Tracklets of a site, by row.

    Attributes:
        opened_by: Id of the sighting that opened each, shape ``(n,)``.
        identity: Whom the collector believes each to be, shape ``(n,)``.
        camera: A number for each camera of each device, shape ``(n,)``.
        modality: Place in `MODALITIES`, shape ``(n,)``.
        transform: The site key that turned its vectors, shape ``(n,)``; others do not compare.
        seen_from: Epoch seconds, shape ``(n,)``.
        seen_at: Epoch seconds, shape ``(n,)``.
        mean: Mean vector, shape ``(n, d)``: two of them multiplied are the mean cosine, by which tracklets are linked.
    """

    opened_by: I64
    identity: I64
    camera: I64
    modality: I64
    transform: npt.NDArray[np.uint64]
    seen_from: F64
    seen_at: F64
    mean: F32

    def __len__(self) -> int:
        return len(self.opened_by)


class Said(NamedTuple):
    """What people decided and did not undo, by opening sightings."""

    one: list[list[int]]
    apart: list[tuple[int, int]]


class Witnessed(NamedTuple):
    """Pairs of which the truth is known.

    Attributes:
        scores: Per pair of modalities.
        people: Groups confirmed, of two tracklets and more.
        contradicted: Groups of which a camera saw two tracklets at one time; they are left out.
    """

    scores: Mapping[Pair, Scores]
    people: int
    contradicted: int


class Certain(NamedTuple):
    """Rows of tracklets of which the truth is known.

    Attributes:
        genuine: Two of one person, shape ``(n, 2)``.
        impostor: Two of strangers, shape ``(m, 2)``.
        whose: Of each row: the group that was confirmed, below 0, or whom the collector believes to have seen.
        people: Groups confirmed, of two tracklets and more.
        contradicted: Groups of which a camera saw two tracklets at one time; they are left out.
    """

    genuine: I64
    impostor: I64
    whose: I64
    people: int
    contradicted: int


def read(journal: Reading, fingerprint: bytes, dimension: int, *, since: float, most: int) -> Seen:
    """Read the tracklets of a journal.

    Args:
        journal: Open.
        fingerprint: Of the bundle; other vectors do not compare.
        dimension: Entries of a vector.
        since: Only tracklets still seen since then, in the collector's epoch seconds.
        most: At most about so many sightings.
    """
    own: dict[int, int] = {}
    identity: dict[int, int] = {}
    for link in journal.links(0):
        if link.rule != "tracklet":
            identity[link.opened_by] = link.identity
        if link.rule not in ("merged", "parted"):
            own.setdefault(link.sighting, link.opened_by)
    rows: dict[int, int] = {}
    traits: list[list[float]] = []
    whole: list[tuple[int, int, int, int]] = []     # camera, modality, transform, opened_by
    sums: list[F64] = []
    cameras: dict[tuple[str, str], int] = {}
    for record, vector in journal.sightings(fingerprint, dimension, since=since, most=most):
        opened_by = own.get(record.id)
        if opened_by is None:   # stored, and not linked yet
            continue
        row = rows.setdefault(opened_by, len(rows))
        if row == len(sums):
            camera = cameras.setdefault((record.device, record.camera), len(cameras))
            whole.append((camera, MODALITIES.index(record.modality), record.transform, opened_by))
            traits.append([record.seen_from, record.seen_at, 0])
            sums.append(np.zeros(dimension))
        trait = traits[row]
        trait[:] = min(trait[0], record.seen_from), max(trait[1], record.seen_at), trait[2] + 1
        sums[row] += vector
    camera_of, modality, transform, opened = (list(column) for column in zip(*whole, strict=True)) if whole else (
        [], [], [], [])
    times = np.array(traits, np.float64).reshape(-1, 3)
    mean = (np.array(sums).reshape(-1, dimension) / np.maximum(times[:, 2:], 1)).astype(np.float32)
    return Seen(np.array(opened, np.int64), np.array([identity.get(one, 0) for one in opened], np.int64),
                np.array(camera_of, np.int64), np.array(modality, np.int64), np.array(transform, np.uint64),
                times[:, 0], times[:, 1], mean)


def said(decisions: Iterable[Decision]) -> Said:
    """Say what people decided about who is one person and who is not, without what was undone.

    Whom somebody confirmed or merged is one person, the tracklets of one side of a split or of a ban are not those of
    the other (`cmnas_edge.collector.matching.deciding` says what the bodies hold).
    """
    found = list(decisions)
    undone = {each.body.get("undoes") for each in found if each.kind == "undo"}
    standing = [each for each in found if each.id not in undone]
    one = [each.body["tracklets"] for each in standing if each.kind in ("confirm", "merge")]
    sides = [each.body["sides"] for each in standing if each.kind in ("split", "cannot_link")]
    return Said(one, [(a, b) for some, others in sides for a, b in product(some, others)])


def overlaps(seen: Seen) -> tuple[I64, I64]:
    """Rows of every two tracklets that one camera saw at overlapping times."""
    a: list[I64] = []
    b: list[I64] = []
    for camera in np.unique(seen.camera):
        rows = np.flatnonzero(seen.camera == camera)
        rows = rows[np.argsort(seen.seen_from[rows], kind="stable")]
        # Of those that begin later, the ones that begin before this one ends.
        last = np.searchsorted(seen.seen_from[rows], seen.seen_at[rows], side="right")
        count = np.maximum(last - np.arange(len(rows)) - 1, 0)
        first = np.repeat(np.arange(len(rows)), count)
        a.append(rows[first])
        b.append(rows[first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)])
    return (np.concatenate(a), np.concatenate(b)) if a else (np.zeros(0, np.int64), np.zeros(0, np.int64))


def certain(seen: Seen, found: Said, *, most: int = _MOST) -> Certain:
    """Find the pairs of which the truth is known; vectors are not looked at.

    Args:
        seen: The site's tracklets.
        found: What people decided about them; about others it counts for nothing.
        most: At most so many of either kind; whose are left out where there are more is drawn, always the same.
    """
    row_of = {int(number): row for row, number in enumerate(seen.opened_by)}
    group = _groups(len(seen), [[row_of[number] for number in about if number in row_of] for about in found.one])
    members: dict[int, list[int]] = {}
    for row, head in enumerate(group.tolist()):
        members.setdefault(head, []).append(row)
    a, b = overlaps(seen)
    put = [(row_of[x], row_of[y]) for x, y in found.apart if x in row_of and y in row_of]
    heads = np.sort(np.stack([group[np.concatenate([a, [x for x, _ in put]]).astype(np.int64)],
                              group[np.concatenate([b, [y for _, y in put]]).astype(np.int64)]], axis=1), axis=1)
    clash = {int(one) for one, other in heads if one == other}
    heads = np.unique(heads[(heads[:, 0] != heads[:, 1])], axis=0)
    if len(heads) > most:
        heads = heads[np.random.default_rng(0).choice(len(heads), most, replace=False)]
    confirmed = [rows for head, rows in members.items() if len(rows) > 1 and head not in clash]
    genuine = _each((two for rows in confirmed for two in combinations(rows, 2) if not _same_view(seen, *two)), most)
    impostor = _each((two for one, other in heads.tolist() if one not in clash and other not in clash
                      for two in product(members[one], members[other])), most)
    whose = np.where(np.array([len(members[head]) > 1 for head in group.tolist()], bool), -1 - group, seen.identity)
    genuine, impostor = (rows[seen.transform[rows[:, 0]] == seen.transform[rows[:, 1]]]
                         for rows in (genuine, impostor))
    return Certain(genuine, impostor, whose, len(confirmed), len(clash))


def witnessed(seen: Seen, found: Said) -> Witnessed:
    """Find the pairs of which the truth is known, and their scores; see `certain` and `scored`."""
    known = certain(seen, found)
    return Witnessed(scored(seen, known), known.people, known.contradicted)


def scored(seen: Seen, known: Certain) -> dict[Pair, Scores]:
    """Score pairs of which the truth is known.

    Returns:
        Scores; whose they are is the group that was confirmed, or else whom the collector believes to have seen.
    """
    scores: dict[Pair, Scores] = {}
    for name in PAIRS:
        one, two = (rows[_of(seen, rows, name)] for rows in (known.genuine, known.impostor))
        scores[name] = Scores(_cosines(seen.mean, one), known.whose[one[:, 0]], _cosines(seen.mean, two),
                              known.whose[two])
    return scores


def _each(pairs: Iterator[tuple[int, int]], most: int) -> I64:
    flat = np.fromiter((row for two in islice(pairs, most) for row in two), np.int64)
    return flat.reshape(-1, 2)


def _same_view(seen: Seen, a: int, b: int) -> bool:
    """Whether one camera saw both in one modality: the same side in the same light promises too much."""
    return bool(seen.camera[a] == seen.camera[b] and seen.modality[a] == seen.modality[b])


def _groups(count: int, together: Sequence[Sequence[int]]) -> I64:
    """The lowest row of everybody confirmed to be one person with each row; itself if nobody is."""
    head = np.arange(count)
    for rows in together:
        if rows:
            heads = np.unique(head[list(rows)])
            head[np.isin(head, heads)] = heads[0]
    return head


def _of(seen: Seen, rows: I64, name: Pair) -> npt.NDArray[np.bool_]:
    table = np.array([[pair(a, b) == name for b in MODALITIES] for a in MODALITIES])
    found: npt.NDArray[np.bool_] = table[seen.modality[rows[:, 0]], seen.modality[rows[:, 1]]]
    return found


def _cosines(mean: F32, rows: I64) -> F32:
    """Mean cosine of each two, shape ``(n,)``; in pieces, so that the vectors are not all copied at once."""
    out = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), 1 << 14):
        some = rows[start:start + (1 << 14)]
        out[start:start + len(some)] = np.einsum("ij,ij->i", mean[some[:, 0]], mean[some[:, 1]])
    return np.clip(out, -1, 1)
