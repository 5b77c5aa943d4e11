"""Embeddings with their labels: what every protocol picks its queries and galleries from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Metric = Literal["cosine", "euclidean"]

_UNIT = 1e-2  # how far from 1 a length may be; rows from half precision are off by about 1e-3


class Labels(Protocol):
    """What is known of pictures: pictures on a disk and crops in memory both have it."""

    @property
    def identity(self) -> npt.NDArray[Any]:
        """Equal means the same person, shape ``(n,)``."""

    @property
    def camera(self) -> npt.NDArray[Any]:
        """Camera numbers, shape ``(n,)``."""

    @property
    def infrared(self) -> Mask:
        """True where the camera was looking in infrared, shape ``(n,)``."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What a network made of pictures, and what the pictures show.

    Attributes:
        embedding: Shape ``(n, d)``. Unit vectors, or zeros, which are equally far from everybody;
            any vectors where the metric is ``"euclidean"``.
        identity: Shape ``(n,)``, numbers as the dataset has them.
        camera: Shape ``(n,)``.
        infrared: Shape ``(n,)``.
        name: Paths of the pictures, as many; needed where galleries are drawn from sorted file
            names, otherwise none.

    Raises:
        ValueError: Shapes do not belong together, the set is empty, or a number is not finite.
    """

    embedding: F32
    identity: I64
    camera: I64
    infrared: Mask
    name: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = np.shape(self.embedding)
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"embedding: expected shape (n, d) with n and d at least 1, got {shape}")
        for label in ("identity", "camera", "infrared"):
            if np.shape(getattr(self, label)) != shape[:1]:
                raise ValueError(f"{label}: expected shape ({shape[0]},), one for each embedding, got "
                                 f"{np.shape(getattr(self, label))}")
        if self.infrared.dtype != np.bool_:
            raise ValueError(f"infrared: expected True and False, got {self.infrared.dtype}")
        if self.name and len(self.name) != shape[0]:
            raise ValueError(f"name: expected {shape[0]} paths, one for each embedding, got {len(self.name)}")
        if not np.isfinite(self.embedding).all():
            row = int(np.flatnonzero(~np.isfinite(self.embedding).all(1))[0])
            raise ValueError(f"embedding: expected finite numbers, got some in row {row} that are not")

    @classmethod
    def of(cls, embedding: F32, labels: Labels, paths: Sequence[str] = ()) -> Embeddings:
        """Embeddings of pictures or crops, row by row.

        Args:
            embedding: Shape ``(n, d)``.
            labels: Who and what the n pictures show.
            paths: Of the pictures, where galleries are drawn from sorted file names.
        """
        return cls(np.asarray(embedding, np.float32), np.asarray(labels.identity, np.int64),
                   np.asarray(labels.camera, np.int64), np.asarray(labels.infrared), tuple(paths))

    def __len__(self) -> int:
        return len(self.embedding)

    def take(self, rows: Rows | I64 | Mask) -> Embeddings:
        """The rows at positions, or where a mask is True, in that order.

        Raises:
            ValueError: There are none.
        """
        name = tuple(np.array(self.name, object)[rows]) if self.name else ()
        return Embeddings(self.embedding[rows], self.identity[rows], self.camera[rows], self.infrared[rows], name)


def distances(query: Embeddings, gallery: Embeddings, metric: Metric = "cosine") -> F32:
    """How unlike each query and each gallery entry are, shape ``(q, g)``.

    Args:
        query: What is searched for.
        gallery: Where it is searched.
        metric: ``"cosine"``: one less the cosine; ``"euclidean"``: the squared distance, which
            ranks as the distance does.

    Raises:
        ValueError: Widths differ, or rows are no unit vectors where the metric asks for them.
    """
    q, g = query.embedding, gallery.embedding
    if q.shape[1] != g.shape[1]:
        raise ValueError(f"gallery: expected embeddings of width {q.shape[1]} as the queries', got {g.shape[1]}")
    if metric == "cosine":
        for side, rows in (("query", q), ("gallery", g)):
            length = np.linalg.norm(rows, axis=1)
            wrong = np.flatnonzero((np.abs(length - 1) > _UNIT) & (length != 0))
            if len(wrong):
                raise ValueError(f"{side}: expected unit vectors to compare by their cosine, got length "
                                 f"{length[wrong[0]]:.3g} in row {wrong[0]}; normalise, or compare by euclidean")
        return np.asarray(1 - q @ g.T)
    if metric != "euclidean":
        raise ValueError(f"metric: expected cosine or euclidean, got {metric}")
    squared = (q * q).sum(1)[:, None] + (g * g).sum(1) - 2 * (q @ g.T)
    return np.asarray(np.maximum(squared, 0))
