"""ResNet-50 as person re-identification uses it: last stride 1, global average pool, BNNeck.

Source: He et al., CVPR 2016, with torchvision's parameter names; last stride and BNNeck from
Luo et al., "Bag of Tricks and A Strong Baseline", CVPRW 2019, as CM-NAS (ICCV 2021) has them.
Every BatchNorm of the trunk is a `ModalityBatchNorm` with a choice; the BNNeck is always shared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from train.modality_bn import ModalityBatchNorm, Rows
from train.space import BNNECK, Choice

__all__ = ["Bottleneck", "ResNet50"]

Choose = Callable[[str], Choice]  # site name -> choice

_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the channels, and a shortcut.

    Args:
        site: Name of this block in the network, for `choose`.
        choose: The choice at each BatchNorm site.
        channels: Channels in, and of the middle.
        stride: Of the 3x3 and of the shortcut.
    """

    def __init__(self, site: str, choose: Choose, channels: tuple[int, int], *, stride: int) -> None:
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

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """``(n, c, h, w)`` -> ``(n, 4 mid, h / stride, w / stride)``."""
        y = functional.relu(self.bn1(self.conv1(x), rows), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y), rows), inplace=True)
        y = self.bn3(self.conv3(y), rows)
        if self.downsample is not None:
            conv, norm = self.downsample
            x = norm(conv(x), rows)
        return functional.relu(y + x, inplace=True)


class ResNet50(nn.Module):
    """Normalised RGB crops -> 2048 numbers behind the BNNeck.

    Args:
        choose: The choice at each BatchNorm site.
    """

    dimension = 512 * _EXPANSION

    def __init__(self, choose: Choose) -> None:
        super().__init__()

        def layer(site: str, inner: int, mid: int, block_count: int, stride: int) -> nn.ModuleList:
            return nn.ModuleList(
                Bottleneck(f"{site}.{i}", choose, (inner if i == 0 else mid * _EXPANSION, mid),
                           stride=stride if i == 0 else 1)
                for i in range(block_count))

        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = ModalityBatchNorm(64, choose("bn1"))
        self.layer1 = layer("layer1", 64, 64, 3, 1)
        self.layer2 = layer("layer2", 256, 128, 4, 2)
        self.layer3 = layer("layer3", 512, 256, 6, 2)
        self.layer4 = layer("layer4", 1024, 512, 3, 1)
        self.bnneck = ModalityBatchNorm(self.dimension, choose(BNNECK))
        # A shifted neck would move the hypersphere's centre away from the classifier's (Luo et al., 3.6).
        cast("nn.Parameter", self.bnneck.bias).requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor, rows: Rows) -> Tensor:
        """``(n, 3, h, w)`` -> the last feature map ``(n, 2048, h / 16, w / 16)``."""
        x = functional.relu(self.bn1(self.conv1(x), rows), inplace=True)
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = block(x, rows)
        return x

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """``(n, 3, h, w)`` -> the pooled map and, twice, the embedding behind the BNNeck, all ``(n, 2048)``."""
        pooled = self.features(x, rows).mean((2, 3))
        embedding = self.bnneck(pooled, rows)
        return pooled, embedding, embedding
