"""What does it bring to compute the gates of a block's streams at once, on OpenVINO?

    python -m benchmarks.gates

The bundle that ships, opened as `cmnas_edge.engine.openvino` opens it and without joining its gates; on one thread, in
turns, by processor time. A ratio above one says how much sooner the joined graph is done, in the median of all turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack
from unittest.mock import patch

import numpy as np

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.engine import Engine, open_engine, openvino
from cmnas_edge.engine.openvino import RUNS
from cmnas_edge.errors import DeviceError

__all__ = ["main"]

BATCHES = (1, 8, 32)
_AT_LEAST = 24      # crops between two looks at the clock


def main() -> None:
    """Measure, print, and append to ``results/gates.jsonl``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=40, help="of each graph and number of crops (default: 40)")
    args = parser.parse_args()
    at_least(parser, args, 1, "turns")
    bundle = Bundle.open(default_path())
    found: dict[str, dict[str, dict[str, float]]] = {}
    for precision in (one for one in RUNS if one in bundle.precisions):
        with ExitStack() as stack:
            try:
                joined = stack.enter_context(open_engine(bundle, "visible", name="openvino", precision=precision))
                with patch.object(openvino, "gates_at_once", lambda *_: 0):
                    apart = stack.enter_context(open_engine(bundle, "visible", name="openvino", precision=precision))
            except DeviceError as error:
                print(f"{precision}: not here ({error})")
                continue
            found[precision] = {str(batch): against(joined, apart, batch, args.turns, (bundle.height, bundle.width))
                                for batch in BATCHES}
        print(f"{precision}: " + "; ".join(
            f"{batch} at once {row['joined_ms']:.2f} for {row['apart_ms']:.2f} ms, {row['ratio']:.2f}x"
            for batch, row in found[precision].items()), flush=True)
    if found:
        keep("gates", {"turns": args.turns, "precisions": found})


def against(joined: Engine, apart: Engine, batch: int, turns: int, size: tuple[int, int]) -> dict[str, float]:
    """Milliseconds of processor time a call, medians, and the median ratio within a turn."""
    crops = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)
    calls = -(-_AT_LEAST // batch)
    taken: dict[str, list[float]] = {"joined": [], "apart": []}
    for turn in range(turns + 1):
        ways = [("joined", joined), ("apart", apart)]
        for name, engine in ways if turn % 2 else reversed(ways):
            began = time.process_time()
            for _ in range(calls):
                engine.embed(crops)
            if turn:    # the first compiles
                taken[name].append(1000 * (time.process_time() - began) / calls)
    return {"joined_ms": round(statistics.median(taken["joined"]), 3),
            "apart_ms": round(statistics.median(taken["apart"]), 3),
            "ratio": round(statistics.median(a / b for a, b in zip(taken["apart"], taken["joined"], strict=True)), 3)}


if __name__ == "__main__":
    main()
