"""A bundle's own search, repeated: an engine that finds other people is found out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.bundle.pictures import stored
from cmnas_edge.embedding import Modality
from cmnas_edge.engine import open_engine
from cmnas_edge.errors import BundleError
from cmnas_edge.validation import F32, U8, check_retrieval, search
from tests.tiny_bundle import TINY, copy_tiny, reseal


def oracle(identity: np.ndarray, *, infrared_identity: np.ndarray):
    """Embeds every crop as a corner of its identity, whatever it shows."""
    def embed(crops: U8, modality: Modality) -> F32:
        who = infrared_identity if modality == "infrared" else identity
        assert len(crops) == len(who)
        return np.eye(10_000, dtype=np.float32)[who]
    return embed


def test_who_knows_everybody_finds_everybody() -> None:
    crops = stored(Bundle.open(TINY))
    seen, asked = crops.identity[~crops.infrared], crops.identity[crops.infrared]
    found = search(crops, oracle(seen, infrared_identity=asked))
    assert (found.rank1, found.mean_ap, found.query_count) == (1, 1, len(asked))
    lost = search(crops, oracle(seen, infrared_identity=asked[::-1]))
    assert lost.rank1 == 0


def test_the_engine_finds_what_the_bundle_says_and_another_does_not() -> None:
    bundle = Bundle.open(TINY)
    with open_engine(bundle, "visible") as visible, open_engine(bundle, "infrared") as infrared:
        engines = {"visible": visible, "infrared": infrared}
        found = check_retrieval(bundle, lambda crops, modality: engines[modality].embed(crops))
        assert found == bundle.manifest.retrieval
    crops = stored(bundle)
    right = found.rank1 == 1
    seen, asked = crops.identity[~crops.infrared], crops.identity[crops.infrared]
    with pytest.raises(BundleError, match="this engine finds other people"):
        check_retrieval(bundle, oracle(seen, infrared_identity=asked[::-1] if right else asked))


def test_a_bundle_without_validation_crops_says_so(tmp_path: Path) -> None:
    path = copy_tiny(tmp_path)
    reseal(path, lambda manifest: manifest.update(retrieval=None))
    with pytest.raises(BundleError, match="expected validation crops"):
        check_retrieval(Bundle.open(path), oracle(np.zeros(0, int), infrared_identity=np.zeros(0, int)))
