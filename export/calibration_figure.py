"""A calibration as a picture: where scores lie and what they are worth, and which errors a threshold trades."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cmnas_edge.calibration import PAIRS, Calibration, Pair
from cmnas_edge.calibration.fit import Scores
from cmnas_edge.errors import unwritable

__all__ = ["draw_figure"]

F64 = npt.NDArray[np.float64]
_INK, _ONE, _TWO, _BAND = "#333333", "#3a8f5c", "#b0554a", "#f0e2b6"
_TITLES: Final[Mapping[Pair, str]] = {
    "visible-visible": "visible and visible", "infrared-infrared": "infrared and infrared",
    "visible-infrared": "visible and infrared"}


def draw_figure(path: Path, found: Calibration, scores: Mapping[Pair, Scores], title: str) -> None:
    """Write a PNG: above, histograms with the probability over them; below, error rates of every threshold (DET).

    Args:
        path: To write; a half-written picture never lies there.
        found: The calibration.
        scores: What it was found on.
        title: Says what and on whom.

    Raises:
        ConfigError: It cannot be written.
        DiskFull: There is no room.
    """
    figure = Figure(figsize=(13, 7.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", color=_INK)
    rows = figure.subplots(2, 3)
    for column, name in enumerate(PAIRS):
        for axes in rows[:, column]:
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(colors=_INK, labelsize=8)
        _histogram(rows[0, column], found, name, first=column == 0, last=column == len(PAIRS) - 1)
        _errors(rows[1, column], found, name, scores[name], first=column == 0)
    part = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(part, format="png", metadata={"Software": None})
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(path, "a picture", error, "name another --picture", kind="a file") from error


def _histogram(axes: Any, found: Calibration, name: Pair, *, first: bool, last: bool) -> None:
    scale, threshold = found.scales[name], found.thresholds[name].score
    at = np.linspace(-0.995, 0.995, 200)
    for counts, colour, label in ((scale.impostor, _TWO, "two people"), (scale.genuine, _ONE, "one person")):
        full = counts.full()
        axes.fill_between(at, full / max(1, full.sum()), color=colour, alpha=0.55, linewidth=0, label=label, step="mid")
    axes.axvspan(scale.unsure_from, threshold, color=_BAND, zorder=0, label="unsure")
    axes.axvline(threshold, color=_INK, linewidth=1)
    axes.set(xlim=(-0.4, 1.0), ylim=(0, None), xlabel="cosine")
    axes.set_title(f"{_TITLES[name]}: same from {threshold:.3f}", fontsize=11, color=_INK)
    if first:
        axes.set_ylabel("share of pairs in a hundredth")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    chance = axes.twinx()
    chance.spines[["top"]].set_visible(False)
    fine = np.linspace(-0.4, 1.0, 400)
    chance.plot(fine, found.probabilities(name, fine), color="#4059ad", linewidth=1.4)
    chance.set_ylim(0, 1)
    chance.tick_params(colors="#4059ad", labelsize=8)
    if last:
        chance.set_ylabel(f"probability of one person, prior {found.prior:g}", color="#4059ad")


def _errors(axes: Any, found: Calibration, name: Pair, scores: Scores, *, first: bool) -> None:
    cuts = np.unique(np.quantile(scores.impostor, 1 - np.geomspace(1 / len(scores.impostor), 1, 400)))
    false = 1 - np.searchsorted(np.sort(scores.impostor), cuts) / len(scores.impostor)
    missed = np.searchsorted(np.sort(scores.genuine), cuts) / len(scores.genuine)
    axes.plot(false, missed, color=_INK, linewidth=1.4)
    chosen = found.thresholds[name].false_match_rate
    for point in found.scales[name].points:
        low, high = point.false_non_match_between
        colour = _ONE if point.false_match_rate == chosen else "#888888"
        axes.plot([point.false_match_rate] * 2, [low, high], color=colour, linewidth=3, alpha=0.5)
        axes.plot(point.false_match_rate, point.false_non_match_rate, "o", color=colour, markersize=5)
        axes.annotate(f"{point.score:.3f}", (point.false_match_rate, point.false_non_match_rate), xytext=(6, 3),
                      textcoords="offset points", fontsize=8, color=_INK)
    axes.set_xscale("log")
    axes.set(xlim=(5e-5, 1), ylim=(0, 1), xlabel="strangers called the same (false match rate)")
    axes.grid(color="#e6e6e6", linewidth=0.6)
    if first:
        axes.set_ylabel("one person missed (false non-match rate)")
