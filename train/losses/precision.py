"""The precision that losses are computed in: float32 at least, whatever surrounds them.

bfloat16 keeps 8 bits. That is enough for a convolution, which sums in float32 anyway, but not
for a small difference of large Gram entries, a root of one, or a sum of many exponentials.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor

_P = ParamSpec("_P")


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` itself if it isn't floating point or has 32 bits or more, else its float32 copy."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def full_precision(loss: Callable[_P, Tensor]) -> Callable[_P, Tensor]:
    """A loss whose tensors arrive as float32 or wider, and whose inside no autocast touches.

    Gradients flow back in the precision that each tensor came in.
    """
    @wraps(loss)
    def widened(*args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        device = next((x.device.type for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), "cpu")
        wide_args = tuple(at_least_float32(x) if isinstance(x, Tensor) else x for x in args)
        wide_kwargs = {name: at_least_float32(x) if isinstance(x, Tensor) else x for name, x in kwargs.items()}
        with torch.autocast(device, enabled=False):
            return loss(*wide_args, **wide_kwargs)  # type: ignore[arg-type]  # the same kinds, only wider
    return widened
