"""A line of a table: who was searched for how, by which system, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from train.protocols.search import Found, Queries, per_query
from train.protocols.verification import Verification

__all__ = ["DRAWN", "EUCLIDEAN", "RERANKED", "RERANKED_APART", "Row", "of_searches", "of_verification", "over_models"]

DRAWN = "drawn people"
"""What a line notes whose people are made up, though they lie in a published dataset's layout."""

EUCLIDEAN = "Euclidean"
"""What a line says whose embeddings, as they come, are compared by their distance instead of the angle."""


RERANKED = "re-ranked"
"""What a line says whose ranking is refined by neighbours, as in print: nothing is hidden from a neighbourhood."""

RERANKED_APART = "re-ranked, hidden cameras apart"
"""The same where what a query's camera must not see is no neighbour either; published figures do without that."""


@dataclass(frozen=True)
class Row:
    """Figures of one system in one setting.

    Attributes:
        dataset: As in ``report.PROTOCOLS``.
        setting: Such as ``"all, single-shot"`` or ``"infrared-visible"``; what published figures are found by.
        system: Whose figures these are.
        figures: In percent, by name.
        variant: What is not the plain protocol, such as ``"re-ranked"``; empty if nothing.
        kind: What was asked: who among many, or whether two are one.
        deviation: Sample standard deviation over what ``over`` counts, in percent.
        interval: 95 % lie between these; or a published range.
        over: What the figures are the mean of, such as ``"10 galleries"``.
        source: Where published figures stand; empty if they are our own.
        note: What a reader has to know.
        gain: Figures are what the system claims to be better by.
        queries: The same query by query, where that makes sense; not part of ``to_json``.
    """

    dataset: str
    setting: str
    system: str
    figures: Mapping[str, float]
    variant: str = ""
    kind: Literal["search", "verification"] = "search"
    deviation: Mapping[str, float] = field(default_factory=dict)
    interval: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    over: str = ""
    source: str = ""
    note: str = ""
    gain: bool = False
    queries: Queries | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Everything but the queries, as JSON has it; what is empty is left out."""
        written = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "queries"}
        written["interval"] = {name: list(ends) for name, ends in self.interval.items()}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in written.items()
                if value or name == "figures"}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Row:
        """The row that was written.

        Raises:
            TypeError: A field is missing, or unknown.
        """
        return replace(cls(**written), interval={name: (float(low), float(high)) for name, (low, high)
                                                 in written.get("interval", {}).items()})


def of_searches(found: Sequence[Found], dataset: str, setting: str, system: str, *, variant: str = "",
                over: str = "galleries") -> Row:
    """The mean of searches, with the deviation where there are several.

    Args:
        found: At least one.
        dataset: As for ``Row``; so are ``setting``, ``system`` and ``variant``.
        setting: How was searched.
        system: What was searched with.
        variant: What is not the plain protocol.
        over: What differs between the searches, in the plural.
    """
    shares = {name: 100 * np.array([one.figures[name] for one in found]) for name in found[0].figures}
    comparable = all(np.array_equal(one.queries.identity, found[0].queries.identity) for one in found)
    return Row(dataset, setting, system, _mean(shares), variant, deviation=_deviation(shares),
               over=f"{len(found)} {over}" if len(found) > 1 else "", queries=per_query(found) if comparable else None)


def of_verification(found: Verification, dataset: str, setting: str, system: str, *, variant: str = "") -> Row:
    """Error rates as a row, with their intervals; arguments as for ``of_searches``."""
    left_out = f", {found.left_out:,} pictures left out" if found.left_out else ""
    return Row(dataset, setting, system, {name: 100 * value for name, value in found.figures.items()}, variant,
               kind="verification",
               interval={name: (100 * low, 100 * high) for name, (low, high) in found.interval.items()},
               over=f"{found.people:,} people, {found.genuine:,} genuine and {found.impostor:,} impostor pairs"
                    f"{left_out}")


def over_models(reports: Sequence[Sequence[Row]], over: str) -> list[Row]:
    """One report from those of several models: RegDB's ten splits, or seeds.

    Means are taken of each model's means, and the deviation is that between models; draws of
    galleries within a model are averaged away.

    Args:
        reports: What ``report`` gave for each model, all with the same rows.
        over: What differs between models, in the plural: "splits", "seeds".

    Raises:
        ValueError: There is none, or rows differ.
    """
    if not reports:
        raise ValueError(f"expected reports of {over} to average, got none")
    keys = [[(row.dataset, row.setting, row.system, row.variant, row.kind, tuple(row.figures)) for row in rows]
            for rows in reports]
    for other in keys:
        if other != keys[0]:
            odd = next(iter(set(other) ^ set(keys[0])), "their order")
            raise ValueError(f"{over}: expected the same rows in each report, got a difference in {odd}")
    merged = []
    for rows in zip(*reports, strict=True):
        values = {name: np.array([row.figures[name] for row in rows]) for name in rows[0].figures}
        each = f", of {rows[0].over.removesuffix(' each')} each" if rows[0].over else ""
        # Intervals are of one model's people and mean nothing for several.
        merged.append(replace(rows[0], figures=_mean(values), deviation=_deviation(values), interval={}, queries=None,
                              over=f"{len(rows)} {over}{each}") if len(rows) > 1 else rows[0])
    return merged


def _mean(values: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, float]:
    return {name: float(some.mean()) for name, some in values.items()}


def _deviation(values: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, float]:
    return {name: float(some.std(ddof=1)) for name, some in values.items() if len(some) > 1}
