"""Further losses, which a recipe asks for by name: ``[losses.further]``, then ``NAME = weight``.

Another loss is a `train.losses.Term` in a module of its own and a line here that imports it; what
it is called there is its name in the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Final

from train.losses import Term

__all__ = ["FURTHER"]

FURTHER: Final[Mapping[str, Term]] = {
    name: found for name, found in globals().items() if isinstance(found, FunctionType)}
