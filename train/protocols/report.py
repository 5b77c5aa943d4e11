"""Everything a dataset's protocols say about a set of embeddings, as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from train.protocols import drawn, llcm, market, mixed, regdb, sysu
from train.protocols.embeddings import Embeddings, Metric
from train.protocols.galleries import Permutations
from train.protocols.pairs import ACROSS, PAIRS, Pair
from train.protocols.rows import Row, of_searches, of_verification
from train.protocols.rules import OWN_CAMERA, OWN_ROOM, SAME_PERSON_SAME_CAMERA, SAME_PERSON_SAME_ROOM, Rule
from train.protocols.search import Found
from train.protocols.verification import verify

__all__ = ["PROTOCOLS", "Asked", "Search", "report"]


@dataclass(frozen=True)
class Asked:
    """What is scored, and how; fields as the arguments of ``report``."""

    test: Embeddings
    query: Embeddings | None
    permutations: Permutations | None
    count: int
    seed: int
    metric: Metric


class Search(NamedTuple):
    """A line of a report that is yet to be worked out: ``run(reranked)`` searches."""

    setting: str
    variant: str
    run: Callable[[bool], list[Found]]


def _sysu(asked: Asked) -> Iterator[Search]:
    for mode in sysu.MODES:
        for name, shot in sysu.SHOTS.items():
            for orders in (None, asked.permutations) if asked.permutations is not None else (None,):
                def run(reranked: bool, mode: sysu.Mode = mode, shot: int = shot,
                        orders: Permutations | None = orders) -> list[Found]:
                    return sysu.searches(asked.test, mode=mode, shot=shot, count=asked.count, permutations=orders,
                                         metric=asked.metric, reranked=reranked)
                yield Search(f"{mode}, {name}", "" if orders is None else "official galleries", run)


def _regdb(asked: Asked) -> Iterator[Search]:
    for pair in ACROSS:
        def run(reranked: bool, pair: Pair = pair) -> list[Found]:
            return [regdb.one_split(asked.test, pair, metric=asked.metric, reranked=reranked)]
        yield Search(pair, "", run)


def _llcm(asked: Asked) -> Iterator[Search]:
    for pair in ACROSS:
        def run(reranked: bool, pair: Pair = pair) -> list[Found]:
            return llcm.searches(asked.test, pair, count=asked.count, metric=asked.metric, reranked=reranked)
        yield Search(pair, "", run)

    def swapped(reranked: bool) -> list[Found]:
        return llcm.role_swapped(asked.test, count=asked.count, metric=asked.metric, reranked=reranked)
    yield Search("visible-infrared, roles swapped", "", swapped)


def _market(asked: Asked) -> Iterator[Search]:
    def run(reranked: bool) -> list[Found]:
        if asked.query is None:
            raise ValueError("market: expected queries beside the gallery, got none")
        return [market.single_query(asked.query, asked.test, metric=asked.metric, reranked=reranked)]
    yield Search("single query", "", run)


def _drawn(asked: Asked, hidden: Rule = OWN_ROOM) -> Iterator[Search]:
    pairs = drawn.searchable(asked.test)
    if not pairs:
        raise ValueError("expected two modalities, or one under two cameras, got one under one")
    for pair in pairs:
        def run(reranked: bool, pair: Pair = pair) -> list[Found]:
            return drawn.searches(asked.test, pair, count=asked.count, seed=asked.seed, hidden=hidden,
                                  metric=asked.metric, reranked=reranked)
        yield Search(pair, "", run)


def _folder(asked: Asked) -> Iterator[Search]:
    return _drawn(asked, OWN_CAMERA)


PROTOCOLS: Mapping[str, Callable[[Asked], Iterator[Search]]] = {
    "sysu": _sysu,
    "regdb": _regdb,
    "llcm": _llcm,
    "market": _market,
    "drawn": _drawn,
    "folder": _folder,
}
"""What is searched in which dataset; one line each."""

_ONE_ROOM = {"sysu", "drawn"}  # where cameras 2 and 3 stand in one


def report(name: str, test: Embeddings, *, query: Embeddings | None = None, permutations: Permutations | None = None,
           count: int = 10, seed: int = 0, reranked: bool = False, mixed_gallery: bool = True,
           verification: bool = True, resamples: int = 500, metric: Metric = "cosine", system: str = "ours",
           progress: Callable[[int, int, str], object] | None = None) -> list[Row]:
    """Score embeddings by every protocol of a dataset.

    Args:
        name: One of ``PROTOCOLS``.
        test: All pictures of the people searched for; Market-1501's gallery.
        query: Market-1501's queries.
        permutations: Those published with SYSU-MM01, for its galleries drawn that way, too.
        count: Galleries drawn, where galleries are drawn.
        seed: Of what no convention fixes: drawn and mixed galleries, resamples.
        reranked: Every search a second time, re-ranked, on a line of its own.
        mixed_gallery: Searches of one gallery of both modalities, too, where both are there.
        verification: Error rates for each pair of modalities, too.
        resamples: Of people, for the intervals of verification.
        metric: How embeddings are compared.
        system: What the rows call what is scored.
        progress: Called with lines done, lines in all, and what comes next.

    Returns:
        Rows in the order of the protocols: searches, mixed galleries, verification.

    Raises:
        ValueError: There is no such protocol, or the embeddings are not what it needs.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {name}")
    if count < 1:
        raise ValueError(f"count: expected at least 1 gallery, got {count}")
    jobs: list[tuple[str, Callable[[], Row]]] = []
    for one in PROTOCOLS[name](Asked(test, query, permutations, count, seed, metric)):
        for again in (False, True) if reranked else (False,):
            def search(one: Search = one, again: bool = again) -> Row:
                variant = ", ".join(filter(None, (one.variant, "re-ranked" if again else "")))
                return of_searches(one.run(again), name, one.setting, system, variant=variant)
            jobs.append((one.setting, search))

    both = bool(test.infrared.any() and not test.infrared.all())
    for modality in mixed.MODALITIES if mixed_gallery and both else ():
        def among_both(modality: mixed.Modality = modality) -> Row:
            hidden = SAME_PERSON_SAME_ROOM if name in _ONE_ROOM else SAME_PERSON_SAME_CAMERA
            found = mixed.searches(test, modality, count=count, seed=seed, hidden=hidden, metric=metric)
            return of_searches(found, name, f"{modality}-mixed", system)
        jobs.append((f"{modality}-mixed", among_both))

    people = test.take(test.identity > market.DISTRACTOR) if name == "market" else test
    apart = OWN_ROOM if name in _ONE_ROOM else OWN_CAMERA
    for pair in ("visible-visible", "infrared-infrared", "visible-infrared") if verification else ():
        if _comparable(people, pair, apart):
            def whether_two_are_one(pair: Pair = pair) -> Row:
                found = verify(people, pair, resamples=resamples, seed=seed, hidden=apart, metric=metric)
                return of_verification(found, name, pair, system)
            jobs.append((f"{pair}, pairs", whether_two_are_one))

    rows = []
    for done, (what, run) in enumerate(jobs):
        if progress:
            progress(done, len(jobs), what)
        rows.append(run())
    if progress:
        progress(len(jobs), len(jobs), "")
    return rows


def _comparable(pictures: Embeddings, pair: Pair, hidden: Rule) -> bool:
    """Whether any camera of one modality may be compared with any of the other."""
    sides = []
    for infrared in PAIRS[pair]:
        rows = np.flatnonzero(pictures.infrared == infrared)
        if not len(rows):
            return False
        sides.append(pictures.take(rows[np.unique(pictures.camera[rows], return_index=True)[1]]))
    return not hidden.hides(sides[0], sides[1]).all()
