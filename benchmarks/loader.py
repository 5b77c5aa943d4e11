"""Can a training step be fed as fast as it computes? Crops loaded a second, against crops learnt from a second.

Run it with ``python -m benchmarks.loader``, and with ``--device cuda`` where there is one. Pictures are drawn, decoded
into a shard and mapped from it; loading is what `train.data` does before a network sees a batch: choose rows, read
them, augment. Decoding happens once and is measured in processor time. On a CPU loading and step
are measured in processor time of one thread, in turns, so that a busy machine slows neither; on a GPU in time that
passes, and loading also with several threads (`train.data.ahead`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.errors import DeviceError
from cmnas_edge.synthetic.sysu import write_sysu
from train.data.ahead import Ahead
from train.data.augment import augment
from train.data.batches import Batches
from train.data.crops import U8, Crops
from train.data.datasets import read
from train.data.drawn import Drawn
from train.data.shards import decode
from train.fit.devices import choose
from train.fit.recipe import Recipe
from train.fit.trainer import Trainer

IDENTITIES, PER_CAMERA = 40, 4


def main() -> None:
    """Measure, print a table, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what computes the step (cpu)")
    parser.add_argument("--rounds", type=int, default=3, help="times that loading and step are measured in turns (3)")
    parser.add_argument("--steps", type=int, default=1, help="steps in each round (1)")
    parser.add_argument("--workers", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1),
                        help="threads that load ahead on a GPU (all cores but one)")
    args = parser.parse_args()
    at_least(parser, args, 1, "rounds", "steps", "workers")
    try:
        device = choose(args.device)
    except DeviceError as error:
        parser.exit(error.exit_code, f"{error}\n")
    cv2.setNumThreads(1)
    if device.type == "cpu":
        torch.set_num_threads(1)
    row: dict[str, object] = {"device": _name(device), "rounds": args.rounds, "steps": args.steps}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_sysu(root / "drawn", train=IDENTITIES, validation=1, test=1, per_camera=PER_CAMERA)
        for backbone, height, width, people, each in (("osnet_x0_25", 128, 64, 16, 2),
                                                      ("osnet_x0_25", 256, 128, 8, 4),
                                                      ("resnet50", 256, 128, 8, 4)):
            pictures = read(root / "drawn", "train")
            began = time.process_time()
            crops = decode(pictures, height, width, root / backbone / str(height))
            decoded = round(len(crops) / (time.process_time() - began))
            recipe = Recipe(backbone=backbone, norms="split", height=height, width=width, steps=1000,
                            identities_per_batch=people, crops_per_modality=each, train=Drawn(identities=IDENTITIES),
                            precision="bf16" if device.type == "cuda" else "fp32")
            figures = {"decoded images/s a core": decoded, **_measure(recipe, crops, device, args)}
            setting = f"{backbone} {height}x{width}, batch {2 * people * each}"
            row[setting] = figures
            print(f"{setting}: " + ", ".join(f"{name} {value:,}" for name, value in figures.items()), flush=True)
    keep("loader", row)


def _measure(recipe: Recipe, crops: Crops, device: torch.device, args: argparse.Namespace) -> dict[str, float]:
    """Medians of crops a second, and how many times faster loading is than the whole step, loading included."""
    trainer = Trainer(recipe, crops, device=device)
    load = _loader(recipe, crops)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    batch, steps = 2 * recipe.identities_per_batch * recipe.crops_per_modality, args.steps
    loading: list[float] = []
    learning: list[float] = []
    ahead: list[float] = []
    load(0)
    trainer.advance()
    for turn in range(args.rounds):
        loading.append(_rate(clock, batch, steps, lambda step, turn=turn: load(turn * steps + step)))  # type: ignore[misc]
        learning.append(_rate(clock, batch, steps, lambda _: trainer.advance()))
        if device.type == "cuda":
            with Ahead(load, end=1 + 4 * steps, workers=args.workers) as ready:
                ready.at(0)
                ahead.append(_rate(clock, batch, 4 * steps, lambda step, ready=ready: ready.at(1 + step)))  # type: ignore[misc]
    found = {"loaded images/s": round(statistics.median(loading), 1),
             "learnt images/s": round(statistics.median(learning), 1)}
    found["ratio"] = round(found["loaded images/s"] / found["learnt images/s"], 2)
    if ahead:
        found[f"loaded images/s, {args.workers} threads"] = round(statistics.median(ahead), 1)
        found["ratio ahead"] = round(statistics.median(ahead) / found["learnt images/s"], 2)
    return found


def _loader(recipe: Recipe, crops: Crops) -> Callable[[int], U8]:
    batches = Batches(crops.identity, crops.camera, crops.infrared, seed=recipe.seed, draw="cameras",
                      identities_per_batch=recipe.identities_per_batch, crops_per_modality=recipe.crops_per_modality)

    def load(step: int) -> U8:
        rows = batches.at(step)
        return augment(crops.images[rows], crops.infrared[rows], recipe.augmentation,
                       np.random.default_rng((recipe.seed, 2, step)))

    return load


def _rate(clock: Callable[[], float], batch: int, steps: int, work: Callable[[int], object]) -> float:
    began = clock()
    for step in range(steps):
        work(step)
    return batch * steps / (clock() - began)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu, one thread"


if __name__ == "__main__":
    main()
