"""First thresholds of a bundle, from drawn people it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Drawn, Pair, Threshold
from cmnas_edge.bundle.pictures import draw
from cmnas_edge.calibration import PAIRS
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.errors import BundleError, ConfigError
from cmnas_edge.retrieval import error_rates, threshold_at
from cmnas_edge.synthetic.crops import CAMERAS, CropSet
from cmnas_edge.validation import Embed

__all__ = ["FALSE_MATCH_RATE", "WORLD_SEED", "drawn_people", "scores", "thresholds"]

F32 = npt.NDArray[np.float32]
FALSE_MATCH_RATE = 1e-3
# A world of its own: people and cameras that no recipe of `train` learns from, which a test holds.
WORLD_SEED = 2_026


def drawn_people(identities: int, per_camera: int, cameras: tuple[int, ...] = CAMERAS) -> Drawn:
    """People of the world that is kept for calibration and validation."""
    return Drawn(0, identities, cameras, per_camera, WORLD_SEED)


def thresholds(people: Drawn, height: int, width: int, embed: Embed,
               false_match_rate: float = FALSE_MATCH_RATE) -> dict[Pair, Threshold]:
    """Find from which cosine on two crops match, per pair of modalities.

    Args:
        people: Nobody of whom was trained on.
        height: Rows of a crop.
        width: Columns of a crop.
        embed: The network.
        false_match_rate: At most this share of pairs of strangers may match.

    Raises:
        ConfigError: Too few people to see so small a rate.
        BundleError: The network cannot tell strangers apart at all.
    """
    crops = draw(people, height, width)
    found: dict[Pair, Threshold] = {}
    for name, (genuine, impostor) in scores(crops, embed).items():
        if len(impostor) * false_match_rate < 1 or not len(genuine):
            raise ConfigError(f"thresholds: expected at least {1 / false_match_rate:.0f} pairs of strangers and one "
                              f"of the same person for {name}, found {len(impostor)} and {len(genuine)}; "
                              "draw more identities")
        score = threshold_at(genuine, impostor, false_match_rate)
        if score > 1:
            raise BundleError(f"thresholds: expected strangers to differ, found {name} pairs of cosine 1 beyond "
                              f"{false_match_rate:g} of them; this network tells nobody apart: train it")
        _, missed = error_rates(genuine, impostor, score)
        found[name] = Threshold(score, false_match_rate, missed, len(genuine), len(impostor))
    return found


def scores(crops: CropSet, embed: Embed) -> Mapping[Pair, tuple[F32, F32]]:
    """Cosines of all pairs of crops, ``(genuine, impostor)`` per pair of modalities.

    Genuine pairs are of one person under two cameras: one camera sees the same side in the same
    light, which would promise more than another camera keeps.
    """
    of: dict[Modality, npt.NDArray[np.bool_]] = {"visible": ~crops.infrared, "infrared": crops.infrared}
    embeddings = {modality: embed(crops.images[of[modality]], modality) for modality in MODALITIES}
    found: dict[Pair, tuple[F32, F32]] = {}
    for name in PAIRS:
        first, _, second = name.partition("-")
        a, b = (modality for part in (first, second) for modality in MODALITIES if modality == part)
        same_person = crops.identity[of[a]][:, None] == crops.identity[of[b]][None]
        same_camera = crops.camera[of[a]][:, None] == crops.camera[of[b]][None]
        once = np.triu(np.ones(same_person.shape, bool), 1) if a == b else np.ones(same_person.shape, bool)
        cosine = np.clip(embeddings[a] @ embeddings[b].T, -1, 1)
        found[name] = cosine[once & same_person & ~same_camera], cosine[once & ~same_person]
    return found
