"""Cells of matrices as a MATLAB file, version 5: just enough to write what MATLAB users publish splits in.

Source: MathWorks, MAT-File Format, Level 5: a header of 128 bytes, then elements of a tag (type, bytes) and
data filled up to 8 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Cell", "write_cells"]

Cell: TypeAlias = "npt.NDArray[np.float64] | Sequence[Cell]"

_INT8, _INT32, _UINT32, _DOUBLE, _MATRIX = 1, 5, 6, 9, 14  # data types
_CELL, _DOUBLES = 1, 6  # classes of arrays
_HEADER: Final = b"MATLAB 5.0 MAT-file, written by cmnas_edge".ljust(124) + struct.pack("<H2s", 0x0100, b"IM")


def write_cells(path: Path, name: str, cells: Sequence[Cell]) -> None:
    """Write one variable.

    Args:
        path: Replaced if it is there.
        name: Of the variable.
        cells: A column of cells; each is a matrix, or again a column of cells.

    Raises:
        OSError: The file cannot be written.
    """
    path.write_bytes(_HEADER + _array(name, cells))


def _array(name: str, value: Cell) -> bytes:
    if isinstance(value, np.ndarray):
        # Columns first.
        kind, shape, content = _DOUBLES, value.shape, _element(_DOUBLE, value.astype("<f8").tobytes(order="F"))
    else:
        kind, shape, content = _CELL, (len(value), 1), b"".join(_array("", cell) for cell in value)
    return _element(_MATRIX, b"".join((
        _element(_UINT32, struct.pack("<II", kind, 0)),
        _element(_INT32, struct.pack("<ii", *shape)),
        _element(_INT8, name.encode("ascii")),
        content,
    )))


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)
