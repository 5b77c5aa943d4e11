"""What one network's numbers are worth to another: by name, from any architecture to any other.

A network's state names tell which modality a tensor serves: those with ``.visible.`` or
``.infrared.`` in them serve one, all others both. Taken away, what remains is the *plain* name,
which torchreid and torchvision use too. So every state is two plain networks, one for each
modality, and a tensor of a new network starts

* for one modality: as that modality's tensor of the source;
* for both: as the mean of the two, except that a running variance becomes that of both
  modalities together, ``(a + b) / 2 + ((mean_a - mean_b) / 2)^2``, each as frequent as the other.

Hence, exactly: an architecture that shares less than the source computes for each modality
what the source did; and where both of the source's tensors are equal, the mean is they.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.errors import ConfigError

__all__ = ["Adopted", "inherit", "of_modality", "plain_name"]

_MARK = re.compile(r"\.(visible|infrared)\.")
# What may differ between two networks of one backbone: see `train.networks.design.Design`.
_OPTIONAL = re.compile(r"(^classifier|\.gate|\.conv2[a-z](\.\d+)?|\.non_local)\.")
_FULL = re.compile(r"(.*\.conv2[a-z](?:\.\d+)?)\.conv\.weight")
_NAMED = 4  # tensors that a message names before it only counts


class Adopted(NamedTuple):
    """What of two networks has no counterpart.

    Attributes:
        fresh: Tensors of the new network that kept the numbers they had.
        left_out: Tensors of the source that were not used.
    """

    fresh: tuple[str, ...]
    left_out: tuple[str, ...]


def plain_name(name: str) -> str:
    """A tensor's name without the modality it serves."""
    return _MARK.sub(".", name)


def of_modality(state: Mapping[str, Tensor], modality: Modality) -> dict[str, Tensor]:
    """The plain network of one modality, by plain names; the tensors are those of ``state``."""
    found = {}
    for name, tensor in state.items():
        mark = _MARK.search(name)
        if mark is None or mark[1] == modality:
            found[plain_name(name)] = tensor
    return found


def inherit(source: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Adopted]:
    """New values for the state ``own`` from the state ``source``, by the rules above.

    Two translations keep the function: a Lite 3x3 becomes the full 3x3 that it is
    (``w[o, i] = depthwise[o] * pointwise[o, i]``), and a gate for all streams becomes one for each.

    Args:
        source: State of a network of the same backbone.
        own: State of the network to start; left as it is.

    Returns:
        ``(values, report)``: values for all of ``own`` but what the report calls fresh. Fresh may
        be a classifier of another size, further streams, another kind of gate, full 3x3s of
        OSNet's blocks made Lite, and non-local blocks.

    Raises:
        ConfigError: Any other tensor is missing, left over or of another shape.
    """
    ways = {modality: of_modality(source, modality) for modality in MODALITIES}
    values: dict[str, Tensor] = {}
    fresh: list[str] = []
    used: set[str] = set()
    for name, mine in own.items():
        mark, plain = _MARK.search(name), plain_name(name)
        serves: tuple[Modality, ...] = MODALITIES if mark is None else tuple(m for m in MODALITIES if m == mark[1])
        found = [_find(ways[modality], plain) for modality in serves]
        if all(tensor is not None and tensor.shape == mine.shape for tensor, _ in found):
            values[name] = _merge(plain, [tensor for tensor, _ in found if tensor is not None],
                                  [ways[modality] for modality in serves])
            used.update(found[0][1])
        else:
            fresh.append(name)
    left_out = [name for name in source if plain_name(name) not in used]
    foreign = [name for name in (*fresh, *left_out) if not _OPTIONAL.search(name)]
    if foreign:
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise ConfigError("start: expected a network of the same backbone, found tensors without a counterpart of "
                          f"their shape: {', '.join(dict.fromkeys(foreign[:_NAMED]))}{more}; start from another "
                          "network")
    return values, Adopted(tuple(fresh), tuple(left_out))


def _find(way: Mapping[str, Tensor], plain: str) -> tuple[Tensor | None, tuple[str, ...]]:
    """A tensor by its plain name, or by what stands for it, and the names that it took."""
    if plain in way:
        return way[plain], (plain,)
    one_gate = re.sub(r"\.gate\.\d+\.", ".gate.", plain)
    if one_gate in way:
        return way[one_gate], (one_gate,)
    if full := _FULL.fullmatch(plain):
        names = f"{full[1]}.conv1.weight", f"{full[1]}.conv2.weight"
        if all(name in way for name in names):
            pointwise, depthwise = (way[name] for name in names)
            return depthwise * pointwise, names  # (c, 1, 3, 3) * (c, c, 1, 1)
    return None, ()


def _merge(plain: str, tensors: list[Tensor], ways: list[dict[str, Tensor]]) -> Tensor:
    if len(tensors) == 1 or tensors[0] is tensors[1]:
        return tensors[0]
    a, b = (tensor.double() for tensor in tensors)
    merged = (a + b) / 2
    if plain.endswith("running_var"):
        mean_a, mean_b = (way[plain.replace("running_var", "running_mean")].double() for way in ways)
        merged = merged + ((mean_a - mean_b) / 2) ** 2
    return merged.to(torch.promote_types(tensors[0].dtype, torch.float32))
