"""Results of several seeds or splits as a table, in Markdown and in LaTeX, others' rows beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from train.published import COLUMNS, PUBLISHED, Line

__all__ = ["latex", "markdown"]

Results = Mapping[tuple[str, str, str], Sequence[Line]]
"""By who, protocol and note: one line for each seed or split."""


def markdown(results: Results) -> str:
    """A table for each protocol: mean and standard deviation over runs; then published rows."""
    blocks = []
    for protocol, rows in _rows(results).items():
        head = ["method", *COLUMNS.values(), "runs"]
        lines = [f"**{protocol}**", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        blocks.append("\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]))
    return "\n\n".join(blocks) + "\n"


def latex(results: Results) -> str:
    """The same as ``tabular`` environments, each under a comment with its protocol."""
    blocks = []
    for protocol, rows in _rows(results).items():
        head = " & ".join(["method", *COLUMNS.values(), "runs"])
        body = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in rows]
        blocks.append("\n".join([f"% {protocol}", r"\begin{tabular}{l" + "r" * (len(COLUMNS) + 1) + "}", r"\hline",
                                 head + r" \\", r"\hline", *body, r"\hline", r"\end{tabular}"]))
    return "\n\n".join(blocks) + "\n"


def _rows(results: Results) -> dict[str, list[list[str]]]:
    """Cells by protocol: ours as they come, then the published ones."""
    found: dict[str, list[list[str]]] = {}
    for (who, protocol, note), lines in results.items():
        cells = [_cell([line.figures[key] for line in lines if key in line.figures]) for key in COLUMNS]
        found.setdefault(protocol, []).append([f"ours, {who}{f', {note}' if note else ''}", *cells, str(len(lines))])
    for protocol, rows in found.items():
        rows += [[row.who, *row.cells(), "published"] for row in PUBLISHED.get(protocol, ())]
    return found


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def _escaped(text: str) -> str:
    for mark in "&%_#":
        text = text.replace(mark, "\\" + mark)
    return text.replace("±", r"$\pm$")
