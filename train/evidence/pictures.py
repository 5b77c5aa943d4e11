"""Pictures of the evidence, from the records alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.evidence.plan import Search, Work
from train.evidence.records import Records
from train.evidence.tables import ASKED, rows

__all__ = ["ALL"]

_INK, _POINT, _OTHER, _PALE = "#333333", "#5b5bd6", "#d9822b", "#b8b8b8"


def _figure(width: float, height: float, count: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - half a second that only pictures need

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = figure.subplots(1, count, sharey=True)
    for each in np.atleast_1d(axes):
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(colors=_INK)
    return figure, axes


def _sites(works: Sequence[Work], records: Records, path: Path) -> bool:
    found = rows(works, records, "sites")
    if len(found) < 2:
        return False
    figure, axes = _figure(8, 0.32 * len(found) + 1)
    for height, row in enumerate(found):
        values = [one["pairs"][ASKED]["mean_ap"] for one in row.records]
        axes.plot(values, [height] * len(values), "o", color=_POINT if row.seeds > 1 else _PALE, markersize=6)
        if row.seeds > 1:
            axes.plot([np.mean(values)] * 2, [height - 0.3, height + 0.3], color=_INK, linewidth=1.5)
    axes.set_yticks(range(len(found)), [row.label for row in found])
    axes.invert_yaxis()
    axes.set_xlabel("infrared -> visible mAP, %: a dot per seed, a line at their mean")
    figure.savefig(path)
    return True


def _near_the_best(works: Sequence[Work], records: Records, path: Path) -> bool:
    found, search = rows(works, records, "near the best"), records.get("search of five groups")
    if len(found) < 3 or search is None:
        return False
    figure, axes = _figure(6.5, 5)
    x = [search["scores"][row.label] for row in found]
    y = [row.mean(ASKED, "mean_ap") for row in found]
    axes.plot(x, y, "o", color=_POINT)
    for at, (right, up) in enumerate(zip(x, y, strict=True)):
        axes.annotate(found[at].label, (right, up), fontsize=6.5, color=_INK, xytext=(4, 2),
                      textcoords="offset points")
    axes.set_xlabel("mAP inside the supernet, on validation people, %")
    axes.set_ylabel("mAP trained on its own, %")
    axes.set_title("1 where conv1, conv2, conv3, conv4, tail are split", loc="left", fontsize=9)
    figure.savefig(path)
    return True


def _decisions(works: Sequence[Work], records: Records, path: Path) -> bool:
    names = [work.name for work in works if isinstance(work, Search) and work.level == "site" and work.name in records]
    if not names:
        return False
    sites = list(records[names[0]]["probabilities"])
    grid = np.array([[records[name]["probabilities"][site] for site in sites] for name in names])
    figure, axes = _figure(12, 0.4 * len(names) + 1.8)
    drawn = axes.imshow(grid, aspect="auto", cmap="PuOr_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks(range(len(names)), names)
    stages = [site.partition(".")[0] for site in sites]
    starts = [at for at, stage in enumerate(stages) if at == 0 or stages[at - 1] != stage]
    axes.set_xticks(starts, [stages[at] for at in starts], ha="left", rotation=-30, rotation_mode="anchor")
    for at in starts[1:]:
        axes.axvline(at - 0.5, color="white", linewidth=2)
    figure.colorbar(drawn, ax=axes, label="probability of a split", fraction=0.03, pad=0.01)
    figure.savefig(path)
    return True


def _gates(works: Sequence[Work], records: Records, path: Path) -> bool:  # noqa: ARG001 - one signature
    found = (records.get("omni-scale/released") or {}).get("gates")
    if not found:
        return False
    blocks = list(next(iter(found.values())))
    figure, axes = _figure(13, 3, len(blocks))
    axes = np.atleast_1d(axes)
    for axis, block in zip(axes, blocks, strict=True):
        for name, colour in zip(found, (_INK, _POINT, _OTHER, _PALE), strict=True):
            values = found[name][block]
            axis.plot([2 * t + 3 for t in range(len(values))], values, "o-", color=colour, label=name, markersize=4)
        axis.set_title(block, loc="left", fontsize=9)
        axis.set_xticks([3, 5, 7, 9])
    axes[0].set_ylabel("mean gate weight")
    axes[0].set_xlabel("pixels a stream sees")
    axes[-1].legend(frameon=False, fontsize=8)
    figure.savefig(path)
    return True


def _sizes(works: Sequence[Work], records: Records, path: Path) -> bool:
    found = rows(works, records, "sizes")
    whole = [row for row in rows(works, records, "sites") if row.label == "split"]
    if not found or not whole:
        return False
    points = [(int(row.records[0]["people"]), row) for row in (*found, *whole)]
    figure, axes = _figure(6, 3.6)
    axes.plot([n for n, _ in points], [row.mean(ASKED, "mean_ap") for _, row in points], "o-", color=_POINT,
              label="people it never met")
    axes.plot([n for n, _ in points],
              [np.mean([one["met"][ASKED]["mean_ap"] for one in row.records]) for _, row in points], "o-",
              color=_OTHER, label="people of its training set")
    axes.set_xlabel("training identities")
    axes.set_ylabel("infrared -> visible mAP, %")
    axes.legend(frameon=False)
    figure.savefig(path)
    return True


ALL: Mapping[str, Callable[[Sequence[Work], Records, Path], bool]] = {
    "sites.png": _sites, "near_the_best.png": _near_the_best, "decisions.png": _decisions, "gates.png": _gates,
    "sizes.png": _sizes}
"""Each draws into a path, or says False where there is too little to draw."""
