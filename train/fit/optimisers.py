"""How weights follow their gradients, and the moving average that follows the weights.

Adam: Kingma and Ba, arXiv 1412.6980; AMSGrad: Reddi et al., ICLR 2018; AdamW (decay apart from the
gradient): Loshchilov and Hutter, ICLR 2019.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import torch
from torch import nn

from train.fit.schedule import Rates
from train.networks.build import Network

__all__ = ["Optimiser", "follow", "freeze", "make", "set_rate"]

_Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
_Weight = Annotated[float, msgspec.Meta(ge=0)]
_HEAD = ("classifier.", "backbone.bnneck.")


class Optimiser(Rates, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """AdamW, Adam or AMSGrad with coupled decay, or SGD with Nesterov momentum 0.9; its rates; its average.

    Attributes:
        kind: Which of the four.
        weight_decay: Apart from the gradient for AdamW, added to it for the others.
        decay: What it acts on: matrices and convolutions, or every parameter.
        betas: Of Adam's moments.
        backbone: The rate of everything but neck and classifier, as a factor.
        classifier_first: Steps in which the classifier learns alone; the rest is frozen, its statistics
            too (the two-stepped transfer of Geng et al., arXiv 1611.05244).
        clip: Largest length of the whole gradient; 0 leaves it as long as it is.
        average: Decay of the moving average of weights and statistics that is evaluated
            and kept; 0 keeps the weights themselves.
        average_ramp: At step n the decay is at most n / (n + this), so that the first steps are soon
            forgotten; 0 for the same decay at every step.
        reload_average: Go on from the average after every evaluation, as the official CM-NAS code does
            (Adam's moments stay); what is evaluated and kept is then the weights themselves.
    """

    kind: Literal["adamw", "adam", "amsgrad", "sgd"] = "adamw"
    weight_decay: _Weight = 0.01
    decay: Literal["matrices", "all"] = "matrices"
    betas: tuple[_Share, _Share] = (0.9, 0.999)
    backbone: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    classifier_first: Annotated[int, msgspec.Meta(ge=0)] = 0
    clip: _Weight = 0.0
    average: _Share = 0.998
    average_ramp: _Weight = 10.0
    reload_average: bool = False


def make(network: Network, how: Optimiser) -> torch.optim.Optimizer:
    """An optimiser over the parameters that can learn; each group knows its ``factor`` of the rate."""
    groups = []
    for factor, part in _parts(network, how):
        # Scales, shifts and biases are not pulled to zero: behind a norm that shrinks features, not complexity.
        rest = [p for p in part if p.ndim <= 1]
        groups += [{"params": [p for p in part if p.ndim > 1], "weight_decay": how.weight_decay, "factor": factor},
                   {"params": rest, "weight_decay": how.weight_decay if how.decay == "all" else 0.0, "factor": factor}]
    if how.kind == "sgd":
        return torch.optim.SGD(groups, how.rate, momentum=0.9, nesterov=True)
    if how.kind == "adamw":
        return torch.optim.AdamW(groups, how.rate, betas=how.betas, foreach=True)
    return torch.optim.Adam(groups, how.rate, betas=how.betas, amsgrad=how.kind == "amsgrad", foreach=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of a rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


def freeze(network: Network, learning: frozenset[str], *, classifier_only: bool) -> None:
    """Put a network in training mode, or all of it but the classifier in evaluation mode and out of reach.

    Args:
        network: Changed in place.
        learning: Names of the parameters that learn when everything does.
        classifier_only: Whether only the classifier learns now.
    """
    network.train(not classifier_only)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in learning and (not classifier_only or name.startswith("classifier.")))


def follow(average: nn.Module, network: nn.Module, step: int, how: Optimiser) -> None:
    """Move the average towards weights and statistics after a step, the first being 1."""
    # Early on the average follows closely: the first steps are not worth remembering.
    decay = min(how.average, step / (step + how.average_ramp))
    kept, fresh = list(average.state_dict().values()), list(network.state_dict().values())
    torch._foreach_lerp_(kept, fresh, 1 - decay)


def _parts(network: Network, how: Optimiser) -> list[tuple[float, list[nn.Parameter]]]:
    named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    if how.backbone == 1:
        return [(1.0, [parameter for _, parameter in named])]
    return [(how.backbone, [parameter for name, parameter in named if not name.startswith(_HEAD)]),
            (1.0, [parameter for name, parameter in named if name.startswith(_HEAD)])]
