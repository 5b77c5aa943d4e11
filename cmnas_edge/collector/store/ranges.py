"""Numbers of records, by device and spool, as ranges: what is gone, without saying when or what it was."""

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

    def __len__(self) -> int:
        """How many ranges there are."""
        return sum(map(len, self._spans.values()))

    def has(self, device: str, spool: str, sequence: int) -> bool:
        """Say whether a record is in it."""
        spans = self._spans.get((device, spool))
        if not spans:
            return False
        at = bisect.bisect_right(spans, (sequence, 2**63)) - 1
        return at >= 0 and spans[at][1] >= sequence

    def add(self, device: str, spool: str, first: int, last: int) -> tuple[list[Range], Range]:
        """Take records ``first`` to ``last`` of a spool.

        Returns:
            The ranges it takes the place of, and the one that stands for them and it.
        """
        spans = self._spans.setdefault((device, spool), [])
        start = bisect.bisect_left(spans, first - 1, key=lambda span: span[1])
        end = bisect.bisect_right(spans, last + 1, key=lambda span: span[0])
        replaced = spans[start:end]
        if replaced:
            first, last = min(first, replaced[0][0]), max(last, replaced[-1][1])
        spans[start:end] = [(first, last)]
        return [(device, spool, *span) for span in replaced], (device, spool, first, last)
