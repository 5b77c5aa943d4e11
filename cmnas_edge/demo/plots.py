"""One run as a picture: who was seen when and by which modality, how right the links are, what was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cmnas_edge.demo.play import Played

__all__ = ["draw"]

_COLOUR = {"visible": "#d9822b", "infrared": "#5b5bd6"}
_INK, _GOOD, _BAD, _LOST = "#333333", "#3a8f5c", "#c0392b", "#b8b8b8"


def draw(played: Played, path: Path) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(12, 8), dpi=110, layout="constrained")
    lanes, links, sent = figure.subplot_mosaic([["lanes", "lanes"], ["links", "bytes"]],
                                               height_ratios=[2.2, 1]).values()
    for axes in (lanes, links, sent):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=_INK)
    _lanes(lanes, played)
    _links(links, played)
    _bytes(sent, played)
    figure.savefig(path)


def _lanes(axes: Any, played: Played) -> None:
    """One row per person, one bar per tracklet, the collector's identity number on it."""
    spans: dict[tuple[str, int], list[float]] = {}
    first: dict[tuple[str, int], dict[str, Any]] = {}
    for s in played.sightings:
        key = (s["camera"], s["tracklet"])
        first.setdefault(key, s)
        spans.setdefault(key, []).extend((s["seen_from"], s["seen_at"]))
    if not spans:
        axes.set_title("nobody was seen", loc="left")
        return
    known = bool(played.persons)
    start = min(min(times) for times in spans.values())
    owner = {key: played.persons.get(key, -1) if known else s["identity"] for key, s in first.items()}
    rows = {who: row for row, who in enumerate(sorted(set(owner.values())))}
    for key, times in spans.items():
        left, width = min(times) - start, max(max(times) - min(times), 0.8)
        colour = _COLOUR[first[key]["modality"]]
        axes.barh(rows[owner[key]], width, left=left, height=0.62, color=colour, edgecolor="white")
        label = f"{first[key]['identity']}" if known else key[0]
        axes.text(left + width / 2, rows[owner[key]], label, ha="center", va="center", color="white", fontsize=8)
    names = {-1: "nobody"}
    axes.set_yticks(list(rows.values()), [names.get(who, f"person {who}" if known else f"identity {who}")
                                          for who in rows])
    axes.invert_yaxis()
    axes.set_xlabel("seconds of footage")
    for modality, colour in _COLOUR.items():
        axes.barh(0, 0, color=colour, label=modality)
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    axes.set_title("Who was seen when; the number is the identity the collector gave" if known
                   else "Probable people, as the collector linked them", loc="left")


def _links(axes: Any, played: Played) -> None:
    report = played.report
    if report.links is None or report.cross_modality is None:
        axes.set_title("Links: no ground truth for this footage", loc="left")
        axes.set_axis_off()
        return
    all_pairs, across = report.links, report.cross_modality
    for row, counts in enumerate([(all_pairs.right, all_pairs.wrong, all_pairs.missed),
                                  (across.right, across.wrong, across.missed)]):
        left = 0
        for colour, count in zip((_GOOD, _BAD, _LOST), counts, strict=True):
            axes.barh(row, count, left=left, color=colour, height=0.6)
            if count:
                axes.text(left + count / 2, row, str(count), ha="center", va="center", color="white", fontsize=9)
            left += count
    axes.set_yticks([0, 1], ["all pairs", "across\nmodalities"])
    axes.invert_yaxis()
    for name, colour in (("right", _GOOD), ("wrong", _BAD), ("missed", _LOST)):
        axes.barh(0, 0, color=colour, label=name)
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    axes.set_title("Pairs of tracklets", loc="left")


def _bytes(axes: Any, played: Played) -> None:
    report = played.report
    bars = [("sent", report.sent_bytes, _GOOD), ("raw crops", report.footage.raw_crop_bytes, _LOST)]
    if report.footage.h264_bytes is not None:
        bars.append(("H.264", report.footage.h264_bytes, _LOST))
    for row, (_, size, colour) in enumerate(bars):
        axes.barh(row, max(size, 1), color=colour, height=0.6)
        axes.text(max(size, 1), row, f" {size:,}", va="center", color=_INK, fontsize=9)
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=12 * max(1, *(size for _, size, _ in bars)))
    axes.set_title(f"Bytes; of those sent, {report.pixel_bytes} unexplained", loc="left")
