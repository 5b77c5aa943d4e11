"""From which cosine on two embeddings count as the same person, per pair of modalities.

Thresholds are a file of their own that names the fingerprint it was found for, so calibrating
again, on a site's own people, changes neither the graphs nor which embeddings may be compared.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec

from cmnas_edge.config import in_words
from cmnas_edge.embedding import Modality
from cmnas_edge.errors import BundleError

__all__ = ["PAIRS", "SCHEMA", "CalibratedOn", "Calibration", "Count", "Digest", "Pair", "Rate", "Threshold", "decode",
           "pair", "printable", "read_calibration"]

Pair = Literal["visible-visible", "infrared-infrared", "visible-infrared"]
PAIRS: tuple[Pair, Pair, Pair] = ("visible-visible", "infrared-infrared", "visible-infrared")
CalibratedOn = Literal["drawn", "dataset", "site"]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 hexadecimal digits in lower case")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Score = Annotated[float, msgspec.Meta(ge=-1, le=1)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]
SCHEMA: Final = 1
_T = TypeVar("_T", bound=msgspec.Struct)


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two embeddings match from cosine ``score`` on; at most ``false_match_rate`` of strangers do."""

    score: Score
    false_match_rate: Rate
    false_non_match_rate: Rate
    genuine_count: Count
    impostor_count: Count


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Thresholds of one fingerprint, and on whom they were found."""

    schema: Literal[1]
    fingerprint: Digest
    calibrated_on: CalibratedOn
    thresholds: dict[Pair, Threshold]


def pair(a: Modality, b: Modality) -> Pair:
    """The name of a pair of modalities, whichever comes first."""
    if a == b:
        return "visible-visible" if a == "visible" else "infrared-infrared"
    return "visible-infrared"


def read_calibration(data: bytes, fingerprint: str, where: str) -> Calibration:
    """Read thresholds and check that they belong to a fingerprint.

    Args:
        data: JSON, as in ``calibration.json``.
        fingerprint: The bundle's, in hex.
        where: Path named in errors.

    Raises:
        BundleError: Not a calibration of a known schema, of another fingerprint, or without one
            of the three pairs.
    """
    calibration = decode(data, Calibration, where)
    if calibration.fingerprint != fingerprint:
        raise BundleError(f"{where}: expected thresholds for fingerprint {fingerprint[:16]}, found them for "
                          f"{calibration.fingerprint[:16]}; calibrate this bundle")
    if missing := [name for name in PAIRS if name not in calibration.thresholds]:
        raise BundleError(f"{where}: expected a threshold for every pair, found none for "
                          f"{', '.join(missing)}; calibrate again")
    return calibration


def decode(data: bytes, kind: type[_T], where: str) -> _T:
    """Read one of a bundle's JSON files, after a look at its schema.

    Raises:
        BundleError: No JSON object, or not one of this schema.
    """
    try:
        found = msgspec.json.decode(data).get("schema")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{where}: expected a JSON object, found something else "
                          f"({printable(str(error))}); copy the bundle again, or export again") from error
    if found != SCHEMA:
        raise BundleError(f"{where}: expected schema {SCHEMA}, found {found!r}; "
                          "use the cmnas-edge that made it, or export again")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{where}: {printable(in_words(str(error), kind))}; export again") from error


def printable(text: str) -> str:
    """Escape what would move a terminal's cursor, colour it or end the line; the rest stays."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
