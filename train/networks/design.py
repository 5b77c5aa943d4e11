"""What a network is built of, before anything is chosen at its BatchNorm sites.

`Design` holds the paper's alternatives to OSNet's block, the extras of AGW's ResNet-50, and
how many leading parts each modality has as its own: the hand-designed two-stream networks
that a choice per BatchNorm competes with. Pure Python: reading a design needs no torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

__all__ = ["NON_LOCAL", "RELEASED", "RESNET50_BLOCKS", "Design", "Fusion", "Pool", "differences", "written"]

RESNET50_BLOCKS = (3, 4, 6, 3)
# AGW: behind the last two blocks of the second stage and the last three of the third.
NON_LOCAL = ("layer2.2", "layer2.3", "layer3.3", "layer3.4", "layer3.5")

Fusion = Literal["gate", "gate_per_stream", "scalar_gate", "fixed", "sum"]
Pool = Literal["mean", "gem"]


class Design(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The options of a network; by default those of the released OSNet and of CM-NAS's ResNet-50.

    Attributes:
        streams: T, streams of an OSNet block; stream t sees 2t+1 pixels.
        fusion: How an OSNet block makes one map of its streams (`train.networks.osnet.OSBlock`).
        lite: OSNet's streams of Lite 3x3 (pointwise, then depthwise); False for full 3x3
            convolutions, each with BatchNorm and ReLU.
        pool: ``mean``, or ``gem``: the generalised mean with p = 3, not learnt, as AGW has it.
        non_local: AGW's five non-local blocks, in ResNet-50 only. Their norms start at zero,
            so that a fresh block passes its input on; they are shared and no sites.
        own: Leading parts (`train.networks.backbones.parts`) of which each modality has a copy of its own; 1 is the
            stem, convolution and BatchNorm, as in AGW. Their norms are no sites: there is
            nothing to share.

    Raises:
        ValueError: A number or word outside its range.
    """

    streams: Annotated[int, msgspec.Meta(ge=1, le=26)] = 4
    fusion: Fusion = "gate"
    lite: bool = True
    pool: Pool = "mean"
    non_local: bool = False
    own: Annotated[int, msgspec.Meta(ge=0, le=5)] = 0

    def __post_init__(self) -> None:
        try:
            # Structs check types only when they are read; what a program writes is read here.
            msgspec.convert({name: getattr(self, name) for name in self.__struct_fields__}, _Checked)
        except msgspec.ValidationError as error:
            raise ValueError(f"design: {error}") from error


_Checked = msgspec.defstruct("_Checked", [(field.name, field.type) for field in msgspec.structs.fields(Design)])

RELEASED = Design()


def differences(expected: Design, found: Design) -> list[str]:
    """What tells two designs apart, for a message: ``own 1 instead of 0``."""
    return [f"{name} {written(getattr(found, name))} instead of {written(getattr(expected, name))}"
            for name in Design.__struct_fields__ if getattr(found, name) != getattr(expected, name)]


def written(value: object) -> str:
    """A value of a design as TOML has it, for a message."""
    return str(value).lower() if isinstance(value, bool) else str(value)
