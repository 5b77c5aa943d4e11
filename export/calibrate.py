"""Calibrations of a bundle, from people it was not trained on: drawn ones, unless there are others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Drawn, Pair
from cmnas_edge.bundle.pictures import draw
from cmnas_edge.calibration import PAIRS, CalibratedOn, Calibration
from cmnas_edge.calibration.fit import Plan, Scores, fit
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.errors import ConfigError
from cmnas_edge.synthetic.crops import CAMERAS
from cmnas_edge.validation import Embed
from train.protocols.embeddings import Embeddings, Labels

__all__ = ["CHECK_SEED", "FALSE_MATCH_RATE", "WORLD_SEED", "calibration", "drawn_people", "embedded", "scores",
           "thresholds"]

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
FALSE_MATCH_RATE = 1e-3
# Worlds of their own: people and cameras that no recipe of `train` learns from, which a test holds. What is found in
# the first is checked in the second.
WORLD_SEED = 2_026
CHECK_SEED = 2_027
_AT_ONCE = 256      # crops handed to a network


def drawn_people(identities: int, per_camera: int, cameras: tuple[int, ...] = CAMERAS, seed: int = WORLD_SEED) -> Drawn:
    """People of the world that is kept for calibration and validation."""
    return Drawn(0, identities, cameras, per_camera, seed)


def thresholds(people: Drawn, height: int, width: int, embed: Embed,
               false_match_rate: float = FALSE_MATCH_RATE) -> Calibration:
    """Find from which cosine on two crops match, per pair of modalities, and what scores are worth.

    Args:
        people: Nobody of whom was trained on.
        height: Rows of a crop.
        width: Columns of a crop.
        embed: The network.
        false_match_rate: At most this share of pairs of strangers may match.

    Returns:
        Of no fingerprint yet: all zeros.

    Raises:
        ConfigError: Too few people to see so small a rate.
        BundleError: The network cannot tell strangers apart at all.
    """
    crops = draw(people, height, width)
    plan = Plan(rate=false_match_rate, unsure_rate=min(10 * false_match_rate, 0.5), strangers=1)
    return calibration("0" * 64, scores(embedded(crops.images, crops, embed)), "drawn", plan)


def calibration(fingerprint: str, found: Mapping[Pair, Scores], calibrated_on: CalibratedOn, plan: Plan) -> Calibration:
    """Find everything a calibration says.

    Args:
        fingerprint: Of the embeddings, in hexadecimal.
        found: Scores of each pair of modalities.
        calibrated_on: On whom.
        plan: What is asked.

    Raises:
        ConfigError: Too few people or pairs were seen of a pair of modalities.
        BundleError: The network cannot tell strangers apart.
    """
    fitted = {name: fit(name, found[name], calibrated_on, plan) for name in PAIRS}
    return Calibration(2, fingerprint, calibrated_on, {name: one for name, (one, _) in fitted.items()},
                       {name: scale for name, (_, scale) in fitted.items()}, plan.prior)


def embedded(images: U8, labels: Labels, embed: Embed, progress: Callable[[int, int], None] | None = None
             ) -> Embeddings:
    """Embed crops, each by the network of its modality.

    Args:
        images: Shape ``(n, h, w, 3)``, BGR.
        labels: Who and what they show.
        embed: The network.
        progress: Called with (crops embedded, all).
    """
    out: F32 | None = None
    done = 0
    for modality in MODALITIES:
        rows = np.flatnonzero(labels.infrared == (modality == "infrared"))
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start:start + _AT_ONCE]
            found = embed(images[some], modality)
            out = np.zeros((len(images), found.shape[1]), np.float32) if out is None else out
            out[some] = found
            done += len(some)
            if progress:
                progress(done, len(images))
    return Embeddings.of(np.zeros((0, 1), np.float32) if out is None else out, labels)


def scores(seen: Embeddings) -> Mapping[Pair, Scores]:
    """Cosines of all pairs of crops, per pair of modalities.

    Genuine pairs are of one person under two cameras: one camera sees the same side in the same
    light, which would promise more than another camera keeps.

    Raises:
        ConfigError: The crops are of one modality.
    """
    if seen.infrared.all() or not seen.infrared.any():
        raise ConfigError("calibrate: expected people in both modalities, found one; take pictures of both")
    of: dict[Modality, Embeddings] = {modality: seen.take(seen.infrared == (modality == "infrared"))
                                          for modality in MODALITIES}
    found: dict[Pair, Scores] = {}
    for name in PAIRS:
        first, _, second = name.partition("-")
        a, b = (of[modality] for part in (first, second) for modality in MODALITIES if modality == part)
        same_person = a.identity[:, None] == b.identity[None]
        same_camera = a.camera[:, None] == b.camera[None]
        once = np.triu(np.ones(same_person.shape, bool), 1) if first == second else np.ones(same_person.shape, bool)
        cosine = np.clip(a.embedding @ b.embedding.T, -1, 1)
        own, two = np.nonzero(once & same_person & ~same_camera), np.nonzero(once & ~same_person)
        found[name] = Scores(cosine[own], a.identity[own[0]], cosine[two],
                             np.stack([a.identity[two[0]], b.identity[two[1]]], axis=1))
    return found

