"""What is searched for, and found."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from cmnas_edge.calibration import Pair, Verdict
from cmnas_edge.collector.views.questions import Id, Reason
from cmnas_edge.collector.views.sightings import Sighting
from cmnas_edge.embedding import Modality
from cmnas_edge.sighting import MAX_DIMENSION

__all__ = ["Match", "MatchList", "Query"]

Entry = Annotated[float, Meta(ge=-2, le=2)]


class Query(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to search for: a stored sighting, or a vector and the bundle that made it.

    ``bundle`` is a fingerprint as `Health` lists them, or its first 8 digits or more; empty: the leading one's. Vectors
    are compared with those of the same bundle alone. It is empty with a sighting, which is searched by its own.
    A camera is named ``camera``, or ``device/camera`` where two devices use one name.
    """

    sighting: Id | None = None
    vector: Annotated[list[Entry], Meta(min_length=1, max_length=MAX_DIMENSION)] | None = None
    vector_modality: Modality = "visible"
    bundle: Annotated[str, Meta(pattern=r"^[0-9a-f]{0,64}\Z", description="up to 64 hexadecimal digits")] = ""
    transform: Annotated[int, Meta(ge=0)] = 0   # below 2**64, which msgspec cannot say
    k: Annotated[int, Meta(ge=1, le=200)] = 20
    cameras: Annotated[list[str], Meta(max_length=1000)] | None = None
    seen_from: float | None = None
    seen_to: float | None = None
    modality: Modality | None = None
    exclude: Annotated[list[Id], Meta(max_length=1000)] = []
    other_identities: bool = False
    reason: Reason = ""


class Match(Struct, frozen=True):
    """A sighting found; ``above``: its score reaches the threshold of its pair.

    ``probability`` that both show one person; null where the calibration knows none. ``only_suggests``: a score of
    this pair decides nothing yet, whatever it is.
    """

    sighting: Sighting
    score: float
    threshold: float
    pair: Pair
    above: bool
    probability: float | None
    verdict: Verdict
    only_suggests: bool


class MatchList(Struct, frozen=True):
    """What a search found, most probable first: by score on the scale that all pairs of modalities share.

    ``fingerprint`` is the bundle's by which it was searched.
    """

    matches: list[Match]
    fingerprint: str
