"""How many links across cameras are found, and how many are wrong, on drawn days with a dusk?

    python -m benchmarks.identity                       # three days of 60 people, one of 600
    python -m benchmarks.identity --days 600:1 600:2    # people:seed
    python -m benchmarks.identity --report              # write the table of docs/identity.md

A day is `benchmarks.drawn_day`: six cameras, walks between them, look-alikes; embeddings by the bundle that ships. Ours
is `cmnas_edge.collector.matching.identity` as the collector runs it, sighting by sighting, with its repair in
between; rivals are in `benchmarks.linking`, and get whole tracklets. Everybody has one number to be set: theirs the
threshold, ours how many strangers count as much as one person known. Each is shown at the number that is best for that
day: the one with most links found while at least 19 of 20 are right. *As shipped* is ours as it comes. *Recovered* is
the share that ours finds of the links `nearest` misses there. Seeds 100 and up were in view when the rules were made.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.drawn_day import Day, draw_day
from benchmarks.linking import Judged, Truth, clustered, nearest, scores
from benchmarks.records import RESULTS, keep
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.collector.matching.evidence import NEWCOMER
from cmnas_edge.collector.matching.identity import Identities

__all__ = ["REPAIR", "main", "ours", "placed", "report"]

I64 = npt.NDArray[np.int64]
_PRECISION = 0.95
_THRESHOLDS = tuple(np.arange(0.5, 0.96, 0.025).round(3).tolist())
_NEWCOMERS = tuple(np.geomspace(0.05, 12.8, len(_THRESHOLDS)).round(3).tolist())   # as many as rivals may try
REPAIR = (100, 25)     # after so many sightings, so many identities
_DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "identity.md"
_BEGIN, _END = "<!-- identity -->", "<!-- end of identity -->"
_CONTENDERS = (("nearest", "#b0b0b0", "o"), ("clustered", "#5b5bd6", "s"), ("ours", "#1b7f4d", "^"),
               ("as shipped", "#d97706", "*"))
_DAYS = ("60:0", "60:1", "60:2", "600:0")


def main() -> None:
    """Measure, print, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", nargs="+", default=_DAYS, metavar="PEOPLE:SEED")
    parser.add_argument("--cache", type=Path, default=Path("runs/identity"), help="where embeddings are kept")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    args = parser.parse_args()
    for named in args.days:
        people, _, seed = named.partition(":")
        if not (people.isdecimal() and seed.isdecimal() and int(people) > 1):
            parser.error(f"--days: expected at least two PEOPLE, and a SEED, as in 60:0, found {named!r}; correct it")
    if args.report:
        text = _DOCUMENT.read_text("utf-8")
        before, after = text.split(_BEGIN)[0], text.split(_END)[1]
        _DOCUMENT.write_text(f"{before}{_BEGIN}\n{report()}\n{_END}{after}", "utf-8")
        picture(RESULTS / "identity.png")
        return
    bundle = Bundle.open(default_path())
    print("| people | seed | who | precision | recall | across: recall at 0.95 | IDF1 | switches | unsure |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for named in args.days:
        people, _, seed = named.partition(":")
        day = draw_day(bundle, int(seed), int(people), args.cache)
        keep("identity", {"people": int(people), "seed": int(seed), "tracklets": len(day.passes),
                          "fingerprint": bundle.fingerprint.hex()[:16], **_judge(bundle, day, int(people))})


def last() -> list[tuple[tuple[int, int], dict[str, Any]]]:
    """The last run of every day, by people and seed."""
    rows = [json.loads(line) for line in (RESULTS / "identity.jsonl").read_text("utf-8").splitlines()]
    return sorted({(row["people"], row["seed"]): row for row in rows}.items())


def picture(path: Path) -> None:
    """Draw what everybody finds, and how much of that is right, a panel for each day."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - nothing else needs it

    days = last()
    figure = Figure(figsize=(3 * len(days), 3.2), layout="constrained")
    panels = figure.subplots(1, len(days), sharex=True, sharey=True, squeeze=False)[0]
    for axes, ((people, seed), row) in zip(panels, days, strict=True):
        axes.axhline(_PRECISION, color="#999999", linewidth=0.8, linestyle="--")
        for name, colour, mark in _CONTENDERS:
            one = row[name]
            axes.scatter(one["recall"], one["precision"], color=colour, marker=mark, label=one["setting"])
        axes.set(title=f"{people} people, day {seed}", xlabel="links found", xlim=(-0.03, 1), ylim=(0.85, 1.005))
        axes.legend(fontsize=7, loc="lower left")
    panels[0].set_ylabel("of those found, right")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def report() -> str:
    """The last run of every day as a table."""
    lines = ["| people, day | who | precision | recall | IDF1 | switches | across: recall at 0.95 | unsure |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for (people, seed), row in last():
        for name, _, _ in _CONTENDERS:
            one = row[name]
            reached = f"{one['recall']:.2f}" if one["reached"] else "never there"
            unsure = "" if one["unsure"] is None else f"{one['unsure']:.2f}"
            across = "" if name == "as shipped" else f"{one['recall across at 0.95']:.2f}"
            lines.append(f"| {people}, {seed} | {one['setting']} | {one['precision']:.2f} | {reached} | "
                         f"{one['idf1']:.2f} | {one['switches']} | {across} | {unsure} |")
        lines.append(f"| {people}, {seed} | **recovered** of what `nearest` misses | | **{row['recovered']:.2f}** "
                     "| | | | |")
    return "\n".join(lines)


def ours(bundle: Bundle, day: Day, newcomer: float = NEWCOMER) -> tuple[I64, float]:
    """The identity of each tracklet as the collector finds it, and the share it was unsure of."""
    identities = Identities(bundle.dimension, bundle.calibration, newcomer=newcomer)
    unsure = 0
    for look, vector in zip(day.looks, day.vectors, strict=True):
        unsure += identities.add(look, vector)[0].rule == "unsure"
        if look.id % REPAIR[0] == 0:
            identities.repair(REPAIR[1])
    return placed(identities, day), unsure / len(day.passes)


def placed(identities: Identities, day: Day) -> I64:
    """The identity of each tracklet of a day."""
    found = np.zeros(len(day.passes), np.int64)
    for identity, chain in identities:
        for tracklet in chain:
            found[tracklet.key[3]] = identity
    return found


def _judge(bundle: Bundle, day: Day, people: int) -> dict[str, object]:
    truth, score = Truth(day), scores(day)
    rows: dict[str, object] = {}
    shares: dict[float, float] = {}

    def found(newcomer: float) -> I64:
        identity, shares[newcomer] = ours(bundle, day, newcomer)
        return identity

    best: dict[str, I64 | None] = {}
    ways: tuple[tuple[str, Iterable[float], Callable[[float], I64]], ...] = (
        ("nearest", _THRESHOLDS, lambda at: nearest(score, truth.clash, at)),
        ("clustered", _THRESHOLDS, lambda at: clustered(day, truth.clash, at)),
        ("ours", _NEWCOMERS, found))
    for name, numbers, way in ways:
        tried = [(number, identity, truth.judge(identity)) for number in numbers for identity in [way(number)]]
        right = [one for one in tried if one[2].precision >= _PRECISION]
        number, identity, judged = max(right, key=lambda one: one[2].recall, default=tried[-1])
        best[name] = identity if right else None
        across = max((one[2].recall_across for one in tried if one[2].precision_across >= _PRECISION), default=0.0)
        rows[name] = _row(people, day.seed, f"{name} ({number:g})", judged, across, shares.get(number),
                          reached=bool(right))
    began = time.process_time()
    identity, share = ours(bundle, day)
    rows["us a sighting"] = round(1e6 * (time.process_time() - began) / len(day.looks))
    judged = truth.judge(identity)
    rows["as shipped"] = _row(people, day.seed, "ours as shipped", judged, judged.recall_across, share, reached=True)
    theirs = np.zeros_like(truth.same) if best["nearest"] is None else truth.linked(best["nearest"])
    missed = truth.same & ~theirs
    mine = np.zeros_like(missed) if best["ours"] is None else truth.linked(best["ours"])
    rows["recovered"] = round(float(np.count_nonzero(missed & mine) / max(1, int(np.count_nonzero(missed)))), 3)
    print(f"| {people} | {day.seed} | recovered of what nearest misses | | {rows['recovered']} | | | | |", flush=True)
    return rows


def _row(people: int, seed: int, name: str, judged: Judged, across: float, unsure: float | None, *, reached: bool
         ) -> dict[str, object]:
    told = f"{judged.recall:.3f}" if reached else "never there"
    print(f"| {people} | {seed} | {name} | {judged.precision:.3f} | {told} | {across:.3f} | {judged.idf1:.3f} | "
          f"{judged.switches} | {'' if unsure is None else f'{unsure:.3f}'} |", flush=True)
    return {"setting": name, "reached": reached, **{key: round(value, 4) for key, value in judged._asdict().items()},
            "recall across at 0.95": round(across, 4), "unsure": None if unsure is None else round(unsure, 4)}


if __name__ == "__main__":
    main()
