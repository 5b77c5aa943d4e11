"""What a backbone is, before torch: its layers with their norms, from which sites and costs follow.

Each backbone says so once, in a module beside its network's: `train.networks.osnet_layers` beside
`train.networks.osnet`, and so on. Pure Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Final, NamedTuple

from train.networks.choices import Choose
from train.networks.design import Design

__all__ = ["BNNECK", "Backbone", "Layer", "convolution", "half_up"]

BNNECK: Final = "bnneck"  # a norm behind a pool, called so: always shared, so no site of the space


class Layer(NamedTuple):
    """A convolution, a Linear or a bare weight of the plain network.

    Attributes:
        name: In the plain network, relative to ``backbone``.
        weight: Shape of its weight.
        macs: Multiply-adds for one crop, over all places and uses.
        biased: Whether it has a bias before folding.
        norm: The BatchNorm that follows, with which it has a bias after folding: a site.
        fixed: Whether that norm is shared whatever is chosen, and so no site.
    """

    name: str
    weight: tuple[int, ...]
    macs: int
    biased: bool = False
    norm: str | None = None
    fixed: bool = False


@dataclass(frozen=True)
class Backbone:
    """What there is to say of a backbone.

    Attributes:
        build: Its network, a torch module, from the choice at each norm and the design; imports torch when called.
            The network takes ``(x, rows)``, grouped rows and a `train.networks.modality_bn.Rows`, to what
            `train.networks.build.Features` calls pooled, signed and embedding, and has ``dimension``, the length of the
            last.
        layers: Everything with a weight in the network that one modality sees, for a design and crops of a height
            and width; norms in the order of construction, by the names of modules.
        options: Fields of `Design` it has, beside ``own``.
        parts: The leading parts a modality may own, in order, each with the modules it consists of.
        neck: Channels of its `BNNECK`; 0 for a backbone without one.
    """

    build: Callable[[Choose, Design], object]
    layers: Callable[[Design, int, int], Iterator[Layer]]
    options: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    neck: int = 0


def convolution(name: str, weight: tuple[int, ...], size: tuple[int, int], *, biased: bool = False,
                norm: str | None = None, fixed: bool = False) -> Layer:
    """A convolution with a weight of a shape whose map has so many rows and columns."""
    return Layer(name, weight, prod(weight) * prod(size), biased, norm, fixed)


def half_up(size: int) -> int:
    """Rows behind a stride of 2 with the padding that a kernel of 3 or 7 has."""
    return (size + 1) // 2
