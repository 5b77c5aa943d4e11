"""OSNet without torch: four widths, and the layers of each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Final

from train.networks.choices import Choose
from train.networks.design import Design
from train.networks.layers import Backbone, Layer, convolution, half_up

__all__ = ["OSNET_X0_5", "OSNET_X0_25", "OSNET_X0_75", "OSNET_X1_0", "WIDTHS"]

WIDTHS: Final = {
    "osnet_x1_0": (64, 256, 384, 512),
    "osnet_x0_75": (48, 192, 288, 384),
    "osnet_x0_5": (32, 128, 192, 256),
    "osnet_x0_25": (16, 64, 96, 128),
}


def _build(widths: tuple[int, int, int, int], choose: Choose, design: Design) -> object:
    from train.networks.osnet import OSNet  # noqa: PLC0415 - sites and costs need no torch
    return OSNet(widths, choose, streams=design.streams, fusion=design.fusion, lite=design.lite, pool=design.pool)


def _layers(widths: tuple[int, int, int, int], design: Design, height: int, width: int) -> Iterator[Layer]:
    size = half_up(height), half_up(width)
    yield convolution("conv1.conv", (widths[0], 3, 7, 7), size, norm="conv1.bn")
    size = half_up(size[0]), half_up(size[1])
    for stage, (inner, outer) in enumerate(pairwise(widths), start=2):
        for block, channels in ((f"conv{stage}.0", (inner, outer)), (f"conv{stage}.1", (outer, outer))):
            yield from _os_block(block, channels, design, size)
        if stage < 4:
            yield convolution(f"conv{stage}.2.0.conv", (outer, outer, 1, 1), size, norm=f"conv{stage}.2.0.bn")
            size = size[0] // 2, size[1] // 2
    yield convolution("conv5.conv", (widths[3], widths[3], 1, 1), size, norm="conv5.bn")
    yield convolution("fc.0", (512, widths[3]), (1, 1), biased=True, norm="fc.1")


def _os_block(block: str, channels: tuple[int, int], design: Design, size: tuple[int, int]) -> Iterator[Layer]:
    mid = channels[1] // 4
    yield convolution(f"{block}.conv1.conv", (mid, channels[0], 1, 1), size, norm=f"{block}.conv1.bn")
    for unit in (f"{block}.{unit}" for unit in _stream_units(design.streams)):
        if design.lite:
            yield convolution(f"{unit}.conv1", (mid, mid, 1, 1), size)
            yield convolution(f"{unit}.conv2", (mid, 1, 3, 3), size, norm=f"{unit}.bn")
        else:
            yield convolution(f"{unit}.conv", (mid, mid, 3, 3), size, norm=f"{unit}.bn")
    each = design.fusion == "gate_per_stream"
    if design.fusion == "fixed":
        yield Layer(f"{block}.gate", (design.streams, mid), 0)
    elif design.fusion != "sum":
        hidden, out = mid // 16, 1 if design.fusion == "scalar_gate" else mid
        for gate in [f"{block}.gate.{t}" for t in range(design.streams)] if each else [f"{block}.gate"]:
            uses = 1 if each else design.streams
            yield convolution(f"{gate}.fc1", (hidden, mid, 1, 1), (uses, 1), biased=True)
            yield convolution(f"{gate}.fc2", (out, hidden, 1, 1), (uses, 1), biased=True)
    yield convolution(f"{block}.conv3.conv", (channels[1], mid, 1, 1), size, norm=f"{block}.conv3.bn")
    if channels[0] != channels[1]:
        yield convolution(f"{block}.downsample.conv", (*channels[::-1], 1, 1), size, norm=f"{block}.downsample.bn")


def _stream_units(streams: int) -> Iterator[str]:
    """The 3x3s of an OSNet block by name: ``conv2a`` alone, then ``conv2b.0``, ``conv2b.1``, and so on."""
    for count in range(1, streams + 1):
        name = f"conv2{chr(ord('a') + count - 1)}"
        yield from [name] if count == 1 else [f"{name}.{i}" for i in range(count)]


def _osnet(name: str) -> Backbone:
    return Backbone(partial(_build, WIDTHS[name]), partial(_layers, WIDTHS[name]),
                    options=("streams", "fusion", "lite", "pool"),
                    parts={part: (part,) for part in ("conv1", "conv2", "conv3", "conv4")})


OSNET_X1_0: Final = _osnet("osnet_x1_0")
OSNET_X0_75: Final = _osnet("osnet_x0_75")
OSNET_X0_5: Final = _osnet("osnet_x0_5")
OSNET_X0_25: Final = _osnet("osnet_x0_25")
