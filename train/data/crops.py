"""A set of labelled crops as uint8, in memory or mapped from a file.

Everything that learns or is scored reads this one shape of data, whatever drew or
photographed the people in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_BLOCK = 1024  # rows read at once, so that a mapped file need not fit in memory


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
    # Not taken over by dataclasses.replace, whose crops are others.
    _fingerprint: str | None = field(default=None, init=False, repr=False, compare=False)

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
        """SHA-256 over every pixel and label, as 64 hex digits; read once, or never if it is known."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for array in (self.images, self.identity, self.camera, self.infrared):
                digest.update(opening(array.dtype, array.shape))
                for some in (array[start:start + _BLOCK] for start in range(0, len(array), _BLOCK)):
                    digest.update(np.ascontiguousarray(some).view(np.uint8).data)
            object.__setattr__(self, "_fingerprint", digest.hexdigest())
        return str(self._fingerprint)

    def known_as(self, fingerprint: str) -> Crops:
        """The same, with a fingerprint that was taken when the pixels went to disk."""
        object.__setattr__(self, "_fingerprint", fingerprint)
        return self


def opening(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What the fingerprint takes in before the bytes of an array."""
    return f"{dtype}{shape}".encode()
