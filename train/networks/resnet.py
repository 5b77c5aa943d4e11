"""ResNet-50 as person re-identification uses it: last stride 1, global average pool, BNNeck.

Source: He et al., CVPR 2016, with torchvision's parameter names; last stride and BNNeck from
Luo et al., "Bag of Tricks and A Strong Baseline", CVPRW 2019, as CM-NAS (ICCV 2021) has them.
Every BatchNorm of the trunk is a `ModalityBatchNorm` with a choice; the BNNeck is always shared.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from train.networks.choices import Choose
from train.networks.design import NON_LOCAL, RESNET50_BLOCKS, Pool
from train.networks.layers import BNNECK
from train.networks.modality_bn import ModalityBatchNorm, Rows
from train.networks.non_local import NonLocal
from train.networks.pooling import pooling
from train.networks.routes import Chain, Own

__all__ = ["Bottleneck", "ResNet50"]

_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the channels, and a shortcut.

    Args:
        site: Name of this block in the network, for `choose`.
        choose: The choice at each BatchNorm site.
        channels: Channels in, and of the middle.
        stride: Of the 3x3 and of the shortcut.
        non_local: Whether a `NonLocal` block follows.
    """

    def __init__(self, site: str, choose: Choose, channels: tuple[int, int], *, stride: int,
                 non_local: bool = False) -> None:
        super().__init__()
        inner, mid = channels
        outer = mid * _EXPANSION
        self.conv1 = nn.Conv2d(inner, mid, 1, bias=False)
        self.bn1 = ModalityBatchNorm(mid, choose(f"{site}.bn1"))
        self.conv2 = nn.Conv2d(mid, mid, 3, stride=stride, padding=1, bias=False)
        self.bn2 = ModalityBatchNorm(mid, choose(f"{site}.bn2"))
        self.conv3 = nn.Conv2d(mid, outer, 1, bias=False)
        self.bn3 = ModalityBatchNorm(outer, choose(f"{site}.bn3"))
        self.downsample = None if inner == outer and stride == 1 else nn.ModuleList([
            nn.Conv2d(inner, outer, 1, stride=stride, bias=False),
            ModalityBatchNorm(outer, choose(f"{site}.downsample.1"))])
        self.non_local = NonLocal(outer) if non_local else None

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """``(n, c, h, w)`` -> ``(n, 4 mid, h / stride, w / stride)``."""
        y = functional.relu(self.bn1(self.conv1(x), rows), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y), rows), inplace=True)
        y = self.bn3(self.conv3(y), rows)
        if self.downsample is not None:
            conv, norm = self.downsample
            x = norm(conv(x), rows)
        y = functional.relu(y + x, inplace=True)
        return y if self.non_local is None else cast("Tensor", self.non_local(y, rows))


class ResNet50(nn.Module):
    """Normalised RGB crops -> 2048 numbers behind the BNNeck.

    Args:
        choose: The choice at each BatchNorm site.
        pool: How the last map becomes one number per channel.
        non_local: Whether the `NON_LOCAL` blocks are there.
    """

    dimension = 512 * _EXPANSION

    def __init__(self, choose: Choose, *, pool: Pool = "mean", non_local: bool = False) -> None:
        super().__init__()

        def layer(stage: int, inner: int, mid: int, stride: int) -> nn.Module:
            site = f"layer{stage}"
            return Chain(
                Bottleneck(f"{site}.{i}", choose, (inner if i == 0 else mid * _EXPANSION, mid),
                           stride=stride if i == 0 else 1, non_local=non_local and f"{site}.{i}" in NON_LOCAL)
                for i in range(RESNET50_BLOCKS[stage - 1]))

        self.conv1: nn.Module = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1: nn.Module = ModalityBatchNorm(64, choose("bn1"))
        self.layer1 = layer(1, 64, 64, 1)
        self.layer2 = layer(2, 256, 128, 2)
        self.layer3 = layer(3, 512, 256, 2)
        self.layer4 = layer(4, 1024, 512, 1)
        self.pool = pooling(pool)
        self.bnneck = ModalityBatchNorm(self.dimension, choose(BNNECK))
        # A shifted neck would move the hypersphere's centre away from the classifier's (Luo et al., 3.6).
        cast("nn.Parameter", self.bnneck.bias).requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:  # the non-local ones have biases
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor, rows: Rows) -> Tensor:
        """``(n, 3, h, w)`` -> the last feature map ``(n, 2048, h / 16, w / 16)``."""
        x = self.conv1(x, rows) if isinstance(self.conv1, Own) else self.conv1(x)
        x = functional.relu(self.bn1(x, rows), inplace=True)
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x, rows)
        return x

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """``(n, 3, h, w)`` -> the pooled map and, twice, the embedding behind the BNNeck, all ``(n, 2048)``."""
        pooled = self.pool(self.features(x, rows))
        embedding = self.bnneck(pooled, rows)
        return pooled, embedding, embedding
