"""Rows of the evidence's tables: runs that differ by their seed alone, their means, and what tells two rows apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from train.evidence.plan import Fit, Work
from train.evidence.records import Records, unpacked
from train.networks.cost import bytes_of
from train.networks.space import Arch
from train.protocols.bootstrap import compare
from train.protocols.search import Queries

__all__ = ["ASKED", "Difference", "Row", "difference", "rows", "verdict"]

ASKED = "infrared-visible"


class Row(NamedTuple):
    """Runs that differ by their seed alone.

    Attributes:
        label: What they are called in a table.
        records: One per seed, at least one.
    """

    label: str
    records: tuple[dict[str, Any], ...]

    @property
    def seeds(self) -> int:
        """How many runs."""
        return len(self.records)

    @property
    def archs(self) -> list[Arch]:
        """What was trained."""
        return [Arch.from_json(json.dumps(row["arch"])) for row in self.records]

    @property
    def split(self) -> str:
        """How many sites are split; a range where seeds differ."""
        counts = sorted(len(row["split"]) for row in self.records)
        return f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"

    @property
    def kilobytes(self) -> float:
        """Of the two folded graphs, equal tensors once; a mean over seeds."""
        return float(np.mean([bytes_of(arch).total for arch in self.archs])) / 1000

    def mean(self, pair: str, figure: str) -> float:
        """A figure in percent, averaged over seeds."""
        return float(np.mean(self._values(pair, figure)))

    def cell(self, pair: str, figure: str) -> str:
        """The mean, and the deviation over seeds where there are several; a dash where people have no such pair."""
        if pair not in self.records[0]["pairs"]:
            return "-"      # RegDB has one camera a modality
        values = self._values(pair, figure)
        return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")

    def queries(self) -> Queries:
        """How each query of `ASKED` fared, averaged over seeds; people are numbered as they come."""
        rank1, precision = (np.mean([unpacked(row["queries"][name]) for row in self.records], 0) / 255
                            for name in ("rank1", "average_precision"))
        return Queries(np.arange(len(rank1)) // self.records[0]["queries"]["each"], rank1, precision)

    def _values(self, pair: str, figure: str) -> list[float]:
        return [row["pairs"][pair][figure] for row in self.records]


class Difference(NamedTuple):
    """One row less another, in points of mAP, with a 95 % interval."""

    points: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """As a table shows it."""
        return f"{self.points:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def _paired(one: Row, other: Row) -> tuple[Row, Row]:
    """Both rows with the seeds that both have, in order."""
    shared = sorted({row["seed"] for row in one.records} & {row["seed"] for row in other.records})
    if not shared:
        raise ValueError(f"expected {one.label!r} and {other.label!r} to have a seed in common, got none")
    found = [Row(row.label, tuple(next(r for r in row.records if r["seed"] == seed) for seed in shared))
             for row in (one, other)]
    return found[0], found[1]


def _beyond_seeds(one: Row, other: Row) -> bool:
    """Whether a t-test, paired by seed and two-sided, tells them apart at 5 %; never with a single seed."""
    from scipy.stats import t  # noqa: PLC0415 - a second that only a verdict needs

    if one.seeds < 2:
        return False
    apart = [a["pairs"][ASKED]["mean_ap"] - b["pairs"][ASKED]["mean_ap"]
             for a, b in zip(one.records, other.records, strict=True)]
    error = float(np.std(apart, ddof=1)) / np.sqrt(len(apart))
    return bool(abs(float(np.mean(apart))) > t.ppf(0.975, len(apart) - 1) * error)


def rows(works: Sequence[Work], records: Records, question: str, *, seeds: Sequence[int] | None = None) -> list[Row]:
    """What has been made for a question, in the plan's order.

    Args:
        works: The plan.
        records: What has been made.
        question: Which.
        seeds: Those to take; all if left out.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for work in works:
        if isinstance(work, Fit) and work.question == question and work.name in records and (
                seeds is None or work.seed in seeds):
            found.setdefault(work.label, []).append(records[work.name])
    return [Row(label, tuple(some)) for label, some in found.items()]


def difference(one: Row, other: Row) -> Difference:
    """By how much the first finds infrared people better, over the seeds that both have.

    Raises:
        ValueError: They have no seed in common.
    """
    a, b = _paired(one, other)
    found = compare(a.queries(), b.queries(), by="identity")["mean_ap"]
    return Difference(100 * found.value, 100 * found.low, 100 * found.high)


def verdict(one: Row, other: Row) -> str:
    """The difference in a sentence that says no more than the numbers do."""
    apart = difference(one, other)
    a, b = _paired(one, other)
    seeds = f"{a.seeds} seed{'s' if a.seeds > 1 else ''}"
    if apart.low <= 0 <= apart.high:
        says = "no difference beyond chance of the people asked for"
    elif not _beyond_seeds(a, b):
        says = "beyond chance of the people asked for, but not beyond what seeds differ by"
    else:
        says = "better, beyond chance of people and seeds" if apart.points > 0 else \
            "worse, beyond chance of people and seeds"
    return f"{apart.text} points of mAP, {seeds}: {says}."
