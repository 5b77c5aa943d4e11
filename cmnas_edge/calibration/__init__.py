"""From which cosine on two embeddings are probably one person, and how probably, per pair of modalities.

`Calibration.judge` says of one score what it is held to, how probable it makes one person, and whether that is
enough; `Calibration.normalise` puts the scores of all pairs on one scale, where a mixed gallery ranks fairly.
How one is found from scores is `cmnas_edge.calibration.fit`; whether a site has moved away from it,
`cmnas_edge.calibration.drift`.
"""

from __future__ import annotations

from cmnas_edge.calibration.pairs import PAIRS, CalibratedOn, Pair, pair
from cmnas_edge.calibration.record import (
    SCHEMA,
    Calibration,
    Count,
    Digest,
    Histogram,
    Judged,
    Point,
    Rate,
    Scale,
    Threshold,
    Verdict,
    decode,
    encode,
    printable,
    read_calibration,
)

__all__ = ["PAIRS", "SCHEMA", "CalibratedOn", "Calibration", "Count", "Digest", "Histogram", "Judged", "Pair", "Point",
           "Rate", "Scale", "Threshold", "Verdict", "decode", "encode", "pair", "printable", "read_calibration"]
