"""Runs of the evidence that take no time: made-up records, and a maker that a worker process can import."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from train.evidence.plan import GROUPS, Fit, Search, Work
from train.evidence.records import packed
from train.evidence.work import arch_of
from train.networks.space import site_names

SITES = site_names("osnet_x0_25")
SLICES = ("clear", "hidden", "same side", "other side", "look-alikes")


def made_up(work: Work, found: Mapping[str, Mapping[str, Any]], level: float = 0.3) -> dict[str, Any]:
    """A record with every field a real one has; its queries lie around ``level``."""
    rng = np.random.default_rng(zlib.crc32(work.name.encode()))
    row: dict[str, Any] = {"run": work.name, "question": work.question, "seed": work.seed, "steps": work.steps,
                           "seconds": 100, "training_cpu_s": 90.0, "date": "2026-01-01", "cpu": "a processor",
                           "summary": "-"}
    if isinstance(work, Search):
        share = {site: float(p) for site, p in zip(SITES, rng.random(len(SITES)), strict=True)}
        codes = [f"{n:0{len(GROUPS)}b}" for n in range(2 ** len(GROUPS))]
        return row | {"probabilities": share, "split": [site for site in SITES if share[site] > 0.5],
                      "scores": dict(zip(codes, rng.random(len(codes)).tolist(), strict=True)), "code": "10011"}
    precision = np.clip(rng.normal(level, 0.2, 500), 0, 1)
    figures = {"rank1": round(100 * float(precision.mean()), 2), "mean_ap": round(100 * float(precision.mean()), 2)}
    pairs = dict.fromkeys(("visible-visible", "infrared-visible", "visible-infrared"), figures)
    arch = arch_of(work, found)
    return row | {
        "label": work.label, "split": [site for site, choice in arch.choices if choice != "shared"],
        "arch": json.loads(arch.to_json()), "people": 395, "pairs": pairs, "met": pairs,
        "queries": {"each": 4, **{name: packed(np.rint(255 * precision).astype(np.uint8))
                                  for name in ("rank1", "average_precision")}},
        "slices": dict.fromkeys(SLICES, figures),
        "apart": {when: {"class_mmd": 0.1, "between": 0.4, "similarity": 0.2} for when in ("before", "after")},
        "gates": {shown: {"conv2.0": [0.1, 0.2, 0.3, 0.4]} for shown in ("as they are", "smaller", "larger", "hidden")}}


def at_once(work: Work, folder: Path, found: Mapping[str, Mapping[str, Any]], tell: Callable[[int, int], None]
            ) -> dict[str, Any]:
    """Make a run in no time, and leave a trace of when."""
    (folder / f"began {work.name.replace('/', '_')}").write_text(" ".join(sorted(found)))
    tell(work.steps, work.steps)
    return {"run": work.name, "seconds": 0, "summary": "made up"}


def the_second_breaks(work: Work, folder: Path, found: Mapping[str, Mapping[str, Any]],
                      tell: Callable[[int, int], None]) -> dict[str, Any]:
    """Make the first run; fail at the next."""
    if list(folder.glob("began *")):
        raise ValueError(f"{work.name} broke")
    return at_once(work, folder, found, tell)


def forever(work: Work, folder: Path, found: Mapping[str, Mapping[str, Any]], tell: Callable[[int, int], None]
            ) -> dict[str, Any]:
    """Make the start; never end anything else."""
    if isinstance(work, Fit) and not work.start:
        return at_once(work, folder, found, tell)
    (folder / f"process {os.getpid()}").touch()
    time.sleep(600)
    raise AssertionError
