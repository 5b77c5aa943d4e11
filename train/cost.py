"""What an architecture costs once it is folded: bytes on a camera, parameters, multiply-adds. From shapes alone.

A bundle holds one graph for each modality and every tensor that both use once. Folding puts a
BatchNorm into the layer that it follows, so a site that isn't shared makes that layer's weight
and bias two: next to nothing behind a depthwise convolution, the whole weight behind a pointwise
one. ``split_statistics`` folds to as many bytes as ``split``.

Pure Python; tests hold it against the tensors of networks and graphs that are really built.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import prod
from typing import NamedTuple

from train.design import NON_LOCAL, RELEASED, RESNET50_BLOCKS, WIDTHS, Design, check, owned
from train.space import Arch, site_names, stream_units

__all__ = ["Cost", "Layer", "Size", "bytes_of", "layers", "site_bytes", "size_of"]

_FLOAT32 = 4
_CONSTANTS = 3 + 1  # the mean that is taken off a crop's channels; the shortest embedding to divide by
_GEM_CONSTANTS = 2
_NECK = 2048


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


class Layer(NamedTuple):
    """A convolution, a Linear or a bare weight of the plain network, in the order of construction.

    Attributes:
        name: In the plain network, relative to ``backbone``.
        weight: Shape of its weight.
        macs: Multiply-adds for one crop, over all places and uses.
        biased: Whether it has a bias before folding.
        norm: The BatchNorm that follows, with which it has a bias after folding.
    """

    name: str
    weight: tuple[int, ...]
    macs: int
    biased: bool = False
    norm: str | None = None


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
    shared += 2 * _NECK * (arch.backbone == "resnet50")  # scale and shift behind the pool
    for layer in layers(arch.backbone, arch.design):
        if _part(layer.name) in own or choices.get(layer.norm or "", "shared") != "shared":
            apart += _folded(layer)
        else:
            shared += _folded(layer)
    return Cost(_FLOAT32 * shared, _FLOAT32 * apart, _FLOAT32 * apart)


def site_bytes(backbone: str, design: Design = RELEASED) -> dict[str, int]:
    """What each site adds to `Cost.total` when it is not shared, in construction order.

    Exactly additive: the total is that of the shared network plus the sum over sites that are
    split or have split statistics, whatever the others are.

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
    neck = 2 * _NECK * (arch.backbone == "resnet50")
    parameters, trained, macs = neck, neck, 0
    for layer in layers(arch.backbone, arch.design, height, width):
        channels = layer.weight[0]
        learnt, norm = prod(layer.weight) + channels * layer.biased, 2 * channels * (layer.norm is not None)
        doubled = _part(layer.name) in own
        parameters += learnt + norm
        trained += learnt * (1 + doubled)
        trained += norm * (1 + (doubled or choices.get(layer.norm or "") == "split"))
        macs += layer.macs
    return Size(parameters, trained, macs)


def layers(backbone: str, design: Design = RELEASED, height: int = 256, width: int = 128) -> Iterator[Layer]:
    """Everything with a weight in the network that one modality sees, for crops of a size.

    Raises:
        ValueError: Unknown backbone, or it doesn't have an option of the design.
    """
    check(backbone, design)
    # Stem of stride 2, then a pool of stride 2, each 3 or 7 wide with its padding: half, rounded up.
    stem = _half_up(height), _half_up(width)
    size = _half_up(stem[0]), _half_up(stem[1])
    if backbone == "resnet50":
        yield _convolution("conv1", (64, 3, 7, 7), stem, norm="bn1")
        yield from _resnet50(design, size)
    else:
        yield _convolution("conv1.conv", (WIDTHS[backbone][0], 3, 7, 7), stem, norm="conv1.bn")
        yield from _osnet(backbone, design, size)


def _osnet(backbone: str, design: Design, size: tuple[int, int]) -> Iterator[Layer]:
    widths = WIDTHS[backbone]
    for stage, (inner, outer) in enumerate(pairwise(widths), start=2):
        for block, channels in ((f"conv{stage}.0", (inner, outer)), (f"conv{stage}.1", (outer, outer))):
            yield from _os_block(block, channels, design, size)
        if stage < 4:
            yield _convolution(f"conv{stage}.2.0.conv", (outer, outer, 1, 1), size, norm=f"conv{stage}.2.0.bn")
            size = size[0] // 2, size[1] // 2
    yield _convolution("conv5.conv", (widths[3], widths[3], 1, 1), size, norm="conv5.bn")
    yield _convolution("fc.0", (512, widths[3]), (1, 1), biased=True, norm="fc.1")


def _os_block(block: str, channels: tuple[int, int], design: Design, size: tuple[int, int]) -> Iterator[Layer]:
    mid = channels[1] // 4
    yield _convolution(f"{block}.conv1.conv", (mid, channels[0], 1, 1), size, norm=f"{block}.conv1.bn")
    for unit in (f"{block}.{unit}" for unit in stream_units(design.streams)):
        if design.lite:
            yield _convolution(f"{unit}.conv1", (mid, mid, 1, 1), size)
            yield _convolution(f"{unit}.conv2", (mid, 1, 3, 3), size, norm=f"{unit}.bn")
        else:
            yield _convolution(f"{unit}.conv", (mid, mid, 3, 3), size, norm=f"{unit}.bn")
    each = design.fusion == "gate_per_stream"
    if design.fusion == "fixed":
        yield Layer(f"{block}.gate", (design.streams, mid), 0)
    elif design.fusion != "sum":
        hidden, out = mid // 16, 1 if design.fusion == "scalar_gate" else mid
        for gate in [f"{block}.gate.{t}" for t in range(design.streams)] if each else [f"{block}.gate"]:
            uses = 1 if each else design.streams
            yield _convolution(f"{gate}.fc1", (hidden, mid, 1, 1), (uses, 1), biased=True)
            yield _convolution(f"{gate}.fc2", (out, hidden, 1, 1), (uses, 1), biased=True)
    yield _convolution(f"{block}.conv3.conv", (channels[1], mid, 1, 1), size, norm=f"{block}.conv3.bn")
    if channels[0] != channels[1]:
        yield _convolution(f"{block}.downsample.conv", (*channels[::-1], 1, 1), size, norm=f"{block}.downsample.bn")


def _resnet50(design: Design, size: tuple[int, int]) -> Iterator[Layer]:
    inner = 64
    for stage, block_count in enumerate(RESNET50_BLOCKS, start=1):
        mid = 32 * 2**stage
        for i in range(block_count):
            block = f"layer{stage}.{i}"
            halves = i == 0 and stage in (2, 3)  # not in the last stage, as re-identification has it
            after = (_half_up(size[0]), _half_up(size[1])) if halves else size
            yield _convolution(f"{block}.conv1", (mid, inner, 1, 1), size, norm=f"{block}.bn1")
            yield _convolution(f"{block}.conv2", (mid, mid, 3, 3), after, norm=f"{block}.bn2")
            yield _convolution(f"{block}.conv3", (4 * mid, mid, 1, 1), after, norm=f"{block}.bn3")
            if i == 0:
                yield _convolution(f"{block}.downsample.0", (4 * mid, inner, 1, 1), after,
                                   norm=f"{block}.downsample.1")
            inner, size = 4 * mid, after
            if design.non_local and block in NON_LOCAL:
                yield from _non_local(f"{block}.non_local", inner, size)


def _non_local(block: str, channels: int, size: tuple[int, int]) -> Iterator[Layer]:
    half, places = channels // 2, prod(size)
    yield _convolution(f"{block}.theta", (half, channels, 1, 1), size, biased=True)
    yield _convolution(f"{block}.phi", (half, channels, 1, 1), size, biased=True)
    g = _convolution(f"{block}.g", (half, channels, 1, 1), size, biased=True)
    yield g._replace(macs=g.macs + 2 * places**2 * half)  # likeness of all places, and what they tell
    yield _convolution(f"{block}.project", (channels, half, 1, 1), size, biased=True, norm=f"{block}.norm")


def _convolution(name: str, weight: tuple[int, ...], size: tuple[int, int], *, biased: bool = False,
                 norm: str | None = None) -> Layer:
    return Layer(name, weight, prod(weight) * prod(size), biased, norm)


def _folded(layer: Layer) -> int:
    """Numbers of a layer in the graph."""
    return prod(layer.weight) + layer.weight[0] * (layer.biased or layer.norm is not None)


def _part(name: str) -> str:
    return name.partition(".")[0]


def _half_up(size: int) -> int:
    return (size + 1) // 2
