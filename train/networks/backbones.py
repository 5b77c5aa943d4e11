"""Every backbone there is, by name, and what a design may ask of it. Pure Python.

Another backbone is a `Backbone` in a module of its own and a line here that imports it: what it is
called there is, in lower case, its name in recipes, bundles and checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from train.networks.design import RELEASED, Design, written
from train.networks.layers import Backbone
from train.networks.osnet_layers import OSNET_X0_5, OSNET_X0_25, OSNET_X0_75, OSNET_X1_0
from train.networks.resnet_layers import RESNET50

__all__ = ["BACKBONES", "check", "owned", "parts"]

BACKBONES: Final[Mapping[str, Backbone]] = {
    name.lower(): found for name, found in globals().items() if isinstance(found, Backbone)}


def parts(backbone: str) -> Mapping[str, tuple[str, ...]]:
    """The leading parts a modality may own, in order, each with the modules it consists of.

    Raises:
        ValueError: Unknown backbone.
    """
    if backbone not in tuple(BACKBONES):  # a file may say a list
        raise ValueError(f"backbone: expected one of {', '.join(BACKBONES)}, found {backbone!r}")
    return BACKBONES[backbone].parts


def owned(backbone: str, own: int) -> tuple[str, ...]:
    """The modules of the leading ``own`` parts, in order.

    Raises:
        ValueError: Unknown backbone.
    """
    return tuple(module for part in list(parts(backbone).values())[:own] for module in part)


def check(backbone: str, design: Design) -> None:
    """Refuse options that a backbone doesn't have.

    Raises:
        ValueError: Naming the option; or unknown backbone.
    """
    leading = parts(backbone)
    if design.own > len(leading):
        among = f" ({', '.join(leading)})" if leading else ""
        raise ValueError(f"design: expected own from 0 to {len(leading)}{among} for {backbone}, found {design.own}")
    for name in Design.__struct_fields__:
        found, expected = getattr(design, name), getattr(RELEASED, name)
        if found != expected and name not in ("own", *BACKBONES[backbone].options):
            others = [other for other, one in BACKBONES.items() if name in one.options]
            raise ValueError(f"design: {backbone} has no option {name}, found {name} = {written(found)}; leave it "
                             f"out, or take {' or '.join(others)}")
