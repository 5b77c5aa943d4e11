"""Whether SQLite's write-ahead log was damaged, which SQLite itself does not say: it ends the log there.

What follows a damaged frame would be forgotten, numbers that were given among it, and given
again they would pass for repetitions at the collector. A power cut leaves another trace: only
the last transaction, which nobody was promised, is torn. So do transactions that a full disk
undid, one after another; two that fit to each other behind a frame that does not were promised.

The format is SQLite's own (https://www.sqlite.org/fileformat2.html, section 4).
"""

from __future__ import annotations

import struct
from pathlib import Path

__all__ = ["is_damaged"]

_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}    # the magic says in which order of bytes sums are made
_VERSION = 3_007_000
_PAGES = {1 << bits for bits in range(9, 17)}


def is_damaged(path: Path) -> bool:
    """Say whether a log's header is none, or two transactions follow each other behind a frame that is not whole.

    Args:
        path: The log. An empty one, or one of zeros that never reached the disk, holds nothing and is whole.
    """
    data = path.read_bytes()
    if not data.strip(b"\0"):
        return False
    if len(data) < _HEADER_BYTES:
        return True
    magic, version, page, _, *salts = struct.unpack_from(">6I", data)
    before = struct.unpack_from(">2I", data, 24)
    order = _ORDERS.get(magic)
    if order is None or version != _VERSION or page not in _PAGES or _sums(data[:24], order, (0, 0)) != before:
        return True
    whole, together = True, 0
    for at in range(_HEADER_BYTES, len(data) - _FRAME_HEADER_BYTES - page + 1, _FRAME_HEADER_BYTES + page):
        _, pages_after, *frame_salts = struct.unpack_from(">4I", data, at)
        after = struct.unpack_from(">2I", data, at + 16)
        content = data[at:at + 8] + data[at + _FRAME_HEADER_BYTES:at + _FRAME_HEADER_BYTES + page]
        if frame_salts != salts or _sums(content, order, before) != after:
            whole, together = False, 0
        elif not whole and pages_after:     # not 0: the frame that ends a transaction
            together += 1
            if together > 1:
                return True
        before = after
    return False


def _sums(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for x, y in zip(words[::2], words[1::2], strict=True):
        one = (one + x + two) & 0xFFFFFFFF
        two = (two + y + one) & 0xFFFFFFFF
    return one, two
