"""Who somebody is: a body, a gait, clothes, and how each surface reflects in both bands.

An identity is everything that stays when camera, light and pose change, drawn from a seed. Visible colour
and near-infrared reflectance are drawn almost apart: dyed cotton is bright in infrared whatever its
colour, carbon black is dark (Color Res. Appl.; the per-surface linear view is RLE's, arXiv 2411.01225).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from cmnas_edge.synthetic.draws import Draws, generator

F32 = npt.NDArray[np.float32]

# Regions of a figure. A label map's byte is region + REGIONS * (material + 2 * detail).
GROUND, SKIN, HAIR, TOP, SLEEVE, LEGS, SHOE, BAG, HAT = range(9)
REGIONS: Final = 9
MATERIALS: Final = 2
DETAILS: Final = 11  # 0 is none; each person has at most ten

NIR_LUMA_CORRELATION: Final = 0.4
PATTERN_VANISHES: Final = 0.2  # share of people whose pattern is dye alone, so infrared doesn't show it

# Linear RGB of common clothing.
PALETTE: Final[tuple[tuple[float, float, float], ...]] = (
    (0.05, 0.05, 0.06), (0.15, 0.15, 0.17), (0.45, 0.45, 0.47), (0.85, 0.85, 0.83), (0.55, 0.08, 0.10),
    (0.10, 0.15, 0.40), (0.20, 0.35, 0.60), (0.10, 0.30, 0.15), (0.45, 0.40, 0.20), (0.75, 0.65, 0.15),
    (0.50, 0.30, 0.45), (0.40, 0.22, 0.12), (0.70, 0.45, 0.50), (0.25, 0.50, 0.50),
)  # fmt: skip
_SKIN_RGB: Final = (0.78, 0.58, 0.48)
_HAIR_RGB: Final = (0.06, 0.05, 0.05)
_FAR: Final = 9.0  # beyond any body, in body heights
_PEOPLE: Final = 1  # key of this stream; see draws.generator

Pattern = Literal["plain", "rings", "stripes", "plaid", "logo"]
Bag = Literal["none", "backpack", "hand"]
Facing = Literal["front", "back", "both"]


@dataclass(frozen=True)
class Body:
    """Proportions, as fractions of the body's height unless said otherwise."""

    height: float  # relative to the mean person
    shoulder: float
    hip: float
    leg: float
    head: float
    arm_width: float
    leg_width: float
    stride: float
    arm_swing: float
    lean: float
    hair_length: int  # 0 short, 1 to the chin, 2 to the shoulder


@dataclass(frozen=True)
class Outfit:
    """The cut of the clothes and what is carried."""

    long_coat: bool
    skirt: bool
    shorts: bool
    short_sleeves: bool
    hat: bool
    bag: Bag
    pattern: Pattern
    frequency: float  # periods of the pattern per body height, before a factor of its kind
    share: float  # of a period in the second material
    logo: tuple[float, float, float]  # x, y, half height


@dataclass(frozen=True)
class Detail:
    """A seam, zip, collar, pocket or print: a box on one region that both bands show alike."""

    region: int
    tone: float  # factor on the region's reflectance
    y: tuple[float, float] = (-_FAR, _FAR)  # body heights below the crown
    x: tuple[float, float] = (-_FAR, _FAR)
    facing: Facing = "both"
    rings: float = 0.0  # if set, repeat this many times per body height over 40% of the rows


@dataclass(frozen=True, eq=False)
class Person:
    """One identity."""

    identity: int
    body: Body
    outfit: Outfit
    details: tuple[Detail, ...]
    sleeve_tone: float
    visible: F32  # (REGIONS, MATERIALS, 3), linear BGR
    infrared: F32  # (REGIONS, MATERIALS)

    @classmethod
    def draw(cls, seed: int, identity: int = 0) -> Person:
        """Draw one person.

        Args:
            seed: Of the world: two worlds share nobody.
            identity: Number of the person in that world, from 0.

        Returns:
            The same person for the same two numbers, always and everywhere.

        Raises:
            ValueError: One of the numbers is negative.
        """
        if seed < 0 or identity < 0:
            raise ValueError(f"person: expected seed and identity from 0, found {seed} and {identity}")
        d = Draws(generator(_PEOPLE, seed, identity))
        body = _body(d)
        outfit = _outfit(d)
        details = _details(d, body)
        sleeve_tone = d.choice((1.0, 1.0, 0.7, 1.35))
        visible, infrared = _materials(d)
        return cls(identity, body, outfit, details, sleeve_tone, visible, infrared)

    def dressed_like(self, other: Person) -> Person:
        """This person in the other's clothes, down to the dyes; body, hair length and seams stay their own."""
        return replace(self, outfit=other.outfit, sleeve_tone=other.sleeve_tone, visible=other.visible,
                       infrared=other.infrared)

    @cached_property
    def visible_table(self) -> F32:
        """Linear BGR reflectance of every byte of a label map, shape ``(256, 3)``."""
        return self._table(self.visible)

    @cached_property
    def infrared_table(self) -> F32:
        """Near-infrared reflectance of every byte of a label map, shape ``(256, 1)``."""
        return self._table(self.infrared[..., None])

    def _table(self, albedo: F32) -> F32:
        table = np.zeros((256, albedo.shape[2]), np.float32)
        tones = np.ones(DETAILS, np.float32)
        tones[1 : 1 + len(self.details)] = [detail.tone for detail in self.details]
        by_material = albedo.transpose(1, 0, 2).copy()
        by_material[:, SLEEVE] *= self.sleeve_tone
        shaded = tones[:, None, None, None] * by_material  # (DETAILS, MATERIALS, REGIONS, bands)
        table[: REGIONS * MATERIALS * DETAILS] = shaded.reshape(-1, albedo.shape[2])
        return table


def _body(d: Draws) -> Body:
    return Body(
        height=d.normal(1, 0.05),
        shoulder=d.normal(0.25, 0.022),
        hip=d.normal(0.19, 0.02),
        leg=d.normal(0.47, 0.018),
        head=d.normal(0.062, 0.004),
        arm_width=d.normal(0.055, 0.008),
        leg_width=d.normal(0.082, 0.010),
        stride=d.normal(0.17, 0.04),
        arm_swing=d.normal(0.13, 0.04),
        lean=d.normal(0, 0.015),
        hair_length=d.choice((0, 0, 1, 2)),
    )


def _outfit(d: Draws) -> Outfit:
    bags: tuple[Bag, ...] = ("none", "none", "backpack", "hand")
    patterns: tuple[Pattern, ...] = ("plain", "plain", "rings", "stripes", "plaid", "logo")
    return Outfit(
        long_coat=d.chance(0.25),
        skirt=d.chance(0.15),
        shorts=d.chance(0.15),
        short_sleeves=d.chance(0.25),
        hat=d.chance(0.2),
        bag=d.choice(bags),
        pattern=d.choice(patterns),
        frequency=d.uniform(14, 45),
        share=d.uniform(1 / 3, 2 / 3),
        logo=(d.uniform(-0.06, 0.06), d.uniform(0.24, 0.36), d.uniform(0.03, 0.06)),
    )


def _details(d: Draws, body: Body) -> tuple[Detail, ...]:
    def tone() -> float:
        return d.uniform(0.5, 0.85) if d.chance(0.5) else d.uniform(1.2, 1.6)

    def around(centre: float, half: float) -> tuple[float, float]:
        return centre - half, centre + half

    worn: list[Detail] = []
    if d.chance(0.5):  # zip
        worn.append(Detail(TOP, tone(), x=around(0, 0.008), facing="front"))
    if d.chance(0.5):  # chest band
        worn.append(Detail(TOP, tone(), y=around(d.uniform(0.20, 0.40), d.uniform(0.010, 0.040))))
    if d.chance(0.5):  # band on trousers or skirt
        worn.append(Detail(LEGS, tone(), y=around(d.uniform(0.56, 0.86), d.uniform(0.012, 0.032))))
    if d.chance(0.4):  # band on the sleeves
        worn.append(Detail(SLEEVE, tone(), y=around(d.uniform(0.26, 0.44), d.uniform(0.012, 0.032))))
    if d.chance(0.4):  # collar
        worn.append(Detail(TOP, tone(), y=(-_FAR, 0.165)))
    if d.chance(0.5):  # pocket
        across, down = around(d.uniform(-0.05, 0.05), 0.03), around(d.uniform(0.25, 0.37), 0.025)
        worn.append(Detail(TOP, tone(), y=down, x=across, facing="front"))
    if d.chance(0.3):  # print on the back
        across, down = around(0, d.uniform(0.05, 0.09)), around(0.27, d.uniform(0.03, 0.06))
        worn.append(Detail(TOP, tone(), y=down, x=across, facing="back"))
    if d.chance(0.5):  # hem
        worn.append(Detail(TOP, tone(), y=(1 - body.leg - 0.02, _FAR)))
    if d.chance(0.3):  # cuffs of the trousers
        worn.append(Detail(LEGS, tone(), y=(0.86, _FAR)))
    legs = d.choice(("plain", "plain", "plain", "side stripe", "rings"))
    if legs == "side stripe":
        shade = tone()
        worn = [*worn[:8], *(Detail(LEGS, shade, x=around(side, 0.012)) for side in (-0.07, 0.07))]
    elif legs == "rings":
        worn.append(Detail(LEGS, tone(), rings=37.0))
    return tuple(worn[: DETAILS - 1])


def _materials(d: Draws) -> tuple[F32, F32]:
    visible = np.zeros((REGIONS, MATERIALS, 3), np.float32)
    infrared = np.zeros((REGIONS, MATERIALS), np.float32)
    complexion = d.uniform(0.35, 1.1)
    for region in range(1, REGIONS):
        for material in range(MATERIALS):
            if region == SKIN:
                rgb = [channel * complexion for channel in _SKIN_RGB]
            elif region == HAIR:
                shade = d.uniform(0.6, 4)
                rgb = [channel * shade for channel in _HAIR_RGB]
            else:
                base, shade = d.choice(PALETTE), d.uniform(0.8, 1.2)
                rgb = [channel * shade + d.normal(0, 0.015) for channel in base]
            rgb = [min(max(channel, 0.01), 0.95) for channel in rgb]
            visible[region, material] = rgb[::-1]
            infrared[region, material] = _near_infrared(d, region, sum(rgb) / 3)
    if d.chance(0.6):  # sleeves of the same cloth
        visible[SLEEVE], infrared[SLEEVE] = visible[TOP], infrared[TOP]
    if d.chance(PATTERN_VANISHES):
        infrared[TOP, 1] = infrared[TOP, 0] + d.normal(0, 0.03)
    return visible, infrared


def _near_infrared(d: Draws, region: int, luma: float) -> float:
    if region == SKIN:
        drawn = d.normal(0.58, 0.04)
    elif region == HAIR:
        drawn = d.normal(0.28, 0.08)
    elif region in (SHOE, BAG):
        drawn = d.uniform(0.08, 0.7)
    else:
        dye = d.unit()
        if dye < 0.68:  # organic dye on cotton or polyester: transparent
            drawn = d.normal(0.62, 0.10)
        elif dye < 0.86:  # pigment, denim, wool
            drawn = d.normal(0.32, 0.07)
        else:  # carbon black, sulphur dye
            drawn = d.normal(0.12, 0.04)
    mixed = (1 - NIR_LUMA_CORRELATION) * drawn + NIR_LUMA_CORRELATION * luma
    return min(max(mixed, 0.03), 0.95)
