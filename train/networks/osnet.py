"""OSNet: omni-scale features from streams of growing receptive field, fused by one gate.

Source: Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019
(arXiv 1905.00953), and the released torchreid networks, whose parameter names are kept so
that their checkpoints read as they are. Every BatchNorm is a `ModalityBatchNorm`.

Everything takes ``(x, rows)``: the feature map, and which rows are infrared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.networks.choices import Choose
from train.networks.design import Fusion, Pool
from train.networks.modality_bn import ModalityBatchNorm, Rows
from train.networks.pooling import pooling
from train.networks.routes import Chain

__all__ = ["EMBEDDING", "ChannelGate", "ConvNorm", "FixedWeights", "Fusion", "LightConv3x3", "OSBlock", "OSNet"]

EMBEDDING = 512  # for every width

_REDUCTION = 4  # bottleneck of a block
_GATE_REDUCTION = 16


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm and, unless told otherwise, ReLU."""

    def __init__(self, site: str, choose: Choose, channels: tuple[int, int], *, kernel: int = 1,
                 stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(*channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn = ModalityBatchNorm(channels[1], choose(f"{site}.bn"))
        self.relu = relu

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """``(n, c, h, w)`` -> ``(n, c', h', w')``."""
        y: Tensor = self.bn(self.conv(x), rows)
        return functional.relu(y, inplace=True) if self.relu else y


class LightConv3x3(nn.Module):
    """The Lite 3x3: pointwise, then depthwise 3x3, BatchNorm, ReLU; nothing between the two (section 3.1)."""

    def __init__(self, site: str, choose: Choose, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = ModalityBatchNorm(channels, choose(f"{site}.bn"))

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """``(n, c, h, w)`` -> same shape."""
        return functional.relu(self.bn(self.conv2(self.conv1(x)), rows), inplace=True)


class ChannelGate(nn.Module):
    """A weight per channel (or one for all), computed from the map it will scale: a tiny MLP on its mean."""

    def __init__(self, channels: int, *, scalar: bool = False) -> None:
        super().__init__()
        hidden = channels // _GATE_REDUCTION
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, 1 if scalar else channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` -> weights in (0, 1), shape ``(n, c, 1, 1)`` or ``(n, 1, 1, 1)``."""
        return torch.sigmoid(self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True)), inplace=True)))


class FixedWeights(nn.Module):
    """Learned weights that don't look at the input: one vector per stream; they start as a plain sum."""

    def __init__(self, streams: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(streams, channels))

    def forward(self, *streams: Tensor) -> Tensor:
        """One map from the streams' maps, each ``(n, c, h, w)``."""
        fused = self.weight[0, :, None, None] * streams[0]
        for weight, stream in zip(self.weight[1:], streams[1:], strict=True):
            fused = torch.addcmul(fused, weight[:, None, None], stream)
        return fused


class OSBlock(nn.Module):
    """The omni-scale residual block (section 3.2): streams t = 1..T see 2t+1 pixels and are fused.

    Fusions (table 5 of the paper compares them): ``gate`` is the unified aggregation gate,
    one gate shared by all streams giving each a vector of weights computed from that
    stream; ``gate_per_stream`` has one gate for each; ``scalar_gate`` shares one gate that
    gives a single weight per stream; ``fixed`` learns weights that don't depend on the
    input; ``sum`` adds.

    Args:
        site: Name of this block in the network, for `choose`.
        choose: The choice at each BatchNorm site.
        channels: In and out.
        streams: T >= 1; the released networks have 4.
        fusion: How the streams become one map.
        lite: Streams of Lite 3x3; False for full 3x3 convolutions, each with BatchNorm and ReLU.

    Raises:
        ValueError: T outside 1..26 or an unknown fusion.
    """

    def __init__(self, site: str, choose: Choose, channels: tuple[int, int], *, streams: int = 4,
                 fusion: Fusion = "gate", lite: bool = True) -> None:
        super().__init__()
        if not 1 <= streams <= 26:
            raise ValueError(f"streams: expected 1 to 26 (they are lettered), found {streams}")
        mid = channels[1] // _REDUCTION

        def unit(where: str) -> nn.Module:
            return LightConv3x3(where, choose, mid) if lite else ConvNorm(where, choose, (mid, mid), kernel=3)

        self.conv1 = ConvNorm(f"{site}.conv1", choose, (channels[0], mid))
        self.stream_names = [f"conv2{chr(ord('a') + t)}" for t in range(streams)]
        for count, name in enumerate(self.stream_names, start=1):
            where = f"{site}.{name}"
            self.add_module(name, unit(where) if count == 1 else Chain(unit(f"{where}.{i}") for i in range(count)))
        self.fusion: Fusion = fusion
        self.gate = _gate(fusion, streams, mid)
        self.conv3 = ConvNorm(f"{site}.conv3", choose, (mid, channels[1]), relu=False)
        self.downsample = (None if channels[0] == channels[1] else
                           ConvNorm(f"{site}.downsample", choose, channels, relu=False))

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """``(n, c, h, w)`` -> ``(n, c', h, w)``."""
        mid = self.conv1(x, rows)
        streams = [cast("Tensor", self.get_submodule(name)(mid, rows)) for name in self.stream_names]
        y: Tensor = self.conv3(self.fuse(streams), rows)
        return functional.relu(y + (x if self.downsample is None else self.downsample(x, rows)), inplace=True)

    def fuse(self, streams: Sequence[Tensor]) -> Tensor:
        """One map from the streams' maps, each ``(n, c, h, w)`` (equation 2)."""
        if isinstance(self.gate, FixedWeights):
            return cast("Tensor", self.gate(*streams))
        weights = self.stream_weights(streams)
        if weights is None:
            fused = streams[0]
            for stream in streams[1:]:
                fused = fused + stream
            return fused
        fused = weights[0] * streams[0]
        for weight, stream in zip(weights[1:], streams[1:], strict=True):
            fused = torch.addcmul(fused, weight, stream)
        return fused

    def stream_weights(self, streams: Sequence[Tensor]) -> list[Tensor] | None:
        """What each stream is multiplied by, broadcasting over its map; None for a plain sum."""
        gate = self.gate
        if gate is None:
            return None
        if isinstance(gate, FixedWeights):
            return [weight[:, None, None] for weight in gate.weight.unbind()]
        gates = gate if isinstance(gate, nn.ModuleList) else [gate] * len(streams)
        return [each(stream) for each, stream in zip(gates, streams, strict=True)]


def _gate(fusion: Fusion, streams: int, channels: int) -> nn.Module | None:
    if fusion in ("gate", "scalar_gate"):
        return ChannelGate(channels, scalar=fusion == "scalar_gate")
    if fusion == "gate_per_stream":
        return nn.ModuleList(ChannelGate(channels) for _ in range(streams))
    if fusion == "fixed":
        return FixedWeights(streams, channels)
    if fusion == "sum":
        return None
    raise ValueError(f"fusion: expected one of {', '.join(get_args(Fusion))}, found {fusion!r}")


class Halve(nn.Module):
    """Average pool 2x2, stride 2: the end of a transition."""

    def forward(self, x: Tensor, rows: Rows) -> Tensor:  # noqa: ARG002 - a link of a `Chain`
        """``(n, c, h, w)`` -> ``(n, c, h // 2, w // 2)``."""
        return functional.avg_pool2d(x, 2)


class OSNet(nn.Module):
    """Normalised RGB crops -> 512 non-negative numbers, whatever the width.

    Args:
        widths: Channels of the four stages.
        choose: The choice at each BatchNorm site.
        streams: Streams of every block.
        fusion: Fusion of every block.
        lite: Whether the streams of every block are Lite 3x3.
        pool: How the last map becomes one number per channel.
    """

    dimension = EMBEDDING

    def __init__(self, widths: tuple[int, int, int, int], choose: Choose, *, streams: int = 4,
                 fusion: Fusion = "gate", lite: bool = True, pool: Pool = "mean") -> None:
        super().__init__()

        def block(site: str, channels: tuple[int, int]) -> OSBlock:
            return OSBlock(site, choose, channels, streams=streams, fusion=fusion, lite=lite)

        def stage(site: str, channels: tuple[int, int], *, transition: bool) -> Chain:
            inner = (channels[1], channels[1])
            links: list[nn.Module] = [block(f"{site}.0", channels), block(f"{site}.1", inner)]
            if transition:
                links.append(Chain([ConvNorm(f"{site}.2.0", choose, inner), Halve()]))
            return Chain(links)

        c0, c1, c2, c3 = widths
        self.conv1: nn.Module = ConvNorm("conv1", choose, (3, c0), kernel=7, stride=2)
        self.conv2 = stage("conv2", (c0, c1), transition=True)
        self.conv3 = stage("conv3", (c1, c2), transition=True)
        self.conv4 = stage("conv4", (c2, c3), transition=False)
        self.conv5 = ConvNorm("conv5", choose, (c3, c3))
        self.fc = nn.ModuleList([nn.Linear(c3, EMBEDDING), ModalityBatchNorm(EMBEDDING, choose("fc.1"))])
        self.pool = pooling(pool)
        self.apply(_initialise)

    def features(self, x: Tensor, rows: Rows) -> Tensor:
        """``(n, 3, h, w)`` -> the last feature map ``(n, c3, h // 16, w // 16)``."""
        x = functional.max_pool2d(self.conv1(x, rows), 3, stride=2, padding=1)
        return cast("Tensor", self.conv5(self.conv4(self.conv3(self.conv2(x, rows), rows), rows), rows))

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """``(n, 3, h, w)`` -> the pooled map ``(n, c3)``, and 512 numbers before and after their ReLU."""
        pooled = self.pool(self.features(x, rows))
        linear, norm = self.fc
        signed = norm(linear(pooled), rows)
        return pooled, signed, functional.relu(signed)


def _initialise(module: nn.Module) -> None:
    """The released networks' start: Kaiming for convolutions, N(0, 0.01) for Linear, zero biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
    if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
        nn.init.zeros_(module.bias)
