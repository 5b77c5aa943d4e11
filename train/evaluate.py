"""What a network makes of crops, and a first look at what that is worth.

``score`` searches between every two modalities as `train.protocols.drawn` says. The protocols of
the datasets are in `train.standings`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmnas_edge.preprocess import MEAN, STD
from train.data.crops import U8, Crops
from train.networks import Network
from train.protocols.drawn import score

__all__ = ["embed", "normalised", "scaled", "score", "table"]

F32 = npt.NDArray[np.float32]

_BATCH = 128


def normalised(images: U8, device: torch.device | None = None) -> Tensor:
    """Crops as a network takes them: BGR uint8 ``(n, h, w, 3)`` to normalised RGB float ``(n, 3, h, w)``.

    The values are laid out channels last, which convolutions on a CPU prefer. Bytes cross to the
    device, which makes numbers of them.
    """
    mean, std = (torch.tensor(x).to(device) * 255 for x in (MEAN, STD))
    rgb = torch.from_numpy(np.ascontiguousarray(images[..., ::-1])).to(device).float()
    return rgb.sub_(mean).div_(std).permute(0, 3, 1, 2)


def embed(network: Network, crops: Crops, *, flip: bool = False, unit: bool = True) -> F32:
    """Unit vectors of a set of crops, by the network in evaluation mode; shape ``(n, d)``.

    A row that the network maps to zero stays zero: it is equally far from everybody, which
    counts against it. The network is left in the mode it was in.

    Args:
        network: On whatever device it is.
        crops: What it sees.
        flip: Average with the embedding of the mirror image.
        unit: Scale to length one; without, embeddings are as they come.
    """
    out = np.empty((len(crops), network.dimension), np.float32)
    training = network.training
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        for infrared in (False, True):
            rows = np.flatnonzero(crops.infrared == infrared)
            for start in range(0, len(rows), _BATCH):
                some = rows[start:start + _BATCH]
                flags = torch.full((len(some),), infrared, device=device)
                images = normalised(crops.images[some], device)
                found = network(images, flags).embedding.float()
                if flip:
                    found = (found + network(images.flip(3), flags).embedding.float()) / 2
                out[some] = found.cpu().numpy()
    network.train(training)
    return scaled(out) if unit else out


def scaled(rows: F32) -> F32:
    """Rows at length one, in place; a row of zeros stays zero."""
    length: F32 = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.maximum(length, np.finfo(np.float32).tiny)
    return rows


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """What ``score`` found, as lines of a Markdown table."""
    lines = ["| query-gallery | rank-1 | rank-10 | mAP | mINP |", "|---|---|---|---|---|"]
    lines += [f"| {pair} | {row['rank1']:.1f} | {row['rank10']:.1f} | {row['mean_ap']:.1f} | {row['mean_inp']:.1f} |"
              for pair, row in figures.items()]
    return "\n".join(lines)
