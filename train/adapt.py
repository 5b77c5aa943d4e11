"""A network's statistics estimated anew on other cameras, without a label and without touching a weight.

A camera of another make, at another place, shifts what every channel of a network holds. BatchNorm takes
a channel's mean and variance off, but those of the cameras it was trained on. Here they are averaged over
crops of the new ones: cumulative, over batches of both modalities in equal parts, as in training.

Source: Li et al., Revisiting Batch Normalization For Practical Domain Adaptation, arXiv 1603.04779.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from cmnas_edge.embedding import MODALITIES
from cmnas_edge.errors import ConfigError
from cmnas_edge.preprocess import resize
from train.data.crops import Crops
from train.data.decoding import load, quietly
from train.evaluate import normalised
from train.networks.build import Network

__all__ = ["FEWEST", "adapt", "read"]

FEWEST = 16
"""Crops of a modality below which nothing can be estimated."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_HALF = 64  # crops of a modality in a batch


def adapt(network: Network, crops: Crops, *, seed: int = 0, kept: float = 0.0,
          progress: Callable[[int, int], None] | None = None) -> None:
    """Estimate the statistics of every norm on unlabelled crops.

    Where one modality is missing, only what serves the other alone moves.

    Args:
        network: Changed in place, on whatever device it is; in evaluation mode afterwards.
        crops: Of the new cameras; who they show is not looked at.
        seed: Of the order.
        kept: Share of the old statistics in the new ones.
        progress: Called with (batches done, in all).

    Raises:
        ConfigError: Fewer than ``FEWEST`` crops of a modality that is there.
    """
    sides = [np.flatnonzero(crops.infrared == infrared) for infrared in (False, True)]
    for modality, rows in zip(MODALITIES, sides, strict=True):
        if 0 < len(rows) < FEWEST:
            raise ConfigError(f"adapt: expected at least {FEWEST} crops of a modality, found {len(rows)} {modality} "
                              "ones; record for longer, or leave this modality out")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    # A statistic that both modalities share cannot be told from one alone.
    alone = None if all(map(len, sides)) else ".visible." if len(sides[0]) else ".infrared."
    counts: dict[int, int] = {}
    norms = [site.norm for site in network.norms()]
    usual = [norm.batch_norm for norm in norms]
    device = next(network.parameters()).device
    batches = list(_batches(sides, np.random.default_rng(seed)))
    try:
        for norm in norms:
            norm.batch_norm = _cumulative(counts)
        network.train()
        with torch.no_grad():
            for done, rows in enumerate(batches, start=1):
                network(normalised(crops.images[rows], device), torch.from_numpy(crops.infrared[rows]).to(device))
                if progress is not None:
                    progress(done, len(batches))
    finally:
        for norm, each in zip(norms, usual, strict=True):
            norm.batch_norm = each
        network.eval()
    for name, tensor in network.state_dict().items():
        if alone is not None and alone not in name:
            tensor.copy_(before[name])
        elif kept and name.endswith((".running_mean", ".running_var")):
            tensor.lerp_(before[name], kept)


def read(folder: Path, height: int, width: int, *, progress: Callable[[int, int], None] | None = None) -> Crops:
    """Every picture under a folder whose path says its modality: the output of ``data from-video``, or any other.

    Nothing is kept of them: they may show people who never asked to be in a cache.

    Args:
        folder: Somewhere below it are folders named ``visible`` or ``infrared``.
        height: Rows of a crop.
        width: Columns of a crop.
        progress: Called with (pictures decoded, all).

    Returns:
        Crops, all of identity and camera 0.

    Raises:
        ConfigError: No such folder, no pictures in it, or one that cannot be decoded.
    """
    found = [(path, modality) for path, modality in _pictures(folder) if modality is not None]
    if not found:
        what = "no such folder" if not folder.is_dir() else "none"
        raise ConfigError(f"{folder}: expected pictures below folders named visible or infrared, found {what}; give "
                          "the output of python -m train data from-video, or sort pictures into such folders")
    quietly()
    images = np.empty((len(found), height, width, 3), np.uint8)
    for row, (path, _) in enumerate(found):
        resize(load(path), height, width, out=images[row])
        if progress is not None:
            progress(row + 1, len(found))
    nobody = np.zeros(len(found), np.int64)
    return Crops(images, nobody, nobody, np.array([modality == "infrared" for _, modality in found]))


def _pictures(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Pictures in the order of their names, each with the last modality its path names below the folder."""
    for where, folders, files in os.walk(folder):
        folders.sort()
        inside = Path(where).relative_to(folder).parts
        modality = next((part for part in reversed(inside) if part in MODALITIES), None)
        for name in sorted(files):
            if name.lower().endswith(_SUFFIXES):
                yield Path(where) / name, modality


def _batches(sides: list[npt.NDArray[np.intp]], rng: np.random.Generator) -> Iterator[npt.NDArray[np.intp]]:
    """Rows in batches of nearly equal size; of the rarer modality, crops come more often."""
    most = max(map(len, sides))
    # A cut into equal parts, so that a plain mean over batches is one over crops.
    pieces = -(-most // _HALF)
    halves = [np.array_split(np.resize(rng.permutation(rows), most), pieces) for rows in sides if len(rows)]
    for parts in zip(*halves, strict=True):
        yield np.concatenate(parts)


def _cumulative(counts: dict[int, int]) -> Callable[..., Tensor]:
    """A batch norm in training whose running statistics are the mean over all batches they have seen."""
    def batch_norm(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, *_: Any) -> Tensor:
        key = id(mean)
        counts[key] = counts.get(key, 0) + 1
        return functional.batch_norm(x, mean, var, weight, bias, True, 1 / counts[key])
    return batch_norm
