"""Sets of sites by name: what a person would split by hand, and what a small search moves as one.

``Arch.of(backbone, dict.fromkeys(scheme("stem", backbone), "split"))`` is a hand-designed network.
Pure Python.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from train.networks.backbones import BACKBONES, owned, parts
from train.networks.design import RELEASED, Design
from train.networks.space import every_norm, site_names

__all__ = ["LEVELS", "SCHEMES", "Level", "groups", "scheme"]

Level = Literal["stage", "block", "stream", "site"]
LEVELS: tuple[Level, ...] = get_args(Level)
SCHEMES = ("none", "all", "stem", "early_half", "late_half", "first_1", "first_2", "first_3", "first_4")


def groups(backbone: str, level: Level = "stage", design: Design = RELEASED) -> dict[str, tuple[str, ...]]:
    """The sites in groups, in construction order; every site is in exactly one.

    ================ ========================================= ==============================
    level            OSNet                                     ResNet-50
    ================ ========================================= ==============================
    ``stage`` (6, 5) conv1 ... conv5, fc                       stem, layer1 ... layer4
    ``block`` (11,   conv1, conv2.0, conv2.1, conv2.2 (a       stem, layer1.0 ... layer4.2
    17)              transition) ..., conv5, fc
    ``stream`` (44)  as block, and within a block conv1, each  none: its blocks have no
                     stream (conv2a ... conv2d), conv3,        streams
                     downsample
    ``site``         every site is a group of its own          the same
    ================ ========================================= ==============================

    Args:
        backbone: One of `train.networks.space.BACKBONES`.
        level: How coarse.
        design: Owned parts have no sites, so their groups are missing.

    Raises:
        ValueError: Unknown backbone or level, an option the backbone doesn't have, or streams
            of a backbone without any.
    """
    if level not in LEVELS:
        raise ValueError(f"level: expected one of {', '.join(LEVELS)}, found {level!r}")
    if level == "stream" and backbone in BACKBONES and "streams" not in BACKBONES[backbone].options:
        raise ValueError(f"level: expected stage, block or site for {backbone}, found stream; its blocks have no "
                         "streams")
    found: dict[str, tuple[str, ...]] = {}
    for site in site_names(backbone, design):
        name = site if level == "site" else _group(site, level)
        found[name] = (*found.get(name, ()), site)
    return found


def scheme(name: str, backbone: str, design: Design = RELEASED) -> tuple[str, ...]:
    """The sites of a set by name.

    Args:
        name: ``none``, ``all``, ``stem`` (the first norm), ``early_half`` and ``late_half`` (cut
            between two blocks, where the counts are most alike), ``first_k`` (the norms of the leading
            k parts, which a `Design` with ``own = k`` would double with their convolutions), or any
            name that `groups` gives.
        backbone: One of `train.networks.space.BACKBONES`.
        design: Sites in owned parts are left out; halves are those of the whole network.

    Raises:
        ValueError: No such set; or as `groups`.
    """
    sites = site_names(backbone, design)
    if name in ("none", "all"):
        return sites if name == "all" else ()
    if name in ("early_half", "late_half"):
        early = _early_half(backbone, design)
        return tuple(site for site in sites if (site in early) == (name == "early_half"))
    if name == "stem":
        first = next(every_norm(backbone, design))[0]
        return tuple(site for site in sites if site == first)
    if (count := re.fullmatch(r"first_([1-9])", name)) and int(count[1]) <= len(parts(backbone)):
        modules = owned(backbone, int(count[1]))
        return tuple(site for site in sites if site.partition(".")[0] in modules)
    levels = [level for level in LEVELS if level != "stream" or "streams" in BACKBONES[backbone].options]
    for level in levels:
        if found := groups(backbone, level, design).get(name):
            return found
    raise ValueError(f"scheme: expected {', '.join(SCHEMES)} or the name of a group of {backbone}, such as "
                     f"{', '.join(groups(backbone, 'stage', design))}; found {name!r}")


def _group(site: str, level: Level) -> str:
    if site == "bn1":
        return "stem"
    steps = site.split(".")
    in_block = len(steps) > 2  # as conv2.0.conv3.bn or layer1.0.bn1; conv1.bn and fc.1 stand alone
    if level == "stage" or not in_block:
        return steps[0]
    block = ".".join(steps[:2])
    if level == "block" or not re.match(r"conv|downsample", steps[2]):
        return block
    return f"{block}.{steps[2]}"


def _early_half(backbone: str, design: Design) -> set[str]:
    names = [site for site, _ in every_norm(backbone, design)]
    ends = [i for i in range(1, len(names)) if _group(names[i - 1], "block") != _group(names[i], "block")]
    return set(names[:min(ends, key=lambda end: abs(2 * end - len(names)))])
