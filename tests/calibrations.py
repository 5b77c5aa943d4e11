"""A calibration of round numbers, to judge by and to tamper with."""

from __future__ import annotations

from typing import Any

from cmnas_edge.calibration import PAIRS, Calibration, Histogram, Pair, Point, Scale, Threshold

FINGERPRINT = "0a" * 32
SLOPES: dict[Pair, tuple[float, float]] = {
    "visible-visible": (20.0, -12.0), "infrared-infrared": (24.0, -15.0), "visible-infrared": (11.0, -4.0)}


def scale(pair: Pair, **changed: Any) -> Scale:
    slope, offset = SLOPES[pair]
    fields: dict[str, Any] = {
        "calibrated_on": "drawn", "slope": slope, "offset": offset, "unsure_from": 0.5, "unsure_rate": 1e-2,
        "identity_count": 40, "points": (Point(1e-3, 0.7, (0.65, 0.75), 0.3, (0.2, 0.4)),),
        "genuine": Histogram(170, (1, 0, 3)), "impostor": Histogram(90, (5, 6))}
    return Scale(**{**fields, **changed})


def calibration(**changed: Any) -> Calibration:
    fields: dict[str, Any] = {
        "schema": 2, "fingerprint": FINGERPRINT, "calibrated_on": "drawn", "prior": 0.01,
        "thresholds": {name: Threshold(0.7, 1e-3, 0.3, 400, 30_000) for name in PAIRS},
        "scales": {name: scale(name) for name in PAIRS}}
    return Calibration(**{**fields, **changed})


def old() -> Calibration:
    return calibration(schema=1, scales={}, prior=None)
