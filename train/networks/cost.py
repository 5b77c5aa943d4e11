"""What an architecture costs once it is folded: bytes on a camera, parameters, multiply-adds. From shapes alone.

A bundle holds one graph for each modality and every tensor that both use once. Folding puts a
BatchNorm into the layer that it follows, so a site that isn't shared makes that layer's weight
and bias two: next to nothing behind a depthwise convolution, the whole weight behind a pointwise
one. All choices but ``shared`` fold to as many bytes.

Pure Python; tests hold it against the tensors of networks and graphs that are really built.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from train.networks.backbones import BACKBONES, check, owned
from train.networks.choices import NORMS
from train.networks.design import RELEASED, Design
from train.networks.layers import Layer
from train.networks.space import Arch, site_names

__all__ = ["Cost", "Layer", "Size", "bytes_of", "layers", "site_bytes", "size_of"]

_FLOAT32 = 4
_CONSTANTS = 3 + 1  # the mean that is taken off a crop's channels; the shortest embedding to divide by
_GEM_CONSTANTS = 2


class Cost(NamedTuple):
    """Bytes of the float32 tensors of a bundle, without the padding between them.

    Attributes:
        shared_once: Of tensors that both modalities' graphs use; they are stored once.
        visible: Of tensors that only the visible graph uses.
        infrared: Of tensors that only the infrared graph uses.
    """

    shared_once: int
    visible: int
    infrared: int

    @property
    def total(self) -> int:
        """Distinct bytes of the two graphs: what the bundle holds."""
        return self.shared_once + self.visible + self.infrared

    @property
    def without_sharing(self) -> int:
        """Bytes of two files that know nothing of each other."""
        return 2 * self.shared_once + self.visible + self.infrared


class Size(NamedTuple):
    """How large a network is; the classifier is never counted.

    Attributes:
        parameters: Of the plain network that one modality sees, before folding.
        trained: Of the whole network in training, every branch and copy counted.
        macs: Multiply-adds of convolutions, Linear and products of matrices for one crop.
    """

    parameters: int
    trained: int
    macs: int


def bytes_of(arch: Arch) -> Cost:
    """Bytes of the two folded graphs of an architecture, equal tensors counted once.

    Tensors that are equal by accident, as the zero biases of gates that were never trained, are
    counted as different ones.

    Examples:
        >>> shared, split = (bytes_of(Arch.uniform("osnet_x0_25", how)) for how in ("shared", "split"))
        >>> shared.total, split.total, split.without_sharing
        (792368, 1433968, 1584736)
    """
    own = owned(arch.backbone, arch.design.own)
    choices = dict(arch.choices)
    shared, apart = _CONSTANTS + _GEM_CONSTANTS * (arch.design.pool == "gem"), 0
    shared += 2 * BACKBONES[arch.backbone].neck  # scale and shift behind the pool
    for layer in layers(arch.backbone, arch.design):
        if _part(layer.name) in own or any(NORMS[choices.get(layer.norm or "", "shared")]):
            apart += _folded(layer)
        else:
            shared += _folded(layer)
    return Cost(_FLOAT32 * shared, _FLOAT32 * apart, _FLOAT32 * apart)


def site_bytes(backbone: str, design: Design = RELEASED) -> dict[str, int]:
    """What each site adds to `Cost.total` when it is not shared, in construction order.

    Exactly additive: the total is that of the shared network plus the sum over sites that are
    not shared, whatever the others are.

    Raises:
        ValueError: Unknown backbone, or it doesn't have an option of the design.
    """
    price = {layer.norm: _FLOAT32 * _folded(layer) for layer in layers(backbone, design)}
    return {site: price[site] for site in site_names(backbone, design)}


def size_of(arch: Arch, height: int = 256, width: int = 128) -> Size:
    """Parameters, and multiply-adds for crops of a size.

    Examples:
        >>> size_of(Arch.uniform("osnet_x1_0", "shared"))
        Size(parameters=2169508, trained=2169508, macs=978875392)
    """
    own = owned(arch.backbone, arch.design.own)
    choices = dict(arch.choices)
    neck = 2 * BACKBONES[arch.backbone].neck
    parameters, trained, macs = neck, neck, 0
    for layer in layers(arch.backbone, arch.design, height, width):
        channels = layer.weight[0]
        learnt, norm = prod(layer.weight) + channels * layer.biased, 2 * channels * (layer.norm is not None)
        doubled = _part(layer.name) in own
        parameters += learnt + norm
        trained += learnt * (1 + doubled)
        trained += norm * (1 + (doubled or NORMS[choices.get(layer.norm or "", "shared")].affine))
        macs += layer.macs
    return Size(parameters, trained, macs)


def layers(backbone: str, design: Design = RELEASED, height: int = 256, width: int = 128) -> Iterator[Layer]:
    """Everything with a weight in the network that one modality sees, for crops of a size.

    Raises:
        ValueError: Unknown backbone, or it doesn't have an option of the design.
    """
    check(backbone, design)
    return BACKBONES[backbone].layers(design, height, width)


def _folded(layer: Layer) -> int:
    """Numbers of a layer in the graph."""
    return prod(layer.weight) + layer.weight[0] * (layer.biased or layer.norm is not None)


def _part(name: str) -> str:
    return name.partition(".")[0]
