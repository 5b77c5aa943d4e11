"""What a network is worth on people it was not trained on.

Single shot as SYSU-MM01 has it: a gallery of one crop per identity and camera, drawn ten
times; a camera-3 query does not see camera 2, nor the other way round; a query never sees
its own camera; ranks are over distinct identities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmnas_edge.preprocess import MEAN, STD
from cmnas_edge.retrieval import evaluate, sysu_excluded
from train.data.crops import I64, U8, Crops
from train.networks import Network

F32 = npt.NDArray[np.float32]

PAIRS: Mapping[str, tuple[bool, bool]] = {
    "visible-visible": (False, False),
    "infrared-infrared": (True, True),
    "infrared-visible": (True, False),
    "visible-infrared": (False, True),
}
"""Query and gallery: is it infrared?"""

_BATCH = 128


def normalised(images: U8, device: torch.device | None = None) -> Tensor:
    """Crops as a network takes them: BGR uint8 ``(n, h, w, 3)`` to normalised RGB float ``(n, 3, h, w)``.

    The values are laid out channels last, which convolutions on a CPU prefer. Bytes cross to the
    device, which makes numbers of them.
    """
    mean, std = (torch.tensor(x).to(device) * 255 for x in (MEAN, STD))
    rgb = torch.from_numpy(np.ascontiguousarray(images[..., ::-1])).to(device).float()
    return rgb.sub_(mean).div_(std).permute(0, 3, 1, 2)


def embed(network: Network, crops: Crops) -> F32:
    """Unit vectors of a set of crops, by the network in evaluation mode; shape ``(n, d)``.

    A row that the network maps to zero stays zero: it is equally far from everybody, which
    counts against it. The network is left in the mode it was in.
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
                out[some] = network(normalised(crops.images[some], device), flags).embedding.float().cpu().numpy()
    network.train(training)
    length: F32 = np.linalg.norm(out, axis=1, keepdims=True)
    out /= np.maximum(length, np.finfo(np.float32).tiny)
    return out


def score(embeddings: F32, crops: Crops, *, trials: int = 10, seed: int = 0) -> dict[str, dict[str, float]]:
    """Retrieval between every two modalities.

    Args:
        embeddings: Unit vectors of ``crops``, shape ``(n, d)``.
        crops: Who and what they show.
        trials: Galleries drawn; figures are their means.
        seed: Of the draws.

    Returns:
        For each of ``PAIRS`` (query-gallery) whose modalities are present with at least two
        cameras to search: ``rank1``, ``rank10``, ``mean_ap``, ``mean_inp`` in percent.
    """
    figures: dict[str, dict[str, float]] = {}
    for pair, (query_infrared, gallery_infrared) in PAIRS.items():
        query = np.flatnonzero(crops.infrared == query_infrared)
        pool = np.flatnonzero(crops.infrared == gallery_infrared)
        if not len(query) or not len(pool) or (
                query_infrared == gallery_infrared and len(np.unique(crops.camera[pool])) < 2):
            continue
        rows = [_one_trial(embeddings, crops, query, _single_shot(crops, pool, np.random.default_rng((seed, trial))))
                for trial in range(trials)]
        figures[pair] = {name: round(100 * float(np.mean([row[name] for row in rows])), 2) for name in rows[0]}
    return figures


def _one_trial(embeddings: F32, crops: Crops, query: npt.NDArray[Any], gallery: I64) -> dict[str, float]:
    distance = 1 - embeddings[query] @ embeddings[gallery].T
    from_camera, to_camera = crops.camera[query], crops.camera[gallery]
    excluded = (sysu_excluded(from_camera, to_camera) | sysu_excluded(to_camera, from_camera).T
                | (from_camera[:, None] == to_camera[None]))
    found = evaluate(distance, crops.identity[query], crops.identity[gallery], excluded=excluded)
    return {"rank1": found.rank1, "rank10": float(found.cmc[min(9, len(found.cmc) - 1)]),
            "mean_ap": found.mean_ap, "mean_inp": found.mean_inp}


def _single_shot(crops: Crops, pool: npt.NDArray[Any], rng: np.random.Generator) -> I64:
    """One row of every identity under every camera, at random."""
    shuffled = rng.permutation(pool)
    key = np.stack([crops.identity[shuffled], crops.camera[shuffled]], 1)
    first = np.unique(key, axis=0, return_index=True)[1]
    return np.asarray(shuffled[first], np.int64)


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """What ``score`` found, as lines of a Markdown table."""
    lines = ["| query-gallery | rank-1 | rank-10 | mAP | mINP |", "|---|---|---|---|---|"]
    lines += [f"| {pair} | {row['rank1']:.1f} | {row['rank10']:.1f} | {row['mean_ap']:.1f} | {row['mean_inp']:.1f} |"
              for pair, row in figures.items()]
    return "\n".join(lines)
