"""Is any peer faster than the engine that the race chooses? Milliseconds of a call, crops ready in memory.

    python -m benchmarks.latency                                  # the bundle that ships
    python -m benchmarks.latency --bundle A B --seconds 150       # others
    python -m benchmarks.latency --model osnet_x1_0               # a network nobody trained, whose row says so
    python -m benchmarks.latency --table                          # the table of the last results

Each engine of ours that may serve, and each peer (`benchmarks.peers`), has a process of its own, and all are bound to
the same one or two cores and asked in turns. Ours take the crops as bytes and normalise them in the graph; peers are
handed what they want, normalised already. The winner is whom the race's rule chooses by these very figures. Beside it
stands a product of matrices in the same run: what share of its float32 rate the network's multiply-adds come to.
"""

from __future__ import annotations

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
    roofline,
    show_missing,
    summary,
    versions,
    winner,
)
from benchmarks.records import RESULTS, keep
from benchmarks.stalls import opened
from cmnas_edge.bundle import Bundle
from train.networks.cost import size_of
from train.networks.space import Arch

__all__ = ["main", "table"]

SECONDS = 75.0
_BLOCK = 3


def main() -> None:
    """Measure, print, draw, and append to ``results/latency.jsonl``."""
    args = arguments(__doc__, SECONDS)
    if not args.table:
        for bundle in bundles(args):
            for cores in args.cores:
                keep("latency", measure(bundle, cores, args.batch, args.seconds / len(args.cores)))
        draw(last_rows("latency"), "ms", "ms per crop", RESULTS / "latency.png")
    print("\n".join(table(last_rows("latency"))))


def measure(bundle: Bundle, cores: int, batches: list[int], seconds: float) -> dict[str, object]:
    """Everybody at every batch size on so many cores."""
    entered, missing = contenders(bundle)
    macs = size_of(Arch.uniform(bundle.manifest.backbone, "shared"), bundle.height, bundle.width).macs
    found: dict[str, dict[str, dict[str, float]]] = {}
    with opened(entered, cores) as (stalls, lacks):
        show_missing({**missing, **lacks})
        for batch in batches:
            timed = in_turns(stalls, lambda stall, batch=batch: stall.infer(batch, _BLOCK),  # type: ignore[misc]
                             seconds / len(batches))
            found[str(batch)] = {name: summary(each) for name, each in timed.items()}
    machine = roofline(cores)
    chosen = winner({name: {batch: found[str(batch)][name]["ms"] for batch in batches}
                     for name in found[str(batches[0])] if name.startswith("ours")})
    for batch in batches:
        each = found[str(batch)]
        peer = best_peer({name: row["ms"] for name, row in each.items()})
        for row in each.values():
            row["of_gemm"] = round(2 * macs * batch / row["ms"] / 1e6 / machine["gemm_gflops"], 3)
            if peer is not None:
                row["to_best_peer"] = round(row["ms"] / each[peer]["ms"], 3)
    return {"model": model_of(bundle), "cores_used": cores, "macs": macs, "winner": chosen, "batches": found, **machine,
            "peer_versions": versions(found[str(batches[0])]), "missing": {**missing, **lacks}}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """What was measured last, in Markdown."""
    lines = ["| model, cores | at once | the race's choice | ms, p99 | the fastest peer | ms, p99 | time | of GEMM |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        for batch, each in row["batches"].items():
            ours = each[row["winner"]]
            peer = best_peer({name: figures["ms"] for name, figures in each.items()})
            theirs = ["none", "", ""] if peer is None else [
                peer, f"{each[peer]['ms']:.2f}, {each[peer]['p99_ms']:.2f}", f"{ours['to_best_peer']:.2f}x"]
            lines.append(f"| {row['model']}, {row['cores_used']} | {batch} | {row['winner'].removeprefix('ours, ')} | "
                         f"{ours['ms']:.2f}, {ours['p99_ms']:.2f} | {theirs[0]} | {theirs[1]} | {theirs[2]} | "
                         f"{ours['of_gemm']:.0%} |")
    return lines


if __name__ == "__main__":
    main()
