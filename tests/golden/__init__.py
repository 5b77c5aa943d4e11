"""Numbers made by other people's implementations, for ours to agree with; origins in README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def golden(name: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of ``<name>.npz`` beside this file."""
    with np.load(Path(__file__).with_name(f"{name}.npz")) as file:
        return dict(file)


def golden_osnet() -> dict[str, npt.NDArray[np.float32]]:
    """The float tensors of torchreid's osnet_x0_25 under its own names, without the classifier."""
    keys = golden("osnet_keys")
    flat = np.concatenate([golden(f"osnet_x0_25_weights_{i}")["flat"] for i in (1, 2, 3)])
    tensors, start = {}, 0
    for name, padded in zip(keys["osnet_x0_25/name"], keys["osnet_x0_25/shape"], strict=True):
        if name.endswith("num_batches_tracked") or name.startswith("classifier."):
            continue
        shape = tuple(int(size) for size in padded if size >= 0)
        end = start + int(np.prod(shape))
        tensors[str(name)] = flat[start:end].reshape(shape)
        start = end
    assert start == len(flat)
    return tensors
