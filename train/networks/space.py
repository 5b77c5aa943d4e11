"""The search space: which BatchNorm sites a backbone has, and what is chosen at each.

A backbone and its `train.networks.design.Design` fix the sites and their order. An `Arch` says for every
one of them whether the two modalities share it. Pure Python: reading an architecture needs no
torch.

Source of the idea and of the 53-integer line: CM-NAS (Fu et al., ICCV 2021).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from cmnas_edge.errors import ConfigError
from train.networks.backbones import BACKBONES, check, owned
from train.networks.choices import CHOICES, Choice
from train.networks.design import RELEASED, Design, differences
from train.networks.layers import BNNECK, Layer

__all__ = ["BACKBONES", "BNNECK", "CHOICES", "RELEASED", "Arch", "Choice", "Design", "every_norm", "fixed_norms",
           "followed_linear", "site_names"]

_NAMED = 3  # sites that a message names before it only counts
_CMNAS_CODE: dict[Choice, str] = {"split": "0", "shared": "1"}


@dataclass(frozen=True)
class Arch:
    """One point of the space: a backbone of some design and a choice for each of its sites.

    Attributes:
        backbone: One of `BACKBONES`.
        choices: ``(site name, choice)`` for every site, in construction order.
        design: What it is built of; the released network by default.

    Raises:
        ValueError: An unknown backbone or choice, other sites than the backbone's, or a
            design with an option that the backbone doesn't have.

    Examples:
        >>> arch = Arch.of("osnet_x0_25", {"conv1.bn": "split"})
        >>> arch.choice("conv1.bn"), arch.choice("fc.1")
        ('split', 'shared')
    """

    backbone: str
    choices: tuple[tuple[str, Choice], ...]
    design: Design = RELEASED

    def __post_init__(self) -> None:
        expected = site_names(self.backbone, self.design)
        found = tuple(name for name, _ in self.choices)
        if found != expected:
            missing = [name for name in expected if name not in found]
            unknown = [name for name in found if name not in expected]
            differ = bool(missing or unknown)
            why = f"missing {missing}, unknown {unknown}" if differ else "another order or repeats"
            raise ValueError(
                f"arch: expected the {len(expected)} sites of {self.backbone} in order, found {why}")
        wrong = {name: choice for name, choice in self.choices if choice not in CHOICES}
        if wrong:
            raise ValueError(f"arch: expected a choice of {', '.join(CHOICES)} at every site, found {wrong}")

    @classmethod
    def uniform(cls, backbone: str, choice: Choice, *, design: Design = RELEASED) -> Arch:
        """The same choice at every site."""
        return cls(backbone, tuple((name, choice) for name in site_names(backbone, design)), design)

    @classmethod
    def of(cls, backbone: str, choices: Mapping[str, Choice], *, design: Design = RELEASED) -> Arch:
        """The named choices; every other site is shared.

        Raises:
            ValueError: A name is no site of the backbone.
        """
        names = site_names(backbone, design)
        unknown = sorted(set(choices) - set(names))
        if unknown:
            raise ValueError(f"arch: expected sites of {backbone}, found {unknown}")
        return cls(backbone, tuple((name, choices.get(name, "shared")) for name in names), design)

    def choice(self, site: str) -> Choice:
        """What is chosen at a site; the BNNeck is always shared."""
        return "shared" if site == BNNECK else dict(self.choices)[site]

    def to_json(self) -> str:
        """One line of JSON, sites in construction order; of the design what isn't default, if anything."""
        design = msgspec.to_builtins(self.design)
        return json.dumps({"backbone": self.backbone, "choices": dict(self.choices)}
                          | ({"design": design} if design else {}))

    @classmethod
    def from_json(cls, text: str) -> Arch:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: No JSON of this form, or not an arch of its backbone.
        """
        try:
            found: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"arch: expected JSON, found {error}") from error
        if not isinstance(found, dict) or set(found) - {"design", "search"} != {"backbone", "choices"}:
            raise ConfigError('arch: expected {"backbone": ..., "choices": {site: choice}}, perhaps with "design", '
                              "and nothing else")
        if not isinstance(found["choices"], dict):
            raise ConfigError('arch: expected "choices" to map each site to its choice')
        try:
            design = msgspec.convert(found.get("design", {}), Design)
            return cls(found["backbone"], tuple(found["choices"].items()), design)
        except msgspec.ValidationError as error:
            raise ConfigError(f"arch: design: {error}") from error
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from error

    def differences(self, found: Arch) -> str:
        """What tells ``found`` from this arch, in words for a message; empty if nothing does."""
        if found.backbone != self.backbone:
            return f"backbone {found.backbone} instead of {self.backbone}"
        words = differences(self.design, found.design)
        expected, chosen = dict(self.choices), dict(found.choices)
        # Sites that only one of the two has follow from the design, which was said already.
        other = [site for site in expected if site in chosen and chosen[site] != expected[site]]
        words += [f"{chosen[site]} instead of {expected[site]} at {site}" for site in other[:_NAMED]]
        if len(other) > _NAMED:
            words.append(f"another choice at {len(other) - _NAMED} further sites")
        return ", ".join(words)

    def cmnas_line(self) -> str:
        """The official CM-NAS config: 53 integers, 0 split and 1 shared, downsample before its block.

        Raises:
            ConfigError: Another backbone, or a choice the official code doesn't have.
        """
        if self.backbone != "resnet50":
            raise ConfigError(f"arch: the CM-NAS line describes resnet50, found {self.backbone}; use to_json")
        if self.design != RELEASED:
            raise ConfigError("arch: the CM-NAS line describes resnet50 as CM-NAS builds it, found "
                              f"{', '.join(differences(RELEASED, self.design))}; use to_json")
        foreign = [name for name, choice in self.choices if choice not in _CMNAS_CODE]
        if foreign:
            raise ConfigError("arch: the CM-NAS line knows split and shared only, "
                              f"found {' and '.join(sorted({self.choice(name) for name in foreign}))} at {foreign}")
        return " ".join(_CMNAS_CODE[choice] for _, choice in self.choices)

    @classmethod
    def from_cmnas_line(cls, line: str) -> Arch:
        """Read the official CM-NAS config line for ResNet-50.

        Raises:
            ConfigError: Not 53 integers of 0 and 1.
        """
        names = site_names("resnet50")
        codes = line.split()
        choice_of = {code: choice for choice, code in _CMNAS_CODE.items()}
        wrong = sorted(set(codes) - set(choice_of))
        if len(codes) != len(names) or wrong:
            also = f", among them {wrong}" if wrong else ""
            raise ConfigError(f"CM-NAS config: expected {len(names)} integers, 0 (split) or 1 (shared), "
                              f"found {len(codes)}{also}; give the line the training run wrote")
        return cls("resnet50", tuple(zip(names, (choice_of[code] for code in codes), strict=True)))


def site_names(backbone: str, design: Design = RELEASED) -> tuple[str, ...]:
    """Every BatchNorm site that can be chosen, in construction order: 80 for OSNet, 53 for ResNet-50.

    Names are those of the reference implementations' modules (torchreid, torchvision), whatever
    the design. Parts that each modality owns have no sites.

    Raises:
        ValueError: Unknown backbone, or it doesn't have an option of the design.
    """
    return tuple(followed_linear(backbone, design))


def followed_linear(backbone: str, design: Design = RELEASED) -> dict[str, str]:
    """For each site, the convolution or Linear whose output it normalises, in construction order.

    Raises:
        ValueError: Unknown backbone, or it doesn't have an option of the design.
    """
    check(backbone, design)
    apart = owned(backbone, design.own)
    return {site: linear for site, linear in every_norm(backbone, design) if site.partition(".")[0] not in apart}


def every_norm(backbone: str, design: Design = RELEASED) -> Iterator[tuple[str, str]]:
    """As `followed_linear`, with the norms of owned parts by the names they would have if shared."""
    return ((layer.norm, layer.name) for layer in _layers(backbone, design) if layer.norm and not layer.fixed)


def fixed_norms(backbone: str, design: Design = RELEASED) -> dict[str, str]:
    """The norms behind a layer that are shared whatever is chosen, with that layer: non-local blocks have them."""
    return {layer.norm: layer.name for layer in _layers(backbone, design) if layer.norm and layer.fixed}


def _layers(backbone: str, design: Design) -> Iterator[Layer]:
    return BACKBONES[backbone].layers(design, 256, 128)  # names don't depend on the size of a crop
