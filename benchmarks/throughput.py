"""From boxes in a frame to unit vectors: how many people a second, against peers with their usual preprocessing?

    python -m benchmarks.throughput                               # the bundle that ships
    python -m benchmarks.throughput --bundle A B --seconds 120    # others
    python -m benchmarks.throughput --table                       # the table of the last results

People as large as they are on a 1080p camera are cut out of a frame, brought into the network's form, embedded and
scaled to unit length. Ours cut and scale bytes and leave the rest to the graph; peers (`benchmarks.peers`) are fed with
what their documentation shows: each crop resized, in RGB, float32, normalised, channels first. How the processes take
turns stands in `benchmarks.latency`. Then: what both modalities' engines in one process take at most, against one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.contest import (
    arguments,
    best_peer,
    bundles,
    contenders,
    draw,
    in_turns,
    last_rows,
    model_of,
    show_missing,
    summary,
    versions,
    winner,
)
from benchmarks.records import RESULTS, keep
from benchmarks.stalls import opened
from cmnas_edge.bundle import Bundle
from cmnas_edge.engine.results import Entrant

__all__ = ["main", "peak_mb", "table"]

SECONDS = 60.0
_BLOCK = 3
_PEAK = """
import sys
from pathlib import Path
import numpy as np
from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import open_engine
path, name, precision, batch, *modalities = sys.argv[1:]
bundle = Bundle.open(path)
crops = np.zeros((int(batch), bundle.height, bundle.width, 3), np.uint8)
engines = [open_engine(bundle, modality, name=name, precision=precision) for modality in modalities]
for engine in engines:
    engine.embed(crops)
status = Path("/proc/self/status").read_text()
print(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1000)
"""


def main() -> None:
    """Measure, print, draw, and append to ``results/throughput.jsonl``."""
    args = arguments(__doc__, SECONDS)
    if not args.table:
        for bundle in bundles(args):
            for cores in args.cores:
                keep("throughput", measure(bundle, cores, args.batch, args.seconds / len(args.cores)))
        draw(last_rows("throughput"), "ms", "ms per person", RESULTS / "throughput.png")
    print("\n".join(table(last_rows("throughput"))))


def measure(bundle: Bundle, cores: int, batches: list[int], seconds: float) -> dict[str, object]:
    """Everybody with every number of people in view, on so many cores; and the memory of the winner."""
    entered, missing = contenders(bundle)
    found: dict[str, dict[str, dict[str, float]]] = {}
    with opened(entered, cores) as (stalls, lacks):
        show_missing({**missing, **lacks})
        for people in batches:
            timed = in_turns(stalls, lambda stall, people=people: stall.frame(people, _BLOCK),  # type: ignore[misc]
                             seconds / len(batches))
            found[str(people)] = {name: {**summary([total for total, _ in each]),
                                         "prepare_ms": summary([prepared for _, prepared in each])["ms"]}
                                  for name, each in timed.items()}
    chosen = winner({name: {people: found[str(people)][name]["ms"] for people in batches}
                     for name in found[str(batches[0])] if name.startswith("ours")})
    for people in batches:
        each = found[str(people)]
        peer = best_peer({name: row["ms"] for name, row in each.items()})
        for row in each.values():
            row["crops_per_s"] = round(1000 * people / row["ms"], 1)
            if peer is not None:
                row["faster_than_best_peer"] = round(each[peer]["ms"] / row["ms"], 3)
    entrant = Entrant(*chosen.removeprefix("ours, ").split(" "))  # type: ignore[arg-type]
    memory = {"one_mb": peak_mb(bundle, entrant, max(batches), "visible"),
              "both_mb": peak_mb(bundle, entrant, max(batches), "visible", "infrared")}
    return {"model": model_of(bundle), "cores_used": cores, "winner": chosen, "batches": found, "memory": memory,
            "peer_versions": versions(found[str(batches[0])]), "missing": {**missing, **lacks}}


def peak_mb(bundle: Bundle, entrant: Entrant, batch: int, *modalities: str) -> float:
    """Most resident memory of a process that has so many engines open and has used each."""
    ran = subprocess.run([sys.executable, "-c", _PEAK, str(bundle.path), *entrant, str(batch), *modalities],
                         capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return round(float(json.loads(ran.stdout)), 1)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """What was measured last, in Markdown."""
    lines = ["| model, cores | people | the race's choice | /s | preparing | the fastest peer | /s | rate | MB |",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        for people, each in row["batches"].items():
            ours = each[row["winner"]]
            peer = best_peer({name: figures["ms"] for name, figures in each.items()})
            theirs = ["none", "", ""] if peer is None else [
                peer, f"{each[peer]['crops_per_s']:.0f}", f"{ours['faster_than_best_peer']:.2f}x"]
            lines.append(f"| {row['model']}, {row['cores_used']} | {people} | {row['winner'].removeprefix('ours, ')} | "
                         f"{ours['crops_per_s']:.0f} | {ours['prepare_ms'] / ours['ms']:.0%} | {' | '.join(theirs)} | "
                         f"{row['memory']['one_mb']:.0f}, both {row['memory']['both_mb']:.0f} |")
    return lines


if __name__ == "__main__":
    main()
