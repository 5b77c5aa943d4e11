"""Writes the batch of sightings that this release's cameras send, for every later release to read.

Run once per release, never again for an old one::

    python -m tests.contract.make_batch tests/contract/0.1.0/batch.bin
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cmnas_edge.embedding import unit
from cmnas_edge.wire import Gap, Sighting, encode_batch

SPOOL = "0123456789abcdef"


def sightings() -> list[Sighting]:
    """One of each modality, packing, engine and precision; their vectors are sines."""
    vectors = unit(np.sin(np.arange(3 * 64, dtype=np.float32)).reshape(3, 64))
    made = []
    for row, (modality, packing, engine, precision) in enumerate((
            ("visible", "fp16", "onnxruntime", "fp32"), ("infrared", "int8", "tensorrt", "fp16"),
            ("visible", "int8", "tensorrt", "int8"))):
        made.append(Sighting(
            device="gate", camera=f"camera {row}", seen_from=1_790_000_000.25, seen_at=1_790_000_004.5 + row,
            modality=modality, tracklet=(7 << 32) + row, view_count=1 + row, quality=0.25 * row, box_width=40 + row,  # type: ignore[arg-type]
            box_height=120, fingerprint=bytes(range(32)), engine=engine, precision=precision, packing=packing,  # type: ignore[arg-type]
            vector=vectors[row], transform=row, spool=SPOOL, sequence=10 + row))
    return made


def gaps() -> list[Gap]:
    """One loss, with numbers between that were delivered."""
    return [Gap(SPOOL, 2, 9, 5)]


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(encode_batch(sightings(), gaps()))
