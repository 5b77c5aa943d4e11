"""Numbers of records, by device and spool, as ranges: which they are, without saying when or what they were."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

__all__ = ["Range", "Ranges"]

Range = tuple[str, str, int, int]   # device, spool, first, last


class Ranges:
    """A set of records. Neighbours are kept as one range, so a spool that is gone whole takes one."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._spans: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for each in ranges:
            self.add(*each)

    def __iter__(self) -> Iterator[Range]:
        for (device, spool), spans in self._spans.items():
            for first, last in spans:
                yield device, spool, first, last

    def add(self, device: str, spool: str, first: int, last: int) -> None:
        """Take records ``first`` to ``last`` of a spool."""
        spans = self._spans.setdefault((device, spool), [])
        start = bisect.bisect_left(spans, first - 1, key=lambda span: span[1])
        end = bisect.bisect_right(spans, last + 1, key=lambda span: span[0])
        replaced = spans[start:end]
        if replaced:
            first, last = min(first, replaced[0][0]), max(last, replaced[-1][1])
        spans[start:end] = [(first, last)]
