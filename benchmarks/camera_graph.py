"""What did the collector learn of the ways between cameras on a drawn day, and what were they?

    python -m benchmarks.camera_graph docs/identity.png

The day is one of `benchmarks.drawn_day`; nobody tells the collector where its cameras stand. Left, every way in both
directions by how long it took in the middle of those learned, wide where many were; right, the ways as they were drawn.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.drawn_day import EDGES, NAMES, draw_day
from benchmarks.least import at_least
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.collector.matching.identity import Identities

__all__ = ["main"]

_WALK_M_S = 1.35
_RARE = 5       # legs; below they are somebody's who went out of sight, or wrong
_PLACES = {name: (at % 3 - 1.0, 0.7 - 1.4 * (at // 3)) for at, name in enumerate(NAMES)}


def main() -> None:
    """Learn a day and draw both graphs."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only here

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("runs/identity"))
    args = parser.parse_args()
    at_least(parser, args, 2, "people")
    at_least(parser, args, 0, "seed")
    bundle = Bundle.open(default_path())
    day = draw_day(bundle, args.seed, args.people, args.cache)
    identities = Identities(bundle.dimension, bundle.calibration)
    for look, vector in zip(day.looks, day.vectors, strict=True):
        identities.add(look, vector)
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    learned, drawn = figure.subplots(1, 2)
    legs = [(start[1], end[1], leg) for start, end, leg in identities.legs() if leg.count >= _RARE]
    most = max(leg.count for _, _, leg in legs)
    for start, end, leg in legs:
        _way(learned, start, end, f"{leg.median_s:.0f} s", 0.5 + 4 * leg.count / most)
    for (a, b), metres in EDGES.items():
        for start, end in ((NAMES[a], NAMES[b]), (NAMES[b], NAMES[a])):
            _way(drawn, start, end, f"{metres / _WALK_M_S:.0f} s", 1.5)
    for axes, title in ((learned, f"learned from {len(day.looks)} sightings of {args.people} people"),
                        (drawn, "as drawn, at 1.35 m/s")):
        axes.set_title(title)
        axes.set_axis_off()
        axes.set_xlim(-1.4, 1.4)
        axes.set_ylim(-1.25, 1.25)
        for name, (x, y) in _PLACES.items():
            axes.annotate(name, (x, y), ha="center", va="center",
                          bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "black"})
    figure.savefig(args.picture, dpi=110)


def _way(axes: Any, start: str, end: str, words: str, width: float) -> None:
    (x, y), (u, v) = _PLACES[start], _PLACES[end]
    axes.annotate("", (u, v), (x, y), arrowprops={"arrowstyle": "-|>", "lw": width, "color": "tab:blue", "shrinkA": 24,
                                                  "shrinkB": 24, "connectionstyle": "arc3,rad=0.12"})
    # Beside the arrow, which bends to the right.
    axes.text((x + u) / 2 + 0.11 * (v - y), (y + v) / 2 - 0.11 * (u - x), words, fontsize=8, ha="center", va="center")


if __name__ == "__main__":
    main()
