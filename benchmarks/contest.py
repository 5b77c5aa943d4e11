"""Our engines and our peers at the same work, in turns, and how near each comes to what the machine can do."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks import peers
from benchmarks.least import at_least
from benchmarks.records import RESULTS
from benchmarks.stalls import Contender, Stall, environment
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.engine.race import candidates, choose
from cmnas_edge.engine.results import Entrant
from train.networks.space import BACKBONES

__all__ = ["arguments", "best_peer", "bundles", "contenders", "draw", "in_turns", "last_rows", "model_of", "roofline",
           "show_missing", "summary", "versions", "winner"]

T = TypeVar("T")
_LEAST_CALLS = 5


def arguments(description: str | None, seconds: float) -> argparse.Namespace:
    """Parse the command line that the contests share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, nargs="+", help="bundles (the one that ships, if no --model is named)")
    parser.add_argument("--model", nargs="+", default=[], choices=BACKBONES, metavar="NAME",
                        help="networks nobody trained, with weights of a stated seed and in float32: osnet_x1_0, ...")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2], help="processor cores to bind all to (1 2)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], help="crops at once (1 8 32)")
    parser.add_argument("--seconds", type=float, default=seconds, help=f"for one bundle ({seconds:.0f})")
    parser.add_argument("--table", action="store_true", help="print the table of the last results, measure nothing")
    args = parser.parse_args()
    at_least(parser, args, 1, "cores", "batch")
    if not args.seconds > 0:
        parser.error(f"--seconds: expected more than 0, found {args.seconds:g}; give more")
    return args


def bundles(args: argparse.Namespace) -> Iterator[Bundle]:
    """Those that were asked for, one after another."""
    for path in args.bundle or ([] if args.model else [default_path()]):
        yield Bundle.open(path)
    for backbone in args.model:
        from benchmarks.untrained import untrained  # noqa: PLC0415 - only who asks for one needs PyTorch

        yield untrained(backbone)


def contenders(bundle: Bundle) -> tuple[list[Contender], dict[str, str]]:
    """Every engine and precision of ours that may serve here, and every peer; and why the others are missing."""
    backbone, size = bundle.manifest.backbone, (bundle.height, bundle.width)
    found, missing = [], {}
    for candidate in candidates(bundle, threads=1, max_batch=1):
        engine, precision = candidate.entrant
        if candidate.excluded:
            missing[f"ours, {candidate.entrant}"] = candidate.excluded
        else:
            found.append(Contender(f"ours, {candidate.entrant}", bundle.path, engine, precision, Path(), "", size))
    if not backbone.startswith("osnet_x"):
        return found, {**missing, **dict.fromkeys(peers.PEERS, f"torchreid has no {backbone}")}
    folder, lacks = peers.prepare(backbone, *size)
    found += [Contender(peer, Path(), None, "fp32", folder, backbone, size)
              for peer in peers.PEERS if peer not in lacks]
    return found, {**missing, **lacks}


def model_of(bundle: Bundle) -> str:
    """A bundle in a table."""
    unlearnt = f", {bundle.name}" if bundle.name.startswith("untrained") else ""
    return f"{bundle.manifest.backbone} {bundle.height}x{bundle.width}{unlearnt}"


def in_turns(stalls: Sequence[Stall], ask: Callable[[Stall], Iterable[T]], seconds: float) -> dict[str, list[T]]:
    """Ask all over and over until the time is up, and at least so often that a median means something."""
    found: dict[str, list[T]] = {stall.contender.name: [] for stall in stalls}
    began, number = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or min(map(len, found.values()), default=_LEAST_CALLS) < _LEAST_CALLS:
        turn = number % max(1, len(stalls))
        for stall in [*stalls[turn:], *stalls[:turn]]:
            found[stall.contender.name] += ask(stall)
        number += 1
    return found


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds, and of how many calls."""
    return {"ms": round(1000 * statistics.median(seconds), 4),
            "p99_ms": round(1000 * float(np.quantile(seconds, 0.99)), 4), "n": len(seconds)}


def winner(ours: Mapping[str, Mapping[int, float]]) -> str:
    """Whom the race's rule chooses: by milliseconds per batch size, of each of ours by name."""
    cost = {name: float(np.exp(np.mean([np.log(ms / batch) for batch, ms in each.items()])))
            for name, each in ours.items()}
    entrants = {Entrant(*name.removeprefix("ours, ").split(" ")): name for name in cost}  # type: ignore[arg-type]
    return entrants[choose({entrant: cost[name] for entrant, name in entrants.items()})]


def best_peer(ms: Mapping[str, float]) -> str | None:
    """The fastest of those that are not ours; None if there was none."""
    return min((name for name in ms if not name.startswith("ours")), key=lambda name: ms[name], default=None)


def roofline(cores: int) -> dict[str, float]:
    """What so many cores can do, measured by `benchmarks.roofline` in a process of its own."""
    bound_to = sorted(os.sched_getaffinity(0))[:cores]
    ran = subprocess.run([sys.executable, "-m", "benchmarks.roofline", *map(str, bound_to)], capture_output=True,
                         text=True, check=True, env=environment(cores), cwd=Path(__file__).resolve().parents[1])
    return dict(json.loads(ran.stdout))


def versions(names: Iterable[str]) -> dict[str, str]:
    """Of what the peers that took part run on."""
    return {name: peers.version_of(name) for name in names if name in peers.PEERS}


def show_missing(missing: Mapping[str, str]) -> None:
    """Say who does not take part."""
    for name, reason in missing.items():
        print(f"  not here: {name}: {reason}")


def last_rows(question: str) -> list[dict[str, Any]]:
    """The newest figures for each model and number of cores (and batch), oldest first."""
    path, newest = RESULTS / f"{question}.jsonl", {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        row = json.loads(line)
        newest[row["model"], row["cores_used"]] = row
    return list(newest.values())


def draw(rows: Sequence[Mapping[str, Any]], key: str, unit: str, path: Path) -> None:
    """Bars of milliseconds per crop, a panel for each model and number of cores; ours in green."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - nothing else needs it

    figure = Figure(figsize=(9, 0.8 + 2.6 * len(rows)), layout="constrained")
    for axes, row in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        batches = list(row["batches"])
        names = sorted({name for batch in batches for name in row["batches"][batch]}, key=lambda name: (
            not name.startswith("ours"), name))
        for place, name in enumerate(names):
            values = [row["batches"][batch][name][key] / int(batch) for batch in batches]
            ours = name.startswith("ours")
            xs = np.arange(len(batches)) + (place - len(names) / 2 + 0.5) * 0.8 / len(names)
            chosen = name == row["winner"]
            colour = ("#1b7f4d" if chosen else "#8fc7a8") if ours else str(0.3 + 0.12 * place % 0.6)    # a grey
            axes.bar(xs, values, 0.75 / len(names), color=colour, label=name + " (the race's choice)" * chosen)
        axes.set_xticks(range(len(batches)), [f"{batch} at once" for batch in batches])
        axes.set_yscale("log")
        axes.set_ylabel(unit)
        axes.set_title(f"{row['model']}, {row['cores_used']} core{'s' * (row['cores_used'] > 1)} of {row['cpu']}, "
                       f"{row['date']}", fontsize=9)
        axes.legend(fontsize=6, ncols=2)
    figure.savefig(path, dpi=110, metadata={"Software": None})
