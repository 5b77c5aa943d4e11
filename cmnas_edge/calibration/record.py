"""A calibration: thresholds of one fingerprint, what scores of each pair are worth, and the file that holds both.

A file of its own that names the fingerprint it was found for, so calibrating again, on a site's own people,
changes neither the graphs nor which embeddings may be compared.

A cosine becomes evidence as a *log-likelihood ratio*: how many times as often a pair of one person has this score as
a pair of two, in natural logarithms; 0 speaks for neither. It does not depend on how many strangers there are, so
scores of different pairs compare, and ranking by it is ranking by probability (Robertson, The probability ranking
principle in IR, 1977). With a *prior*, the share of pairs that are one person before anybody looks, it gives the
probability: ``1 / (1 + exp(-(evidence + log(prior / (1 - prior)))))``. It is a straight line in the score, two numbers
per pair (Platt 1999; as evidence, Brümmer and du Preez 2006), so it rises strictly and never invents a tie.

Schema 1 held thresholds alone. It still reads; then no score has a probability.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration.pairs import PAIRS, CalibratedOn, Pair
from cmnas_edge.errors import BundleError
from cmnas_edge.wording import in_words

__all__ = ["BINS", "SCHEMA", "Calibration", "Count", "Digest", "Histogram", "Judged", "Point", "Rate", "Scale",
           "Threshold", "Verdict", "decode", "encode", "printable", "read_calibration"]

F64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 hexadecimal digits in lower case")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Score = Annotated[float, msgspec.Meta(ge=-1, le=1)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]
Verdict = Literal["same", "unsure", "different"]
SCHEMA: Final = 1           # of a bundle's manifest, and of a calibration that holds thresholds alone
BINS: Final = 200           # of a histogram, over -1 to 1
_T = TypeVar("_T", bound=msgspec.Struct)


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two embeddings match from cosine ``score`` on; at most ``false_match_rate`` of strangers do."""

    score: Score
    false_match_rate: Rate
    false_non_match_rate: Rate
    genuine_count: Count
    impostor_count: Count


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A threshold one may choose, and how well it is known.

    Attributes:
        false_match_rate: At most this share of the strangers seen reaches it.
        score: The threshold.
        score_between: Where it lies in all but 5% of resamplings of the people.
        false_non_match_rate: Share of pairs of one person that do not reach it.
        false_non_match_between: Where that lies, as above.
    """

    false_match_rate: Rate
    score: Score
    score_between: tuple[Score, Score]
    false_non_match_rate: Rate
    false_non_match_between: tuple[Rate, Rate]


class Histogram(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many scores lie where: bins of one hundredth, the first from ``-1 + first / 100``; 0 in all others."""

    first: Annotated[int, msgspec.Meta(ge=0, lt=BINS)]
    counts: Annotated[tuple[Count, ...], msgspec.Meta(max_length=BINS)]

    @classmethod
    def of(cls, scores: Floats) -> Histogram:
        """Count cosines of any shape."""
        counts = np.bincount(np.clip(np.floor((scores.ravel().astype(np.float64) + 1) * (BINS / 2)), 0, BINS - 1)
                             .astype(np.int64), minlength=BINS)
        filled = np.flatnonzero(counts)
        if not len(filled):
            return cls(0, ())
        return cls(int(filled[0]), tuple(counts[filled[0]:filled[-1] + 1].tolist()))

    def full(self) -> npt.NDArray[np.int64]:
        """Counts of all bins, from -1 to 1, shape ``(BINS,)``."""
        counts = np.zeros(BINS, np.int64)
        counts[self.first:self.first + len(self.counts)] = self.counts
        return counts


class Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What scores of one pair of modalities are worth.

    Attributes:
        calibrated_on: On whom this pair's threshold and scale were found.
        slope: Of the evidence, per unit of cosine.
        offset: Evidence of cosine 0.
        unsure_from: From this score up to the threshold nobody decides: the *abstain band*.
        unsure_rate: At most this share of strangers reaches ``unsure_from``.
        identity_count: People seen.
        points: Thresholds at other false match rates.
        genuine: Scores of pairs of one person.
        impostor: Scores of pairs of strangers.
    """

    calibrated_on: CalibratedOn
    slope: Annotated[float, msgspec.Meta(gt=0)]
    offset: float
    unsure_from: Score
    unsure_rate: Rate
    identity_count: Count
    points: tuple[Point, ...]
    genuine: Histogram
    impostor: Histogram


class Judged(msgspec.Struct, frozen=True):
    """What a score says: ``probability`` is None where nobody found out; ``verdict`` is of the score alone."""

    score: float
    threshold: float
    probability: float | None
    verdict: Verdict


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Thresholds of one fingerprint, on whom they were found, and what scores are worth.

    Attributes:
        schema: 2 with scales, 1 without.
        fingerprint: Of the embeddings, in hexadecimal.
        calibrated_on: On whom. A file made on a site may keep the scale of a pair that it saw too little of; that
            pair's own `Scale.calibrated_on` says so.
        thresholds: Per pair of modalities.
        scales: Per pair; of all pairs or of none.
        prior: Share of pairs that are one person before anybody looks, assumed where no other is given.
    """

    schema: Literal[1, 2]
    fingerprint: Digest
    calibrated_on: CalibratedOn
    thresholds: dict[Pair, Threshold]
    scales: dict[Pair, Scale] = {}
    prior: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None

    def judge(self, pair: Pair, score: float, *, prior: float | None = None) -> Judged:
        """Say what a cosine is worth.

        Args:
            pair: Of which modalities.
            score: The cosine.
            prior: Share of pairs that are one person before anybody looks, above 0 and below 1; the file's
                if left out. Among n people, one of whom it should be, 1 / n.

        Returns:
            "same" from the threshold on; below it, where the file has an abstain band, "unsure" down to that
            band's end; else "different".
        """
        threshold, scale = self.thresholds[pair].score, self.scales.get(pair)
        low = threshold if scale is None else scale.unsure_from
        verdict: Verdict = "same" if score >= threshold else "unsure" if score >= low else "different"
        known = self.probabilities(pair, np.array([score]), prior=prior)
        return Judged(score, threshold, None if known is None else float(known[0]), verdict)

    def normalise(self, pair: Pair, score: float) -> float:
        """Put a cosine on the scale that all pairs of this file share; see `normalised`."""
        return float(self.normalised(pair, np.array([score]))[0])

    def normalised(self, pair: Pair, scores: Floats) -> F64:
        """Put cosines on the scale that all pairs of this file share. It rises strictly with the score.

        Args:
            pair: Of which modalities.
            scores: Cosines, any shape.

        Returns:
            Same shape: the evidence (log-likelihood ratio). Where the file has no scales, the distance beyond the
            threshold as a share of the way to 1, which compares pairs too, and gives no probability.
        """
        wide = scores.astype(np.float64)
        if (scale := self.scales.get(pair)) is not None:
            evidence: F64 = scale.slope * wide + scale.offset
            return evidence
        threshold = self.thresholds[pair].score
        beyond: F64 = (wide - threshold) / max(1e-6, 1.0 - threshold)
        return beyond

    def probabilities(self, pair: Pair, scores: Floats, *, prior: float | None = None) -> F64 | None:
        """How probably pairs of embeddings with these cosines show one person.

        No evidence counts for more than the pairs behind it could show: not above ``log(impostor_count)``, nor
        below ``-log(genuine_count)`` (Vergeer et al., Science & Justice 2016, on when to stop extrapolating).

        Args:
            pair: Of which modalities.
            scores: Cosines, any shape.
            prior: As in `judge`.

        Returns:
            Same shape, 0 to 1; None where the file has no scale or no prior, which is not invented.

        Raises:
            ValueError: The prior is not between 0 and 1.
        """
        prior = self.prior if prior is None else prior
        if pair not in self.scales or prior is None:
            return None
        if not 0 < prior < 1:
            raise ValueError(f"prior: expected above 0 and below 1, got {prior}")
        found = self.thresholds[pair]
        evidence = np.clip(self.normalised(pair, scores), -math.log(max(1, found.genuine_count)),
                           math.log(max(1, found.impostor_count)))
        probable: F64 = 1 / (1 + np.exp(-(evidence + math.log(prior / (1 - prior)))))
        return probable

    def origin(self, pair: Pair) -> CalibratedOn:
        """On whom the threshold of a pair was found."""
        scale = self.scales.get(pair)
        return self.calibrated_on if scale is None else scale.calibrated_on

    def only_suggests(self, pair: Pair) -> bool:
        """Whether a link by this pair is no more than a suggestion: across modalities, by drawn people's threshold.

        What drawn people look like in infrared is a guess about real ones; within a modality it is a lesser one.
        """
        return pair == "visible-infrared" and self.origin(pair) == "drawn"


def read_calibration(data: bytes, fingerprint: str, where: str) -> Calibration:
    """Read a calibration and check that it belongs to a fingerprint.

    Args:
        data: JSON, as in ``calibration.json``.
        fingerprint: The bundle's, in hex.
        where: Path named in errors.

    Raises:
        BundleError: Not a calibration of a known schema, of another fingerprint, without one of the three
            pairs, or of parts that do not belong together.
    """
    calibration = decode(data, Calibration, where, schemas=(1, 2))
    if calibration.fingerprint != fingerprint:
        raise BundleError(f"{where}: expected thresholds for fingerprint {fingerprint[:16]}, found them for "
                          f"{calibration.fingerprint[:16]}; calibrate this bundle")
    if missing := [name for name in PAIRS if name not in calibration.thresholds]:
        raise BundleError(f"{where}: expected a threshold for every pair, found none for "
                          f"{', '.join(missing)}; calibrate again")
    whole = calibration.schema == 2 and set(calibration.scales) == set(PAIRS) and calibration.prior is not None
    if not whole and (calibration.schema == 2 or calibration.scales or calibration.prior is not None):
        raise BundleError(f"{where}: expected a prior and a scale for every pair in schema 2 and none in schema 1, "
                          f"found scales for {', '.join(calibration.scales) or 'none'} in schema {calibration.schema}; "
                          "calibrate again")
    for name, scale in calibration.scales.items():
        if scale.unsure_from > calibration.thresholds[name].score:
            raise BundleError(f"{where}: expected the abstain band of {name} to end at the threshold "
                              f"{calibration.thresholds[name].score:g}, found it to begin at {scale.unsure_from:g}; "
                              "calibrate again")
        if any(part.first + len(part.counts) > BINS for part in (scale.genuine, scale.impostor)):
            raise BundleError(f"{where}: expected histograms of {BINS} bins, found longer ones of {name}; "
                              "calibrate again")
    return calibration


def encode(calibration: Calibration) -> bytes:
    """A calibration as its file holds it: JSON for people too, lists of numbers on one line."""
    text = msgspec.json.format(msgspec.json.encode(calibration), indent=1).decode()
    return re.sub(r"\[[-\d\s.,e]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text).encode() + b"\n"


def decode(data: bytes, kind: type[_T], where: str, *, schemas: tuple[int, ...] = (SCHEMA,)) -> _T:
    """Read one of a bundle's JSON files, after a look at its schema.

    Raises:
        BundleError: No JSON object, or not one of these schemas.
    """
    try:
        found = msgspec.json.decode(data).get("schema")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{where}: expected a JSON object, found something else "
                          f"({printable(str(error))}); copy the bundle again, or export again") from error
    if found not in schemas:
        raise BundleError(f"{where}: expected schema {' or '.join(map(str, schemas))}, found {found!r}; "
                          "use the cmnas-edge that made it, or export again")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{where}: {printable(in_words(str(error), kind))}; export again") from error


def printable(text: str) -> str:
    """Escape what would move a terminal's cursor, colour it or end the line; the rest stays."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
