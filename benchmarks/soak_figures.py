"""What a soak's samples say: one point per cycle, its trend, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.trend import trend

__all__ = ["FIGURES", "picture", "points", "verdicts"]

# What is looked at, and how a cycle of it becomes one point; what waits, where all of it should have gone. Blocks are
# what Python has allocated and not freed; python_mib is only of a run that traces it.
FIGURES = {"rss_mib": "median", "blocks": "median", "files": "median", "threads": "median", "spool_kib": "max",
           "waiting": "last", "lag_s": "median", "python_mib": "median"}
_WARMING = 0.25     # of the cycles
F64 = npt.NDArray[np.float64]


def points(samples: Sequence[dict[str, Any]], name: str, cycles: int) -> tuple[F64, F64]:
    """Simulated hours and one value for each cycle, in which something was sampled."""
    at = np.array([sample["simulated_s"] / 3600 for sample in samples])
    values = np.array([sample[name] for sample in samples], float)
    cycle = np.minimum((at / at[-1] * cycles).astype(int), cycles - 1)
    found = [(float(at[cycle == row].mean()), _gathered(values[cycle == row], FIGURES[name]))
             for row in range(cycles) if (cycle == row).any()]
    times, kept = np.array(found).T
    return times, kept


def _sampled(samples: Sequence[dict[str, Any]]) -> list[str]:
    return [name for name in FIGURES if name in samples[0]]


def _gathered(values: F64, how: str) -> float:
    if how == "max":
        return float(values.max())
    return float(np.median(values if how == "median" else values[-max(1, len(values) // 5):]))


def verdicts(samples: Sequence[dict[str, Any]], cycles: int) -> dict[str, dict[str, Any]]:
    """For each figure: first and last cycle after warming up, slope per simulated hour, interval and verdict."""
    found = {}
    for name in _sampled(samples):
        times, values = (part[int(_WARMING * cycles):] for part in points(samples, name, cycles))
        seen = trend(times.tolist(), values.tolist())
        found[name] = {"first": round(float(values[0]), 4), "last": round(float(values[-1]), 4),
                       "slope_per_h": round(seen.slope, 5), "low": round(seen.low, 5), "high": round(seen.high, 5),
                       "verdict": seen.verdict}
    return found


def picture(samples: Sequence[dict[str, Any]], cycles: int, path: Path) -> None:
    """Draw every sample, the cycles' points, and when the collector was away."""
    import matplotlib as mpl  # noqa: PLC0415 - a benchmark without a picture needs none

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    names = _sampled(samples)
    figure, axes = plt.subplots(len(names), 1, figsize=(9, 1.5 * len(names)), sharex=True, layout="constrained")
    at = [sample["simulated_s"] / 3600 for sample in samples]
    for axis, name in zip(axes, names, strict=True):
        values = [sample[name] for sample in samples]
        axis.fill_between(at, 0, 1, where=[sample["away"] for sample in samples], transform=axis.get_xaxis_transform(),
                          color="0.9", linewidth=0)
        axis.plot(at, values, color="0.6", linewidth=0.7)
        axis.plot(*points(samples, name, cycles), ".", color="C0")
        axis.set_ylabel(f"{name}\n({FIGURES[name]})", fontsize=8)
        axis.set_ylim(0, 1.15 * max(*values, 1e-9))
    axes[-1].set_xlabel("simulated hours; grey: the collector is away")
    figure.savefig(path, dpi=110)
    plt.close(figure)
