"""How much faster is a search scored at once than query by query?

Run it with ``python -m benchmarks.protocol``. A trial has the size of SYSU-MM01's all-search, multi-shot:
3,803 queries of 96 people in a gallery of 3,010. Distances are given; the two are measured in turns, so that
a busy machine slows both, and must agree. The loop is what one writes first, with numpy for each query:
sort, drop what is hidden, see where the matches are.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.retrieval import evaluate, sysu_excluded

Figures = tuple[npt.NDArray[np.float64], ...]

QUERIES, PEOPLE, GALLERY, WIDTH = 3803, 96, 3010, 512


def main() -> None:
    """Measure, print, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--market", action="store_true", help="also 10,000 queries in 20,000, for the memory it takes")
    args = parser.parse_args()
    at_least(parser, args, 1, "rounds")
    trial = _trial()
    taken: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        seconds, ours = _timed(lambda: _at_once(*trial))
        taken.setdefault("at once", []).append(seconds)
        seconds, theirs = _timed(lambda: _one_by_one(*trial))
        taken.setdefault("query by query", []).append(seconds)
        assert all(np.allclose(one, other, rtol=1e-12, atol=0) for one, other in zip(ours, theirs, strict=True))
    row: dict[str, object] = {"queries": QUERIES, "gallery": GALLERY, "figures": "equal"}
    for name, seconds_of in taken.items():
        row[f"{name} s"] = round(statistics.median(seconds_of), 3)
        print(f"{name:<16} {statistics.median(seconds_of):7.3f} s")
    # In each round the two ran one after the other.
    ratio = statistics.median(slow / fast for fast, slow in zip(*taken.values(), strict=True))
    row["times faster"] = round(ratio, 1)
    print(f"{ratio:.1f} times faster; CMC, mAP and mINP equal to 12 digits")
    if args.market:
        row |= _market()
    keep("protocol", row)


def _timed(work: Callable[[], Figures]) -> tuple[float, Figures]:
    start = time.process_time()
    figures = work()
    return time.process_time() - start, figures


def _trial() -> tuple[npt.NDArray[Any], ...]:
    """Distances of made-up embeddings, identities and cameras of both sides."""
    rng = np.random.default_rng(0)
    people = rng.standard_normal((PEOPLE, WIDTH))
    # Ten pictures of a person under a camera lie together, ordered by identity, as the gallery is listed.
    folders = np.sort(rng.permutation(PEOPLE * 4)[:GALLERY // 10])
    gallery, gallery_camera = np.repeat(folders // 4, 10), np.repeat(np.array([1, 2, 4, 5])[folders % 4], 10)
    query, query_camera = rng.integers(PEOPLE, size=QUERIES), rng.choice([3, 6], QUERIES)
    sides = []
    for identity in (query, gallery):
        rows = people[identity] + 4 * rng.standard_normal((len(identity), WIDTH))
        sides.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    # Places instead of distances: a plain sort leaves it to chance which of two equals comes first.
    place = np.argsort(np.argsort(1 - sides[0] @ sides[1].T, axis=1), axis=1)
    return (place / GALLERY).astype(np.float32), query, gallery, query_camera, gallery_camera


def _at_once(distance: npt.NDArray[Any], query: npt.NDArray[Any], gallery: npt.NDArray[Any],
             query_camera: npt.NDArray[Any], gallery_camera: npt.NDArray[Any]) -> Figures:
    found = evaluate(distance, query, gallery, excluded=sysu_excluded(query_camera, gallery_camera))
    return found.cmc, np.array(found.mean_ap), np.array(found.mean_inp)


def _one_by_one(distance: npt.NDArray[Any], query: npt.NDArray[Any], gallery: npt.NDArray[Any],
                query_camera: npt.NDArray[Any], gallery_camera: npt.NDArray[Any]) -> Figures:
    curves, precisions, penalties = [], [], []
    for row, identity, camera in zip(distance, query, query_camera, strict=True):
        order = np.argsort(row)
        if camera == 3:
            order = order[gallery_camera[order] != 2]
        ranked = gallery[order]
        match = ranked == identity
        if not match.any():
            continue
        people, first = np.unique(ranked, return_index=True)
        curves.append(np.cumsum(people[np.argsort(first)] == identity)[:20])
        places = np.flatnonzero(match) + 1
        precisions.append((np.arange(1, len(places) + 1) / places).mean())
        penalties.append(len(places) / places[-1])
    return np.mean(curves, axis=0), np.array(np.mean(precisions)), np.array(np.mean(penalties))


def _market() -> dict[str, object]:
    """Memory and seconds of a search far larger than Market-1501's, distances included."""
    from train.protocols.embeddings import Embeddings  # noqa: PLC0415  # not needed otherwise
    from train.protocols.market import single_query  # noqa: PLC0415

    rng = np.random.default_rng(0)
    sides = []
    for count, cameras in ((10_000, (1, 2, 3)), (20_000, (4, 5, 6))):
        rows = rng.standard_normal((count, WIDTH)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        sides.append(Embeddings(rows, rng.integers(1, 751, count), rng.choice(cameras, count), np.zeros(count, bool)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    single_query(*sides)
    seconds = round(time.process_time() - start, 1)
    plain = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    single_query(*sides, reranked=True)
    reranked = round(time.process_time() - start, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"10,000 in 20,000: {seconds} s, {plain >> 10} MiB at the most ({before >> 10} before); re-ranked "
          f"{reranked} s, {peak >> 10} MiB")
    return {"10,000 in 20,000 s": seconds, "peak MiB": plain >> 10, "re-ranked s": reranked,
            "re-ranked peak MiB": peak >> 10}


if __name__ == "__main__":
    main()
