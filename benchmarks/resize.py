"""What does bringing a person to the network's size cost, and how far is it from an average over every pixel?

    python -m benchmarks.resize

Drawn people, several times as large as the network's crops, are shrunk by OpenCV's area average (the earlier
definition), by today's, and by plain bilinear interpolation (what most re-identification code does). They take turns;
times are processor time, the best of many turns. The cosine is between the shipped network's embeddings.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.engine import open_engine
from cmnas_edge.preprocess import AREA, DEFINITION, resize
from cmnas_edge.synthetic.crops import draw_set

__all__ = ["main"]

U8 = npt.NDArray[np.uint8]
TIMES = (1.3, 1.9, 2.5, 3.2)
_PEOPLE = 24
_SEED = 2_027


def main() -> None:
    """Measure, print, and append to ``results/resize.jsonl``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20, help="over all people each (default: 20)")
    args = parser.parse_args()
    at_least(parser, args, 1, "turns")
    turns = args.turns
    cv2.setNumThreads(1)
    bundle = Bundle.open(default_path())
    height, width = bundle.height, bundle.width
    ways: dict[str, Callable[[U8], U8]] = {
        "area": lambda image: resize(image, height, width, definition=AREA),
        "today": lambda image: resize(image, height, width, definition=DEFINITION),
        "bilinear": lambda image: np.asarray(cv2.resize(image, (width, height)), np.uint8)}
    found: dict[str, dict[str, dict[str, float]]] = {}
    with open_engine(bundle, "visible", max_batch=_PEOPLE) as engine:
        for times in TIMES:
            people = draw_set(range(_PEOPLE), cameras=(1,), per_camera=1, height=round(height * times),
                              width=round(width * times), seed=_SEED).images
            made = {name: np.stack([way(image) for image in people]) for name, way in ways.items()}
            vectors = {name: engine.embed(crops) for name, crops in made.items()}
            us = best(ways, people, turns)
            found[str(times)] = {name: {
                "us": round(us[name], 1),
                "grey_levels_from_area": round(float(np.abs(made[name].astype(int) - made["area"]).mean()), 3),
                "cosine_with_area": round(float((vectors[name] * vectors["area"]).sum(1).mean()), 5)} for name in ways}
            print(f"{times} times as large: " + "; ".join(
                f"{name} {row['us']:.0f} us, {row['grey_levels_from_area']:.2f} grey levels, cosine "
                f"{row['cosine_with_area']:.4f}" for name, row in found[str(times)].items()), flush=True)
    keep("resize", {"people": _PEOPLE, "seed": _SEED, "turns": turns, "times": found})


def best(ways: dict[str, Callable[[U8], U8]], people: U8, turns: int) -> dict[str, float]:
    """Microseconds of processor time a person, the least of each way's turns."""
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(turns):
        for name, way in ways.items():
            began = time.process_time()
            for image in people:
                way(image)
            least[name] = min(least[name], 1e6 * (time.process_time() - began) / len(people))
    return least


if __name__ == "__main__":
    main()
