"""A protobuf message as its bytes show it: one field after the other, whatever its schema says."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["WireError", "split", "varint"]


class WireError(ValueError):
    """Bytes that are no batch (or no answer) at all."""


def varint(value: int) -> bytes:
    """Write a number as short as it can be."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def split(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value) along a message: int for a varint, bytes for all else.

    Raises:
        WireError: The bytes end inside a field, or a field has no known wire type.
    """
    at = 0

    def number_here() -> int:
        nonlocal at
        value = 0
        for shift in range(0, 70, 7):
            if at >= len(data):
                break
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise WireError(f"batch: expected a number at byte {at}, found none; it is cut off or damaged")

    while at < len(data):
        number, kind = divmod(number_here(), 8)
        if kind == 0:
            yield number, number_here()
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size = number_here()
        if size is None or at + size > len(data):
            raise WireError(f"batch: expected a field at byte {at}, found it cut off or of no known kind")
        yield number, data[at:at + size]
        at += size
