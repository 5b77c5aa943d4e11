"""ResNet-50 without torch: its layers, its non-local blocks and its BNNeck."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Final

from train.networks.choices import Choose
from train.networks.design import NON_LOCAL, RESNET50_BLOCKS, Design
from train.networks.layers import Backbone, Layer, convolution, half_up

__all__ = ["RESNET50"]


def _build(choose: Choose, design: Design) -> object:
    from train.networks.resnet import ResNet50  # noqa: PLC0415 - sites and costs need no torch
    return ResNet50(choose, pool=design.pool, non_local=design.non_local)


def _layers(design: Design, height: int, width: int) -> Iterator[Layer]:
    size = half_up(height), half_up(width)
    yield convolution("conv1", (64, 3, 7, 7), size, norm="bn1")
    size = half_up(size[0]), half_up(size[1])
    inner = 64
    for stage, block_count in enumerate(RESNET50_BLOCKS, start=1):
        mid = 32 * 2**stage
        for i in range(block_count):
            block = f"layer{stage}.{i}"
            halves = i == 0 and stage in (2, 3)  # not in the last stage, as re-identification has it
            after = (half_up(size[0]), half_up(size[1])) if halves else size
            if i == 0:  # the official order of sites: a downsample precedes the three norms of its own block
                yield convolution(f"{block}.downsample.0", (4 * mid, inner, 1, 1), after,
                                  norm=f"{block}.downsample.1")
            yield convolution(f"{block}.conv1", (mid, inner, 1, 1), size, norm=f"{block}.bn1")
            yield convolution(f"{block}.conv2", (mid, mid, 3, 3), after, norm=f"{block}.bn2")
            yield convolution(f"{block}.conv3", (4 * mid, mid, 1, 1), after, norm=f"{block}.bn3")
            inner, size = 4 * mid, after
            if design.non_local and block in NON_LOCAL:
                yield from _non_local(f"{block}.non_local", inner, size)


def _non_local(block: str, channels: int, size: tuple[int, int]) -> Iterator[Layer]:
    half, places = channels // 2, prod(size)
    yield convolution(f"{block}.theta", (half, channels, 1, 1), size, biased=True)
    yield convolution(f"{block}.phi", (half, channels, 1, 1), size, biased=True)
    g = convolution(f"{block}.g", (half, channels, 1, 1), size, biased=True)
    yield g._replace(macs=g.macs + 2 * places**2 * half)  # likeness of all places, and what they tell
    yield convolution(f"{block}.project", (channels, half, 1, 1), size, biased=True, norm=f"{block}.norm",
                      fixed=True)


RESNET50: Final = Backbone(
    _build, _layers, options=("pool", "non_local"),
    parts={"stem": ("conv1", "bn1"), **{name: (name,) for name in ("layer1", "layer2", "layer3", "layer4")}},
    neck=2048)
