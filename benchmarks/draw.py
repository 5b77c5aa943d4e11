"""How fast are crops drawn on one core, beside the rough prototype they grew from? And frames of a site?

Run it with ``python -m benchmarks.draw``. The two are measured in turns, so that a busy machine slows
both. The prototype lies beside this project's own checkouts only; without it, ours is measured alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.synthetic.crops import CAMERAS, draw_set
from cmnas_edge.synthetic.site import Site

ROOT = Path(__file__).resolve().parents[1]
PROTOTYPE = ROOT.parent / "shared" / "facts" / "synthetic_prototype.py"
SIZES = ((256, 128), (128, 64))


def main() -> None:
    """Measure, print a table, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identities", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    at_least(parser, args, 1, "identities", "rounds")
    cv2.setNumThreads(1)
    drawers: dict[str, Callable[[int, int, int], int]] = {"cmnas_edge": _ours}
    if PROTOTYPE.exists():
        drawers["prototype"] = _prototype()
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(args.rounds):
        for height, width in SIZES:
            for name, draw in drawers.items():
                start = time.process_time()
                count = draw(args.identities, height, width)
                rates.setdefault((name, height), []).append(count / (time.process_time() - start))
    row: dict[str, object] = {}
    for (name, height), measured in rates.items():
        rate = round(statistics.median(measured))
        print(f"{name:<12} {height}x{height // 2}  {rate:>6} crops/s on one core")
        row[f"{name} {height}x{height // 2} crops/s"] = rate
    for count, milliseconds in _frames().items():
        print(f"cmnas_edge   frame of 640x360 with {count} people  {milliseconds:.1f} ms on one core")
        row[f"frame with {count} people ms"] = milliseconds
    keep("draw", row)


def _ours(identities: int, height: int, width: int) -> int:
    return len(draw_set(range(identities), CAMERAS, 4, height, width))


def _frames() -> dict[int, float]:
    """Median milliseconds a frame takes, by how many people are in it, over all cameras of the default site."""
    site = Site.draw()
    spent: dict[int, list[float]] = {}
    for camera in site.cameras:
        scene = site.scene(camera)
        for index in range(0, site.frame_count, 5):
            start = time.process_time()
            scene.draw(index)
            taken = time.process_time() - start
            spent.setdefault(len(scene.figures(index)), []).append(1000 * taken)
    return {count: round(statistics.median(taken), 2) for count, taken in sorted(spent.items())}


def _prototype() -> Callable[[int, int, int], int]:
    spec = importlib.util.spec_from_file_location("synthetic_prototype", PROTOTYPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda identities, height, width: len(module.dataset(range(identities), 4, height, width)[0])


if __name__ == "__main__":
    main()
