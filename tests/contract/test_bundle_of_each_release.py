"""Every bundle ever released still opens, and still gives its golden embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.calibration import PAIRS
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine import open_engine

RELEASES = sorted(path.parent.name for path in Path(__file__).parent.glob("*/bundle"))
# A fingerprint names galleries on disk: a version that read another one would orphan them.
FINGERPRINTS = {"0.1.0": "24ecb8407ca013db015f5fa1e80a3a98f1f41cefd745441ff424c9af8885846d"}


def test_every_release_left_a_bundle() -> None:
    assert sorted(FINGERPRINTS) == RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_the_bundle_of_a_release_opens_and_serves(release: str) -> None:
    bundle = Bundle.open(Path(__file__).parent / release / "bundle")
    assert bundle.fingerprint_hex == FINGERPRINTS[release]
    assert set(bundle.thresholds) == set(PAIRS)
    for modality in MODALITIES:
        crops, embeddings = bundle.golden(modality)
        with open_engine(bundle, modality) as engine:
            np.testing.assert_allclose(engine.embed(crops), embeddings, atol=1e-4)
