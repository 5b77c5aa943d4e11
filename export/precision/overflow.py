"""Whether a graph would leave half precision: how large each of its values gets, in float32, on calibration crops."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import onnx

from export.precision.probe import constants, largest

__all__ = ["LIMIT", "told", "too_large"]

# Half reaches 65,504; crops of a site may go twice as far as those looked at.
LIMIT = 30_000.0


def too_large(model: onnx.ModelProto, crops: npt.NDArray[np.uint8], limit: float = LIMIT) -> dict[str, float]:
    """Values and constants beyond a limit, largest first; what is no number comes before all.

    Args:
        model: Float32, with its weights inside.
        crops: BGR, ``(n, h, w, 3)``.
        limit: Largest magnitude that may be.
    """
    found = {name: size for name, size in {**constants(model), **largest(model, crops)}.items() if not size <= limit}
    return dict(sorted(found.items(), key=lambda entry: -math.inf if math.isnan(entry[1]) else -entry[1]))


def told(found: dict[str, float], limit: float = LIMIT) -> str:
    """The first few of them, as a reason."""
    few = ", ".join(f"{name} {size:,.0f}" for name, size in list(found.items())[:3])
    return f"expected magnitudes up to {limit:,.0f}, found {few} ({len(found)} such); half precision ends at 65,504"
