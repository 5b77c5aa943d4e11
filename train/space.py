"""The search space: which BatchNorm sites a backbone has, and what is chosen at each.

A backbone fixes its sites and their order. An `Arch` says for every one of them whether the
two modalities share it. Pure Python: reading an architecture needs no torch.

Source of the idea and of the 53-integer line: CM-NAS (Fu et al., ICCV 2021).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from cmnas_edge.errors import ConfigError

__all__ = ["BACKBONES", "BNNECK", "CHOICES", "Arch", "Choice", "followed_linear", "site_names"]

Choice = Literal["shared", "split", "split_statistics"]
CHOICES: tuple[Choice, ...] = get_args(Choice)

BACKBONES = ("osnet_x1_0", "osnet_x0_75", "osnet_x0_5", "osnet_x0_25", "resnet50")

BNNECK = "bnneck"  # ResNet-50's one norm behind a pool: always shared, so no site of the space

_RESNET50_BLOCKS = (3, 4, 6, 3)
_CMNAS_CODE: dict[Choice, str] = {"split": "0", "shared": "1"}


@dataclass(frozen=True)
class Arch:
    """One point of the space: a backbone and a choice for each of its sites.

    Attributes:
        backbone: One of `BACKBONES`.
        choices: ``(site name, choice)`` for every site, in construction order.

    Raises:
        ValueError: An unknown backbone or choice, or other sites than the backbone's.

    Examples:
        >>> arch = Arch.of("osnet_x0_25", {"conv1.bn": "split"})
        >>> arch.choice("conv1.bn"), arch.choice("fc.1")
        ('split', 'shared')
    """

    backbone: str
    choices: tuple[tuple[str, Choice], ...]

    def __post_init__(self) -> None:
        expected = site_names(self.backbone)
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
    def uniform(cls, backbone: str, choice: Choice) -> Arch:
        """The same choice at every site."""
        return cls(backbone, tuple((name, choice) for name in site_names(backbone)))

    @classmethod
    def of(cls, backbone: str, choices: Mapping[str, Choice]) -> Arch:
        """The named choices; every other site is shared.

        Raises:
            ValueError: A name is no site of the backbone.
        """
        names = site_names(backbone)
        unknown = sorted(set(choices) - set(names))
        if unknown:
            raise ValueError(f"arch: expected sites of {backbone}, found {unknown}")
        return cls(backbone, tuple((name, choices.get(name, "shared")) for name in names))

    def choice(self, site: str) -> Choice:
        """What is chosen at a site; the BNNeck is always shared."""
        return "shared" if site == BNNECK else dict(self.choices)[site]

    def to_json(self) -> str:
        """One line of JSON, sites in construction order."""
        return json.dumps({"backbone": self.backbone, "choices": dict(self.choices)})

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
        if not isinstance(found, dict) or set(found) != {"backbone", "choices"}:
            raise ConfigError('arch: expected {"backbone": ..., "choices": {site: choice}} and nothing else')
        if not isinstance(found["choices"], dict):
            raise ConfigError('arch: expected "choices" to map each site to its choice')
        try:
            return cls(found["backbone"], tuple(found["choices"].items()))
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from error

    def cmnas_line(self) -> str:
        """The official CM-NAS config: 53 integers, 0 split and 1 shared, downsample before its block.

        Raises:
            ConfigError: Another backbone, or a choice the official code doesn't have.
        """
        if self.backbone != "resnet50":
            raise ConfigError(f"arch: the CM-NAS line describes resnet50, found {self.backbone}; use to_json")
        foreign = [name for name, choice in self.choices if choice not in _CMNAS_CODE]
        if foreign:
            raise ConfigError("arch: the CM-NAS line knows split and shared only, "
                              f"found split_statistics at {foreign}")
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


def site_names(backbone: str) -> tuple[str, ...]:
    """Every BatchNorm site that can be chosen, in construction order: 80 for OSNet, 53 for ResNet-50.

    Names are those of the reference implementations' modules (torchreid, torchvision).

    Raises:
        ValueError: Unknown backbone.
    """
    return tuple(followed_linear(backbone))


def followed_linear(backbone: str) -> dict[str, str]:
    """For each site, the convolution or Linear whose output it normalises, in construction order.

    Raises:
        ValueError: Unknown backbone.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone: expected one of {', '.join(BACKBONES)}, found {backbone!r}")
    return dict(_resnet50_sites() if backbone == "resnet50" else _osnet_sites())


def _osnet_sites() -> Iterator[tuple[str, str]]:
    yield "conv1.bn", "conv1.conv"
    for stage in (2, 3, 4):
        for block in (f"conv{stage}.0", f"conv{stage}.1"):
            yield f"{block}.conv1.bn", f"{block}.conv1.conv"
            yield f"{block}.conv2a.bn", f"{block}.conv2a.conv2"
            for count, letter in enumerate("bcd", start=2):
                for i in range(count):
                    yield f"{block}.conv2{letter}.{i}.bn", f"{block}.conv2{letter}.{i}.conv2"
            yield f"{block}.conv3.bn", f"{block}.conv3.conv"
            if block.endswith(".0"):
                yield f"{block}.downsample.bn", f"{block}.downsample.conv"
        if stage < 4:
            yield f"conv{stage}.2.0.bn", f"conv{stage}.2.0.conv"
    yield "conv5.bn", "conv5.conv"
    yield "fc.1", "fc.0"


def _resnet50_sites() -> Iterator[tuple[str, str]]:
    yield "bn1", "conv1"
    for stage, block_count in enumerate(_RESNET50_BLOCKS, start=1):
        # The official order: a downsample precedes the three norms of its own block.
        yield f"layer{stage}.0.downsample.1", f"layer{stage}.0.downsample.0"
        for block in range(block_count):
            for i in (1, 2, 3):
                yield f"layer{stage}.{block}.bn{i}", f"layer{stage}.{block}.conv{i}"
