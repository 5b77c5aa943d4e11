"""What does it cost to seal a vector to the collector's key: bytes, and microseconds at either end?

    python -m benchmarks.sealing

Sealed and open records take turns, so that whatever else the machine does falls on both; times are
processor time, the best of many turns. 512 dimensions in fp16, batches of 64 as cameras send them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.embedding import unit
from cmnas_edge.sealing import MOST_RECORDS, Opener, Sealer
from cmnas_edge.sighting import MAX_SEQUENCE, Sighting
from cmnas_edge.wire import address, decode_batch, encode_batch, encode_sighting

_DIMENSION, _BATCH = 512, 64
_SPOOL = "0123456789abcdef"


def main() -> None:
    """Measure, print, and append to ``results/sealing.jsonl``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200, help="of a batch each (default: 200)")
    args = parser.parse_args()
    at_least(parser, args, 1, "turns")
    turns = args.turns
    key = X25519PrivateKey.generate()
    sealer = Sealer(key.public_key().public_bytes_raw())
    seen = sightings()

    def packed(by: Sealer | None) -> list[bytes]:
        return [encode_sighting(one, by) for one in seen]

    def batch(by: Sealer | None) -> bytes:
        return encode_batch([address(body, _SPOOL, number) for number, body in enumerate(packed(by), 1)])

    opened, sealed = batch(None), batch(Sealer(key.public_key().public_bytes_raw()))

    def read(data: bytes, opener: Opener | None) -> None:
        decode_batch(data, dimension=_DIMENSION, device="gate", opener=opener)

    known = Opener([key])
    us = best({
        "encode open": lambda: packed(None), "encode sealed": lambda: packed(sealer),
        "decode open": lambda: read(opened, None), "decode sealed": lambda: read(sealed, known),
        # As a collector does whenever a camera began anew, and never again for the records that follow.
        "decode sealed, new context": lambda: read(sealed, Opener([key]))}, turns)
    agreement = 64 * (us["decode sealed, new context"] - us["decode sealed"])
    renewal = 1e6 * min(timed(sealer._renew) for _ in range(turns))
    figures = {
        "dimension": _DIMENSION, "batch": _BATCH, "turns": turns,
        "bytes": {"open": len(opened) / _BATCH, "sealed": len(sealed) / _BATCH},
        "us_per_sighting": {name: round(value, 2) for name, value in us.items()},
        "camera_us_added": round(us["encode sealed"] - us["encode open"] + renewal / MOST_RECORDS, 2),
        "collector_us_added": round(us["decode sealed"] - us["decode open"], 2),
        "agreement_us": {"camera": round(renewal, 1), "collector": round(agreement, 1)}}
    for name, value in figures.items():
        print(f"{name}: {value}")
    keep("sealing", figures)


def sightings() -> list[Sighting]:
    """A batch of them, with vectors drawn from a seed."""
    vectors = unit(np.random.default_rng(0).standard_normal((_BATCH, _DIMENSION)).astype(np.float32))
    return [Sighting(
        device="gate", camera="north", seen_from=1.79e9 + row, seen_at=1.79e9 + row + 4.5, modality="visible",
        tracklet=(7 << 32) + row, view_count=4, quality=0.75, box_width=60, box_height=180,
        fingerprint=bytes(range(32)), engine="onnxruntime", precision="fp32", packing="fp16", vector=vector,
        transform=MAX_SEQUENCE)
        for row, vector in enumerate(vectors)]


def best(work: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Microseconds of processor time per sighting, the least of each work's turns."""
    least = dict.fromkeys(work, float("inf"))
    for _ in range(turns):
        for name, run in work.items():
            least[name] = min(least[name], timed(run))
    return {name: 1e6 * seconds / _BATCH for name, seconds in least.items()}


def timed(run: Callable[[], object]) -> float:
    """Seconds of processor time."""
    began = time.process_time()
    run()
    return time.process_time() - began


if __name__ == "__main__":
    main()
