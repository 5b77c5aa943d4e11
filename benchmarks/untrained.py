"""A bundle of a network nobody trained, for speed alone: how long a call takes does not depend on what it knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.peers import as_if_trained
from cmnas_edge.bundle import Bundle, Drawn
from cmnas_edge.calibration import PAIRS, Threshold
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.engine.tensorrt.cache import cache_folder
from export.fold import fold
from export.pack import Contents, write_bundle
from export.parity import by_network
from export.to_onnx import to_onnx
from train.networks.build import build
from train.networks.space import Arch

__all__ = ["NAME", "SEED", "untrained"]

SEED = 0
NAME = f"untrained weights of seed {SEED}"
_SIZE = (128, 64)       # of the bundle that ships


def untrained(backbone: str, folder: Path | None = None) -> Bundle:
    """Make it, or find it made: one graph for both modalities, float32 alone, since no precision could pass the gate.

    Args:
        backbone: One of `train.networks.space.BACKBONES`.
        folder: Where such bundles are kept; None: the cache.
    """
    out = (folder or cache_folder() / "benchmarks") / f"untrained-{backbone}-{_SIZE[0]}x{_SIZE[1]}-{SEED}"
    if out.is_dir():
        return Bundle.open(out)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = as_if_trained(build(Arch.uniform(backbone, "shared"))).eval()
    models = {modality: to_onnx(fold(network, modality), *_SIZE, network.dimension) for modality in MODALITIES}

    def embed(crops: npt.NDArray[np.uint8], modality: Modality) -> npt.NDArray[np.float32]:
        return by_network(network, crops, modality)

    nobody = dict.fromkeys(PAIRS, Threshold(0.5, 1e-3, 0.5, 100, 10_000))    # whom it is asked about
    return write_bundle(out, Contents(
        name=NAME, backbone=backbone, models=models, height=_SIZE[0], width=_SIZE[1], dimension=network.dimension,
        golden=Drawn(0, 2, (2, 3), 1, SEED), validation=Drawn(0, 0, (2, 3), 1, SEED), thresholds=nobody,
        card=f"# {backbone}, untrained\n\nRandom weights of seed {SEED}, to be timed. It recognises nobody.\n"), embed)
