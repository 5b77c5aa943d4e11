"""Everything a dataset's protocols say about a set of embeddings, as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from cmnas_edge.embedding import MODALITIES, Modality
from train.protocols import drawn, llcm, market, mixed, regdb, sysu
from train.protocols.embeddings import Embeddings, Labels, Metric
from train.protocols.galleries import Permutations
from train.protocols.pairs import ACROSS, PAIRS, Pair, sides
from train.protocols.rows import EUCLIDEAN, RERANKED, RERANKED_APART, Row, of_searches, of_verification
from train.protocols.rules import OWN_CAMERA, OWN_ROOM, SAME_PERSON_SAME_CAMERA, SAME_PERSON_SAME_ROOM, Rule, meetings
from train.protocols.search import Found
from train.protocols.verification import verify

__all__ = ["KINDS", "PROTOCOLS", "Asked", "Kind", "Search", "report", "require"]

Kind = Literal["dataset", "mixed", "verification"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The dataset's own searches; one gallery of both modalities; whether two pictures show one person."""


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
    """A line of a report that is yet to be worked out: ``run(reranked)`` searches, ``again`` says how again."""

    setting: str
    variant: str
    run: Callable[[bool], list[Found]]
    again: str = RERANKED


def _sysu(asked: Asked) -> Iterator[Search]:
    for mode in sysu.MODES:
        for name, shot in sysu.SHOTS.items():
            for orders in (None, asked.permutations) if asked.permutations is not None else (None,):
                def run(reranked: bool, mode: sysu.Mode = mode, shot: int = shot,
                        orders: Permutations | None = orders) -> list[Found]:
                    return sysu.searches(asked.test, mode=mode, shot=shot, count=asked.count, permutations=orders,
                                         metric=asked.metric, reranked=reranked)
                yield Search(f"{mode}, {name}", "" if orders is None else "official galleries", run, RERANKED_APART)


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
    pairs = drawn.searchable(asked.test, hidden)
    if not pairs:
        raise ValueError("expected somebody else in the gallery, and somebody seen by two cameras that may be "
                         "compared, got nobody")
    for pair in pairs:
        def run(reranked: bool, pair: Pair = pair) -> list[Found]:
            return drawn.searches(asked.test, pair, count=asked.count, seed=asked.seed, hidden=hidden,
                                  metric=asked.metric, reranked=reranked)
        yield Search(pair, "", run, RERANKED_APART)


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
           kinds: Collection[Kind] | None = None, count: int = 10, seed: int = 0, reranked: bool = False,
           resamples: int = 500, metric: Metric = "cosine", system: str = "ours",
           progress: Callable[[int, int, str], object] | None = None) -> list[Row]:
    """Score embeddings by the protocols of a dataset.

    Args:
        name: One of ``PROTOCOLS``.
        test: All pictures of the people searched for; Market-1501's gallery.
        query: Market-1501's queries.
        permutations: Those published with SYSU-MM01, for its galleries drawn that way, too.
        kinds: What is wanted; all that the pictures allow unless said.
        count: Galleries drawn, where galleries are drawn.
        seed: Of what no convention fixes: drawn and mixed galleries, resamples.
        reranked: Every search of the dataset a second time, re-ranked, on a line of its own.
        resamples: Of people, for the intervals of verification.
        metric: How embeddings are compared; lines say so if it is not the cosine.
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
    if kinds is not None:
        require(kinds, name, test)
    wanted = KINDS if kinds is None else kinds
    how = "" if metric == "cosine" else EUCLIDEAN
    jobs: list[tuple[str, Callable[[], Row]]] = []
    asked = Asked(test, query, permutations, count, seed, metric)
    for one in PROTOCOLS[name](asked) if "dataset" in wanted else ():
        for again in (False, True) if reranked else (False,):
            def search(one: Search = one, again: bool = again) -> Row:
                variant = ", ".join(filter(None, (one.variant, how, one.again if again else "")))
                return of_searches(one.run(again), name, one.setting, system, variant=variant)
            jobs.append((one.setting, search))

    for modality in MODALITIES if "mixed" in wanted and _both(test) else ():
        def among_both(modality: Modality = modality) -> Row:
            hidden = SAME_PERSON_SAME_ROOM if name in _ONE_ROOM else SAME_PERSON_SAME_CAMERA
            found = mixed.searches(test, modality, count=count, seed=seed, hidden=hidden, metric=metric)
            return of_searches(found, name, f"{modality}-mixed", system, variant=how)
        jobs.append((f"{modality}-mixed", among_both))

    for pair in _verifiable(name, test) if "verification" in wanted else ():
        def whether_two_are_one(pair: Pair = pair) -> Row:
            found = verify(_people(name, test), pair, resamples=resamples, seed=seed, hidden=_apart(name),
                           metric=metric)
            return of_verification(found, name, pair, system, variant=how)
        jobs.append((f"{pair}, pairs", whether_two_are_one))

    rows = []
    for done, (what, run) in enumerate(jobs):
        if progress:
            progress(done, len(jobs), what)
        rows.append(run())
    if progress:
        progress(len(jobs), len(jobs), "")
    return rows


def require(kinds: Collection[Kind], name: str, test: Labels) -> None:
    """Check that what is wanted can be asked of these pictures, before they are embedded.

    Args:
        kinds: As for ``report``.
        name: One of ``PROTOCOLS``.
        test: What is known of the pictures.

    Raises:
        ValueError: It cannot, or there is no such kind.
    """
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds: expected some of {', '.join(KINDS)}, got {', '.join(kinds) or 'none'}")
    if "mixed" in kinds and not _both(test):
        raise ValueError("expected pictures of both modalities for a mixed gallery, got one")
    nothing = np.zeros((len(test.camera), 1), np.float32)
    if "verification" in kinds and not _verifiable(name, Embeddings.of(nothing, test)):
        raise ValueError("expected somebody seen by two cameras that may be compared, and somebody else, got no such "
                         "pictures")


def _both(test: Labels) -> bool:
    return bool(test.infrared.any() and not test.infrared.all())


def _people(name: str, test: Embeddings) -> Embeddings:
    """Pictures of whom one can say who they are."""
    return test.take(test.identity > market.DISTRACTOR) if name == "market" else test


def _apart(name: str) -> Rule:
    return OWN_ROOM if name in _ONE_ROOM else OWN_CAMERA


def _verifiable(name: str, test: Embeddings) -> list[Pair]:
    """The pairs of modalities in which there are pairs of one person and of two; each pair of pictures once."""
    people, found = _people(name, test), []
    candidates: tuple[Pair, ...] = ("visible-visible", "infrared-infrared", "visible-infrared")
    for pair in candidates:
        if all((people.infrared == infrared).any() for infrared in PAIRS[pair]):
            one, other = sides(people, pair)
            if all(meetings(people.take(one), people.take(other), _apart(name))):
                found.append(pair)
    return found
