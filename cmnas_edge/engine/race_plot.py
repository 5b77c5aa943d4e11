"""A race as a picture: crops a second by batch size, for each candidate that was timed."""

from __future__ import annotations

from pathlib import Path

from cmnas_edge.engine.results import Race

__all__ = ["draw_race"]

_WINNER, _OTHERS = "#1b7f4d", ("#9aa7b4", "#7f8d9b", "#647382")


def draw_race(found: Race, path: Path) -> None:
    """Draw a race into a PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not here; nothing but the picture needs it.
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    rows = sorted((row for row in found.rows if row.ms), key=lambda row: -row.ms_per_crop)
    figure = Figure(figsize=(8, 1.6 + 0.28 * len(rows) * len(found.batches)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(found.batches)
    for place, row in enumerate(rows):
        for number, batch in enumerate(found.batches):
            rate = 1000 * batch / row.ms[batch]
            colour = _WINNER if row.entrant == found.winner else _OTHERS[number % len(_OTHERS)]
            y = place + (len(found.batches) / 2 - 0.5 - number) * height
            axes.barh(y, rate, height * 0.92, color=colour)
            axes.text(rate, y, f" {rate:.0f} at {batch}", va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [f"{row.entrant}\ncosine {row.cosine or 0:.5f}" for row in rows])
    axes.set_xlabel(f"crops a second, {found.threads} thread{'s' * (found.threads > 1)} (more is better; "
                    "number of crops at once)")
    axes.set_title(f"{found.name} on {found.machine.cpu}, {found.date}: {found.winner} wins", fontsize=9)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})
