"""How far the values of a graph reach on calibration crops, by three schools.

``minmax`` believes the largest magnitude seen; ``percentile`` all but one in 100,000; ``entropy`` takes the cut after
which 8 bits tell most of the distribution (Kullback-Leibler divergence; Migacz, 8-bit Inference with TensorRT,
GTC 2017). Magnitudes alone: zero points are zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from export.precision import Method
from export.precision.probe import values

__all__ = ["entropy", "percentile", "reach"]

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
KEPT = 0.99999
_BINS = 2048
_LEVELS = 128  # magnitudes of a signed byte
_STRIDE = 8  # bins between two cuts that entropy compares


def reach(model: onnx.ModelProto, names: Sequence[str], crops: U8, method: Method) -> dict[str, float]:
    """The magnitude at which each value is cut off, for int8.

    Args:
        model: Float32, with its weights inside.
        names: Of values.
        crops: BGR, ``(n, h, w, 3)``, at least one.
        method: See the top of this file.
    """
    top = dict.fromkeys(names, 0.0)
    for batch in values(model, names, crops):
        for name, array in batch.items():
            top[name] = max(top[name], float(np.abs(array).max()))
    if method == "minmax":
        return top
    counts = {name: np.zeros(_BINS, np.int64) for name in names}
    for batch in values(model, names, crops):
        for name, array in batch.items():
            if top[name] > 0:
                place = np.minimum(np.abs(array.ravel()) * (_BINS / top[name]), _BINS - 1).astype(np.int64)
                counts[name] += np.bincount(place, minlength=_BINS)
    cut = percentile if method == "percentile" else entropy
    return {name: cut(counts[name]) * top[name] / _BINS if top[name] > 0 else 0.0 for name in names}


def percentile(counts: I64, kept: float = KEPT) -> int:
    """How many bins hold a share of what was counted; 1 to all."""
    return int(np.searchsorted(np.cumsum(counts), kept * counts.sum())) + 1


def entropy(counts: I64) -> int:
    """After how many bins to cut, so that 128 levels tell most of what was counted.

    Zeros are left out: a ReLU makes half of all values zero, which any scale keeps.
    """
    seen = counts.astype(np.float64)
    seen[0] = seen[1]
    cuts = np.arange(_LEVELS, len(seen) + 1, _STRIDE)
    return int(cuts[int(np.argmin([_divergence(seen, int(cut)) for cut in cuts]))])


def _divergence(seen: npt.NDArray[np.float64], cut: int) -> float:
    """Of what is told after a cut from what was there, in nats."""
    there = seen[:cut].copy()
    there[-1] += seen[cut:].sum()
    level = np.arange(cut) * _LEVELS // cut
    full = seen[:cut] > 0
    filled = np.bincount(level, full, _LEVELS)
    mean = np.divide(np.bincount(level, seen[:cut], _LEVELS), filled, out=np.zeros(_LEVELS), where=filled > 0)
    told = np.where(full, mean[level], 0)
    if not told.sum() or not there.sum():
        return np.inf
    p, q = there / there.sum(), told / told.sum()
    # What a level cannot tell at all costs as much as if it were one of a billion.
    return float((p[p > 0] * np.log(p[p > 0] / np.maximum(q[p > 0], 1e-9))).sum())
