"""Labelled pictures on disk: what every dataset is once its layout has been read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from train.data.crops import I64, Mask

__all__ = ["Pictures"]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Files, with who is in them and which camera took them.

    Attributes:
        root: Folder of the dataset.
        paths: Below ``root``, with forward slashes; n of them, none twice unless taken twice.
        identity: As the dataset numbers people, shape ``(n,)``.
        camera: As the dataset numbers cameras, shape ``(n,)``; 0 where it does not say.
        infrared: True where the camera was looking in infrared, shape ``(n,)``.

    Raises:
        ValueError: Shapes or types do not belong together, or a path leaves ``root``.
    """

    root: Path
    paths: tuple[str, ...]
    identity: I64
    camera: I64
    infrared: Mask

    def __post_init__(self) -> None:
        n = len(self.paths)
        for name, kind in (("identity", np.int64), ("camera", np.int64), ("infrared", np.bool_)):
            array = getattr(self, name)
            if array.shape != (n,) or array.dtype != kind:
                raise ValueError(f"{name}: expected {np.dtype(kind)} of shape ({n},), got {array.dtype} {array.shape}")
        for path in self.paths:
            if not path or path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"paths: expected a path below the root, got {path!r}")

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, index: I64 | Mask) -> Pictures:
        """The rows at ``index`` (positions, or a mask), in that order."""
        rows = np.arange(len(self))[index]
        return Pictures(self.root, tuple(self.paths[row] for row in rows), self.identity[rows], self.camera[rows],
                        self.infrared[rows])

    def file(self, row: int) -> Path:
        """Where the picture of a row lies."""
        return self.root / PurePosixPath(self.paths[row])
