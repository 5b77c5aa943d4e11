"""Every BatchNorm of a modality folded into the layer it follows, so that one plain network remains.

In evaluation a BatchNorm is ``y = scale * x + shift`` per channel. After a convolution or a
Linear that is a change of its weights, computed in float64 and rounded to float32 once.
ResNet-50's BNNeck follows a pool, where there is nothing to fold into: it stays, as one
multiply-add per channel. Of parts that each modality owns, the modality's copy remains.

The result is a `torch.fx.GraphModule`: straight-line code without branches or modality, made by
tracing the network itself. So the topology is written down once, in `train`, and neither this
module nor `to_onnx` repeats it.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx, nn

from cmnas_edge.embedding import Modality
from train.networks.build import Network
from train.networks.non_local import NonLocal
from train.networks.osnet import FixedWeights
from train.networks.pooling import GeneralisedMean

__all__ = ["Affine", "fold"]


class Affine(nn.Module):
    """One multiply-add per channel, on ``(n, c)``."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c)`` -> same shape."""
        return x * self.scale + self.shift


class _Folded(nn.Module):
    """Stands where a BatchNorm stood, and does what is left of it: nothing, or an `Affine`."""

    def __init__(self, affine: Affine | None = None) -> None:
        super().__init__()
        self.affine = affine

    def forward(self, x: Tensor, rows: None) -> Tensor:  # noqa: ARG002 - called as a `ModalityBatchNorm` is
        return x if self.affine is None else cast("Tensor", self.affine(x))


class _Embedding(nn.Module):
    """Normalised RGB ``(n, 3, h, w)`` -> embedding ``(n, d)`` of a backbone whose norms are folded."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.backbone(x, None)[-1])


class _Tracer(fx.Tracer):
    """Goes into everything but layers of torch and those parts that `to_onnx` writes as a whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, (Affine, FixedWeights, GeneralisedMean, NonLocal))
        return whole or super().is_leaf_module(m, module_qualified_name)


def fold(network: Network, modality: Modality) -> fx.GraphModule:
    """The plain network of one modality; ``network`` is left as it was.

    Args:
        network: Any architecture; its running statistics are used, as in evaluation.
        modality: Whose BatchNorms.

    Returns:
        Normalised RGB, float32 ``(n, 3, h, w)`` -> embedding ``(n, d)``, not of unit length.

    Raises:
        ValueError: A BatchNorm remains that ``network.norms()`` does not name.
    """
    known = {id(site.norm) for site in network.norms()}
    left = [name for name, module in network.backbone.named_modules()
            if "BatchNorm" in type(module).__name__ and id(module) not in known]
    if left:
        raise ValueError(f"expected every BatchNorm among the network's own, found {left} beside them")
    plain = network.plain(modality).eval()
    for site in plain.norms():
        scale, shift = site.norm.affine(modality)
        if site.linear is None:
            _replace(plain.backbone, site.norm, _Folded(Affine(scale.float(), shift.float())))
            continue
        _fold_into(cast("nn.Conv2d | nn.Linear", site.linear), scale, shift)
        _replace(plain.backbone, site.norm, _Folded())
    wrapper = _Embedding(plain.backbone)
    module = fx.GraphModule(wrapper, _Tracer().trace(wrapper))
    module.graph.eliminate_dead_code()
    return module.requires_grad_(requires_grad=False)


def _fold_into(linear: nn.Conv2d | nn.Linear, scale: Tensor, shift: Tensor) -> None:
    weight = linear.weight.detach().double()
    rows = scale.view(-1, *[1] * (weight.ndim - 1))
    bias = shift if linear.bias is None else shift + scale * linear.bias.detach().double()
    linear.weight = nn.Parameter((weight * rows).to(torch.float32), requires_grad=False)
    linear.bias = nn.Parameter(bias.to(torch.float32), requires_grad=False)


def _replace(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    name = next(name for name, module in root.named_modules() if module is old)
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, new)
