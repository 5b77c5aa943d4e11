"""What came of a plan: the lines of its table, over splits and seeds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from cmnas_edge.errors import ConfigError
from train.protocols.rows import Row, over_models
from train.reproduce.plan import Plan, Scheme

__all__ = ["figures"]


def figures(what: Plan) -> list[Row]:
    """What came of everything that is done: the lines of each scheme, over its splits, then over its seeds.

    Raises:
        ConfigError: Figures of a job cannot be read, or were made by other protocols than those of the rest.
    """
    found: list[Row] = []
    for scheme in dict.fromkeys(work.scheme for work in what.work):
        by_seed: dict[int, list[list[Row]]] = {}
        for work in what.work:
            if work.scheme == scheme and (work.folder / "figures.json").exists():
                by_seed.setdefault(work.seed, []).append(_figures(work.folder / "figures.json", scheme))
        if not by_seed:
            continue
        split = any(work.split for work in what.work)
        try:
            if split and len({len(reports) for reports in by_seed.values()}) == 1:
                seeds = [over_models(reports, "splits") for reports in by_seed.values()]
                found += over_models(seeds, "seeds")
            else:  # a seed that lacks splits would count as much as one that has all of them
                models = [report for reports in by_seed.values() for report in reports]
                found += over_models(models, "models" if split else "seeds")
        except ValueError as error:
            raise ConfigError(f"{what.folder}: {error}; delete the evaluate.done of those that differ, and give the "
                              "same command again") from error
    return found


def _figures(path: Path, scheme: Scheme) -> list[Row]:
    try:
        return [replace(Row.from_json(row), system=scheme) for row in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path}: expected figures as python -m train evaluate keeps them, found others; delete it "
                          "and the evaluate.done beside it, and give the same command again") from error
