"""Cells of matrices out of a MATLAB file, version 5, which is what data are published in.

Source: MathWorks, MAT-File Format, Level 5. An element is a tag (type, bytes) and data filled up to 8 bytes, or both in
8 bytes where the data have at most 4; a matrix is an element of elements: flags, dimensions, name, then its numbers,
stored in any type they fit in, or its cells. Read here, and not by SciPy, since a damaged file ends that with a
segmentation fault.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Cell", "cells"]

Cell: TypeAlias = "npt.NDArray[Any] | list[Cell]"

_TYPES: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_CELL: Final = 1  # class of an array; numbers are 6 to 15
_NUMBERS: Final = range(6, 16)
_COMPLEX: Final = 0x0800
_MOST: Final = 1 << 28  # bytes, unpacked: no split file is as large
_DEPTH: Final = 8


def cells(path: Path, name: str) -> list[Cell]:
    """One variable, a cell array.

    Args:
        path: Of the file.
        name: Of the variable.

    Returns:
        Its cells, column by column: arrays as MATLAB shapes them, or again lists of cells.

    Raises:
        ValueError: The file is no MATLAB file of version 5, is damaged, or has no such cell array.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or data[:6] != b"MATLAB":
        raise ValueError("no MATLAB file of version 5 to 7")
    for kind, content in _elements(data[128:], order):
        if kind == _COMPRESSED:
            unpack = zlib.decompressobj()
            try:
                inner = unpack.decompress(content, _MOST)
            except zlib.error as error:
                raise ValueError("damaged where it is compressed") from error
            if not unpack.eof:
                raise ValueError("cut off where it is compressed, or too large")
            found = [_array(part, order, 0) for of, part in _elements(inner, order) if of == _MATRIX]
        else:
            found = [_array(content, order, 0)] if kind == _MATRIX else []
        for called, value in found:
            if called == name and isinstance(value, list):
                return value
    raise ValueError(f"no cell array {name}")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Types and contents of elements that follow each other."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("cut off")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # both in 8 bytes
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            if size > 4:
                raise ValueError("a small element that is none")
            at += 8
        else:
            start = at + 8
            # Compressed data are the only ones that are not filled up.
            at = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > len(data):
            raise ValueError("cut off")
        yield kind, data[start:start + size]


def _array(data: bytes, order: str, depth: int) -> tuple[str, Cell]:
    """Name and value of a matrix; a value of another class than numbers or cells is no array."""
    if depth > _DEPTH:
        raise ValueError("cells nested too deeply")
    if not data:  # how an empty cell may be written
        return "", np.zeros((0, 0))
    parts = list(_elements(data, order))
    if len(parts) < 3 or len(parts[0][1]) != 8 or len(parts[1][1]) % 4:
        raise ValueError("a matrix without flags, dimensions and name")
    flags = struct.unpack(f"{order}II", parts[0][1])[0]
    shape = struct.unpack(f"{order}{len(parts[1][1]) // 4}i", parts[1][1])
    name, content, kind = parts[2][1].decode("latin-1"), parts[3:], flags & 0xFF
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"a matrix of shape {shape}")
    count = int(np.prod([int(side) for side in shape], dtype=object))
    if kind == _CELL:
        if count != len(content) or any(of != _MATRIX for of, _ in content):
            raise ValueError(f"{len(content)} cells where {count} should be")
        return name, [_array(part, order, depth + 1)[1] for _, part in content]
    if kind not in _NUMBERS or flags & _COMPLEX or len(content) != 1 or content[0][0] not in _TYPES:
        return name, np.zeros((0, 0))
    stored = np.dtype(order + _TYPES[content[0][0]])
    if len(content[0][1]) != count * stored.itemsize:
        raise ValueError(f"{len(content[0][1])} bytes where {count} numbers should be")
    return name, np.frombuffer(content[0][1], stored).reshape(shape, order="F")
