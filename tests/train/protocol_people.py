"""Made-up embeddings whose answers are known, for the tests of protocols."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from train.protocols.embeddings import Embeddings


def people(identities: Iterable[int], cameras: Iterable[int], shots: int, *, infrared: Iterable[int] = (3, 6),
           noise: float = 1.0, seed: int = 0, width: int = 16) -> Embeddings:
    """Everybody under every camera ``shots`` times: a direction of their own and noise, of length one."""
    rng = np.random.default_rng(seed)
    own = {identity: rng.standard_normal(width) for identity in sorted(set(identities))}
    rows = [(identity, camera, shot) for identity in own for camera in cameras for shot in range(1, shots + 1)]
    embedding = np.stack([own[identity] + noise * rng.standard_normal(width) for identity, _, _ in rows])
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    identity, camera, _ = np.array(rows).T
    return Embeddings(embedding.astype(np.float32), identity, camera, np.isin(camera, list(infrared)),
                      tuple(f"cam{c}/{i:04}/{s:04}.jpg" for i, c, s in rows))


def shuffled(pictures: Embeddings, seed: int = 0) -> Embeddings:
    """The same in another order, which no figure may depend on."""
    return pictures.take(np.random.default_rng(seed).permutation(len(pictures)))
