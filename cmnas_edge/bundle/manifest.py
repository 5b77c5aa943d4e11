"""What a bundle says of itself: the manifest, and what its graphs of lower precision were measured to cost."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from cmnas_edge.calibration import Count, Digest, Rate
from cmnas_edge.embedding import Modality
from cmnas_edge.sighting import Precision

__all__ = ["PRECISIONS", "Direction", "Drawn", "FileRecord", "Gate", "Loss", "Manifest", "Precision", "Ranges",
           "Retrieval", "Variant"]

# Printable ASCII: it is shown on terminals, which obey control characters.
Line = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{0,500}\Z", description="a line of at most 500 ASCII characters")]
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Direction = Literal["visible-visible", "infrared-infrared", "infrared-visible", "visible-infrared"]
"""Who asks, and who is searched."""


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file must be: its bytes counted and digested."""

    bytes: Count
    sha256: Digest


class Drawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From what a set of crops was drawn, enough to draw it again.

    ``identities`` people from ``first_identity`` on, ``per_camera`` crops by each camera.
    """

    first_identity: Count
    identities: Count
    cameras: tuple[int, ...]
    per_camera: Count
    seed: Count


class Retrieval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the training network finds among the validation crops, infrared asking visible."""

    rank1: Rate
    mean_ap: Rate
    query_count: Count


class Loss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is lost against float32, in points of percent.

    Attributes:
        drop: As measured; below zero if something is won.
        bound: With 95 % confidence no more than this (one-sided, paired bootstrap).
    """

    drop: float
    bound: float


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a precision fared before it was let in: the worst of all engines and packings it may meet on a site.

    Attributes:
        query_count: By direction.
        rank1: Loss of rank-1, by direction.
        mean_ap: Loss of mAP, by direction.
        spread: Variance across identities as a share of float32's, by modality; a network that collapses has none.
        worst: Which engines and packings met in the worst case.
    """

    query_count: dict[Direction, Count]
    rank1: dict[Direction, Loss]
    mean_ap: dict[Direction, Loss]
    spread: dict[Modality, float]
    worst: Line


class Ranges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From what the scales of an int8 graph were found; of the pictures only a digest stays.

    Attributes:
        method: How a range was chosen.
        source: Drawn people, or a folder of the user's own crops.
        crop_count: By modality.
        sha256: By modality, over the crops as they were fed.
    """

    method: Literal["minmax", "percentile", "entropy"]
    source: Literal["drawn", "folder"]
    crop_count: dict[Modality, Count]
    sha256: dict[Modality, Digest]


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A precision that may serve.

    Attributes:
        golden_cosine: Least cosine with a golden embedding that an engine of this precision must reach.
        gate: What it was measured to cost.
        ranges: Of int8 graphs.
    """

    golden_cosine: Annotated[float, msgspec.Meta(ge=0, le=1)]
    gate: Gate
    ranges: Ranges | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle says of itself; unknown fields are refused.

    Attributes:
        precision: Of the graphs that every bundle has.
        variants: Other precisions that passed the gate.
        refused: Those that did not, and the figures they failed with.
    """

    schema: Literal[1]
    name: Annotated[str, msgspec.Meta(pattern=r"^[\w. -]{1,80}\Z",
                                      description="1 to 80 letters, digits, spaces or any of ._-")]
    made_by: Line
    backbone: Line
    precision: Literal["fp32"]
    fingerprint: Digest
    dimension: Size
    height: Size
    width: Size
    preprocessing: Line
    golden: Drawn
    validation: Drawn
    retrieval: Retrieval | None
    files: dict[str, FileRecord]
    variants: dict[Precision, Variant] = {}
    refused: dict[Precision, Line] = {}
