"""What may be chosen at a BatchNorm site: which of its numbers each modality has as its own.

Another choice is one line of ``NORMS``: norms, folding, costs and initial weights read its two
flags and not its name. A search weighs those of its own spaces (`train.search.mixed_norm`).
Pure Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

__all__ = ["CHOICES", "NORMS", "Choice", "Choose", "Owns"]


class Owns(NamedTuple):
    """What each modality has as its own at a site; the rest is there once, for both.

    Attributes:
        statistics: Mean and variance.
        affine: Scale and shift.
    """

    statistics: bool
    affine: bool


NORMS: Final[Mapping[str, Owns]] = {
    "shared": Owns(statistics=False, affine=False),
    "split": Owns(statistics=True, affine=True),
    "split_statistics": Owns(statistics=True, affine=False),
}
CHOICES: Final = tuple(NORMS)

if TYPE_CHECKING:
    Choice = str
else:
    Choice = Literal[CHOICES]  # so that a recipe is refused where it is read
Choose = Callable[[str], Choice]  # site name -> choice
