"""A secret that turns every vector of a site, so that a stolen journal can be made worthless by another secret.

An orthogonal matrix, drawn from the key, is applied by the camera to each unit vector before it
is packed. Cosines stay what they were, so collector and thresholds notice nothing; vectors turned
with different keys do not compare, which is why each sighting names its key by a number.

What that is worth is measured by ``python -m benchmarks.linkability`` and said in docs/keys.md: it
renews templates; it does not encrypt them. Whoever has the key turns them back, and so does
whoever knows about d vectors in both forms; whoever holds thousands of turned ones gets part of the way.

The matrix follows from the key alone, by arithmetic that no library's release can change:
SHAKE-256 gives bits, Box and Muller (1958) make them Gaussian, and the Q of their QR
decomposition with R's diagonal above zero, which is unique, is uniform over all orthogonal
matrices (Mezzadri, "How to generate random matrices from the classical compact groups", 2007).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cmnas_edge.errors import ConfigError
from cmnas_edge.private import read_secret, write_new_secret

__all__ = ["Rotation", "SiteKey"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
_TEXT = re.compile(r"cmnas-site-key-1 ([0-9a-f]{64})")


@dataclass(frozen=True, eq=False)
class Rotation:
    """A key at work on vectors of one dimension.

    Attributes:
        transform: The key's number, 1 to 2**64 - 1, which each sighting carries; it tells nothing else of the key.
        matrix: Orthogonal, ``(d, d)``.
    """

    transform: int
    matrix: F32

    def turn(self, x: F32) -> F32:
        """Turn unit vectors, ``(n, d)``; the cosine of any two moves by less than 1e-6, and so does a length."""
        turned: F32 = x @ self.matrix.T
        return turned


class SiteKey:
    """A secret of 32 bytes. It is never printed: only its number is."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError(f"expected a key of 32 bytes, found {len(secret)}")
        self._secret = secret

    @classmethod
    def make(cls, path: Path) -> SiteKey:
        """Draw a key and write it to a new file, mode 0600.

        Raises:
            ConfigError: Something is at ``path``, or it cannot be written.
            DiskFull: There is no room.
        """
        secret = secrets.token_bytes(32)
        write_new_secret(path, f"cmnas-site-key-1 {secret.hex()}\n".encode(), "key",
                         "a key that vectors were turned with is not replaced")
        return cls(secret)

    @classmethod
    def load(cls, path: Path) -> SiteKey:
        """Read a key.

        Raises:
            ConfigError: There is none, others may read it, or it holds something else.
        """
        found = _TEXT.fullmatch(read_secret(path))
        if not found:
            raise ConfigError(f"{path}: expected a site key, found something else; make one with "
                              "cmnas-edge key make FILE, or restore it from its backup")
        return cls(bytes.fromhex(found[1]))

    @property
    def transform(self) -> int:
        """The key's number: another for every key, never 0."""
        number = int.from_bytes(self._bits(b"number", 8), "little")
        return number or 1

    def rotation(self, dimension: int) -> Rotation:
        """Draw the key's matrix for vectors of some dimension; it takes 0.1 s for 512."""
        words = np.frombuffer(self._bits(f"rotation {dimension}".encode(), 16 * ((dimension**2 + 1) // 2)), "<u8")
        # 53 bits are what a float64 holds; the first of a pair is never 0, whose logarithm there is none of.
        pairs = (words >> np.uint64(11)).astype(np.float64).reshape(-1, 2)
        radius = np.sqrt(-2 * np.log((pairs[:, 0] + 1) * 2.0**-53))
        angle = 2 * np.pi * (pairs[:, 1] * 2.0**-53)
        gaussian = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
        q, r = np.linalg.qr(gaussian[:dimension**2].reshape(dimension, dimension))
        turned: F64 = q * np.where(np.diag(r) < 0, -1.0, 1.0)
        return Rotation(self.transform, np.ascontiguousarray(turned, np.float32))

    def _bits(self, purpose: bytes, count: int) -> bytes:
        return hashlib.shake_256(b"cmnas-edge site key 1 " + purpose + b"\n" + self._secret).digest(count)
