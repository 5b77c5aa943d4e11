"""What a person looks like, as a unit vector: normalise it, and pack it for the wire.

Pure numpy. Camera, collector and workshop all use these same few functions, so a distance
means the same thing everywhere. An embedding is biometric data: whoever holds it can tell
whether two views show the same person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["MODALITIES", "PACKINGS", "Modality", "Packing", "pack", "packed_size", "unit", "unpack"]

F32 = npt.NDArray[np.float32]
Modality = Literal["visible", "infrared"]
MODALITIES: tuple[Modality, Modality] = ("visible", "infrared")
Packing = Literal["fp16", "int8"]
PACKINGS: tuple[Packing, Packing] = ("fp16", "int8")


def unit(x: F32) -> F32:
    """Scale each row to length one.

    Args:
        x: Embeddings, shape ``(n, d)``.

    Returns:
        Same shape, float32; every row has Euclidean length 1.

    Raises:
        ValueError: ``x`` is not 2-D, or a row is zero or not finite. A zero embedding has
            no direction, so it can match nobody.

    Examples:
        >>> unit(np.array([[0, 2]], np.float32))
        array([[0., 1.]], dtype=float32)
    """
    if x.ndim != 2:
        raise ValueError(f"expected embeddings of shape (n, d), found {x.shape}")
    wide = np.asarray(x, np.float64)  # float32 squares overflow beyond 1e19
    length = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError("expected finite embeddings with a direction, found a zero or infinite row")
    scaled: F32 = (wide / length[:, None]).astype(np.float32)
    return scaled


def packed_size(packing: Packing, dimension: int) -> int:
    """Bytes of one packed embedding: 2 d for fp16; d + 4 for int8, which carries its scale."""
    return 2 * dimension if packing == "fp16" else dimension + 4


def pack(x: F32, packing: Packing) -> list[bytes]:
    """Pack unit vectors, one byte string per row, little-endian.

    ``int8`` stores ``round(x / scale)`` with ``scale = max|x| / 127`` in front as float32: an
    entry moves by at most ``scale / 2``. ``fp16`` rounds each entry to half precision.

    Args:
        x: Unit vectors, shape ``(n, d)``.
        packing: ``"fp16"`` or ``"int8"``.
    """
    if packing == "fp16":
        return [row.tobytes() for row in x.astype("<f2")]
    scale = (np.abs(x).max(1, initial=0.0) / 127).astype("<f4")
    codes = np.rint(x / np.maximum(scale, np.finfo(np.float32).tiny)[:, None]).clip(-127, 127).astype(np.int8)
    return [step.tobytes() + row.tobytes() for step, row in zip(scale, codes, strict=True)]


def unpack(packed: Sequence[bytes], packing: Packing, dimension: int) -> F32:
    """Undo `pack`: rows of shape ``(n, dimension)``, float32, not normalised again.

    Raises:
        ValueError: A byte string is not exactly as long as `packed_size` says.
    """
    size = packed_size(packing, dimension)
    for data in packed:
        if len(data) != size:
            raise ValueError(f"expected {size} bytes of {packing} for {dimension} dimensions, "
                             f"found {len(data)}")
    joined = b"".join(packed)
    if packing == "fp16":
        return np.frombuffer(joined, "<f2").astype(np.float32).reshape(len(packed), dimension)
    rows = np.frombuffer(joined, np.uint8).reshape(len(packed), size)
    scale = np.ascontiguousarray(rows[:, :4]).view("<f4")
    with np.errstate(over="ignore", invalid="ignore"):  # a scale from anywhere; who wants unit vectors checks them
        return np.asarray(rows[:, 4:].view(np.int8) * scale, np.float32)
