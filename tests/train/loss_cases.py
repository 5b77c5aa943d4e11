"""Golden cases of losses, batches to try them on, and how near is near enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

CUTS = Path(__file__).resolve().parents[1] / "golden"
BF16 = 2.0 ** -9
"""Half a step of bfloat16 at 1: rounding moves a number by at most this share of it."""

Arrays = dict[str, npt.NDArray[Any]]


def cases(path: Path) -> dict[str, Arrays]:
    found: dict[str, Arrays] = {}
    with np.load(path) as file:
        for key in file:
            case, _, field = key.partition("/")
            found.setdefault(case, {})[field] = file[key]
    return found


def leaf(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.copy()).requires_grad_()


def close(found: torch.Tensor | None, expected: npt.NDArray[Any], *, gradient: bool = False) -> None:
    assert found is not None
    wide = expected.dtype == np.float64
    rtol = 1e-10 if wide else 1e-4 if gradient else 1e-5
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=rtol, atol=1e-12 if wide else 1e-7)


def batch(seed: int = 0, *, people: int = 4, each: int = 3, width: int = 16, scale: float = 1.0
          ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features with a gradient, labels and modalities of a mixed batch in no order at all."""
    rng = np.random.default_rng(seed)
    turn = rng.permutation(2 * people * each)
    labels = torch.arange(people).repeat_interleave(each).repeat(2)[turn]
    infrared = (torch.arange(2 * people * each) >= people * each)[turn]
    features = scale * rng.normal(size=(len(turn), width)).astype(np.float32)
    return torch.from_numpy(features).requires_grad_(), labels, infrared
