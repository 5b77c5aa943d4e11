"""Which number was the first to leave the numbers: what a run that diverged says before it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

__all__ = ["all_finite", "first_layer", "first_tensor"]


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every entry is a finite number; one wait for the device."""
    # The largest magnitude of a tensor is finite exactly if all of it is.
    worst = torch._foreach_norm([t for t in tensors if t.is_floating_point() and t.numel()], torch.inf)
    return not worst or bool(torch.isfinite(torch.stack(list(worst))).all())


def first_tensor(named: Mapping[str, Tensor | None]) -> str | None:
    """Name of the first tensor with an entry that is not finite."""
    return next((name for name, t in named.items() if t is not None and not bool(torch.isfinite(t).all())), None)


def first_layer(network: nn.Module, *inputs: Tensor) -> str | None:
    """Name of the first layer whose output is not finite, by one more forward pass; None if all are."""
    found: list[str] = []

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def look(_: nn.Module, __: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                found.append(name)
        return network.get_submodule(name).register_forward_hook(look)

    hooks = [watch(name) for name, module in network.named_modules() if not list(module.children())]
    try:
        with torch.no_grad():
            network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None
