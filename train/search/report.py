"""What a search leaves behind for people: ``arch.json``, the decisions along the depth, worth against bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cmnas_edge.errors import ConfigError
from train.networks.space import Arch, Choice
from train.search.derive import Bytes

__all__ = ["Point", "arch_json", "draw_bytes", "draw_decisions"]

_COLOURS: Mapping[Choice, str] = {"shared": "#4c72b0", "split": "#dd8452", "split_statistics": "#55a868"}
_WORDS: Mapping[Choice, str] = {"shared": "shared", "split": "split", "split_statistics": "split statistics"}


class Point(NamedTuple):
    """An architecture derived from the supernet, and what it is worth there.

    Attributes:
        name: What it is.
        arch: The architecture.
        bytes: Distinct bytes of its two folded graphs.
        mean_ap: Percent, averaged over the pairs that cross modalities.
    """

    name: str
    arch: Arch
    bytes: int
    mean_ap: float


def arch_json(arch: Arch, probabilities: Mapping[str, Mapping[Choice, float]], weights: Bytes,
              found: Mapping[str, Any]) -> str:
    """An architecture as `Arch.from_json` reads it, with what the search knows about it under ``search``.

    Args:
        arch: What was decided.
        probabilities: Of each choice, for every site.
        weights: Bytes of the space.
        found: Scores and whatever else is to stand beside them.

    Returns:
        Lines of JSON. ``search.cmnas_line`` is the official config where the architecture has one.
    """
    try:
        line: dict[str, str] = {"cmnas_line": arch.cmnas_line()}
    except ConfigError as error:
        line = {"no_cmnas_line": str(error)}
    sites = [{"site": site, "choice": choice, "extra_bytes": weights.extra[site] if choice != "shared" else 0,
              "probabilities": {name: round(p, 6) for name, p in probabilities[site].items()}}
             for site, choice in arch.choices]
    about = {"bytes": weights.of(arch), "bytes_if_all_shared": weights.shared,
             "bytes_without_sharing_tensors": weights.apart, **line, **found, "sites": sites}
    return json.dumps({**json.loads(arch.to_json()), "search": about}, indent=1) + "\n"


def draw_decisions(path: Path, arch: Arch, probabilities: Mapping[str, Mapping[Choice, float]]) -> None:
    """A PNG with a bar for every site from input (left) to embedding: how likely each choice, and what was decided."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - --help stays quick
    from matplotlib.figure import Figure  # noqa: PLC0415

    sites = [site for site, _ in arch.choices]
    figure = Figure(figsize=(max(8.0, 0.16 * len(sites)), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    at, floor = range(len(sites)), [0.0] * len(sites)
    for choice in probabilities[sites[0]]:
        heights = [probabilities[site][choice] for site in sites]
        axes.bar(at, heights, bottom=floor, width=0.85, color=_COLOURS[choice], label=_WORDS[choice])
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    axes.scatter(at, [1.03] * len(sites), marker="s", s=12, c=[_COLOURS[choice] for _, choice in arch.choices],
                 clip_on=False, label="_decided")
    axes.set(xlim=(-0.8, len(sites) - 0.2), ylim=(0, 1.06), ylabel="probability",
             title=f"{arch.backbone}: what each norm became (squares), and how surely")
    axes.set_xticks(list(at), sites, rotation=90, fontsize=5)
    axes.axhline(0.5, color="black", linewidth=0.5, linestyle=":")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    _save(figure, path)


def draw_bytes(path: Path, points: Sequence[Point], weights: Bytes, supernet: float | None) -> None:
    """A PNG of worth against bytes for several architectures derived from one supernet.

    Args:
        path: To write.
        points: The architectures; the first one is the decided one.
        weights: Bytes of the space.
        supernet: mAP of the whole mix, in percent; None where the weights settled on the decided path, as the title
            then says, and the legend of the others, which are worth less with them than with their own.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    along = sorted(points, key=lambda point: point.bytes)
    apart = "_others" if supernet is not None else "others, with weights that settled on the decided one"
    axes.plot([p.bytes / 1e6 for p in along], [p.mean_ap for p in along], "o-", color="#4c72b0", markersize=4,
              label=apart)
    for p in along:
        axes.annotate(p.name, (p.bytes / 1e6, p.mean_ap), fontsize=6, xytext=(3, 3), textcoords="offset points")
    axes.plot(points[0].bytes / 1e6, points[0].mean_ap, "s", color="#dd8452", label="decided")
    if supernet is not None:
        axes.axhline(supernet, color="black", linewidth=0.6, linestyle=":", label="supernet, all choices mixed")
    axes.axvline(weights.apart / 1e6, color="#999999", linewidth=0.6, linestyle="--",
                 label="two graphs that share no tensor")
    axes.set(xlabel="distinct megabytes of both folded graphs", ylabel="mAP across modalities, %",
             title=f"{points[0].arch.backbone}: with the supernet's weights, "
                 f"{'settled on the decided path, ' if supernet is None else ''}statistics measured anew")
    axes.legend(fontsize=7)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    figure.savefig(part, dpi=150, format="png", metadata={"Software": None})
    part.replace(path)
