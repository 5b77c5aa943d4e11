"""A set of labelled crops, held in memory as uint8.

Everything that learns or is scored reads this one shape of data, whatever drew or
photographed the people in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Crops:
    """People cut from frames, with who they are and which camera saw them.

    Attributes:
        images: BGR, shape ``(n, h, w, 3)``.
        identity: Any integers, shape ``(n,)``; equal means the same person.
        camera: Camera numbers, shape ``(n,)``.
        infrared: True where the camera was looking in infrared, shape ``(n,)``.

    Raises:
        ValueError: Shapes do not belong together, or the set is empty.
    """

    images: U8
    identity: I64
    camera: I64
    infrared: Mask

    def __post_init__(self) -> None:
        n = len(self.images)
        if n == 0 or self.images.ndim != 4 or self.images.shape[3] != 3 or self.images.dtype != np.uint8:
            raise ValueError(f"images: expected uint8 (n, h, w, 3) with n >= 1, got {self.images.dtype} "
                             f"{self.images.shape}")
        for name in ("identity", "camera", "infrared"):
            shape = getattr(self, name).shape
            if shape != (n,):
                raise ValueError(f"{name}: expected shape ({n},), got {shape}")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: I64 | Mask) -> Crops:
        """The rows at ``index`` (positions, or a mask), in that order."""
        return Crops(self.images[index], self.identity[index], self.camera[index], self.infrared[index])

    def classes(self) -> I64:
        """Identities renumbered 0, 1, ... in ascending order, shape ``(n,)``: what a classifier is taught."""
        return np.unique(self.identity, return_inverse=True)[1].astype(np.int64)

    def fingerprint(self) -> str:
        """SHA-256 over every pixel and label, as 64 hex digits."""
        digest = hashlib.sha256()
        for array in (self.images, self.identity, self.camera, self.infrared):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()
