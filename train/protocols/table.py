"""Rows as tables: Markdown for a page, LaTeX for a paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from train.protocols.rows import Row

__all__ = ["latex", "markdown"]

_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "search": {"rank1": "rank-1", "rank10": "rank-10", "rank20": "rank-20", "mean_ap": "mAP", "mean_inp": "mINP"},
    "verification": {"eer": "EER"},
}
_TITLES = {"sysu": "SYSU-MM01", "regdb": "RegDB", "llcm": "LLCM", "market": "Market-1501", "drawn": "drawn people",
           "folder": "own pictures"}
_KINDS = {"search": "who is it?", "verification": "is it the same person?"}
_NONE = "\N{EN DASH}"

# In LaTeX each of these means something else, or nothing.
_LATEX = str.maketrans({"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
                        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
                        "±": r"$\pm$", _NONE: "--"})


def markdown(rows: Sequence[Row]) -> str:
    """A table for each dataset and question; ours and published rows in the order given.

    Figures are percent: mean ± deviation over what the last but one column counts, or 95 % intervals
    in brackets. No figure is a dash.
    """
    tables = []
    for title, header, lines in _tables(rows):
        cells = [header, ["---"] * len(header), *[[cell.replace("|", r"\|") for cell in line] for line in lines]]
        tables.append(f"**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in cells))
    return "\n\n".join(tables) + "\n"


def latex(rows: Sequence[Row]) -> str:
    """The same tables, each a ``table`` with a caption; needs no package."""
    tables = []
    for title, header, lines in _tables(rows):
        body = [" & ".join(cell.translate(_LATEX) for cell in line) + r" \\" for line in (header, *lines)]
        tables.append("\n".join([
            r"\begin{table}", rf"\caption{{{title.translate(_LATEX)}}}",
            rf"\begin{{tabular}}{{ll{'r' * (len(header) - 4)}ll}}", r"\hline", body[0], r"\hline", *body[1:], r"\hline",
            r"\end{tabular}", r"\end{table}"]))
    return "\n\n".join(tables) + "\n"


def _tables(rows: Sequence[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, header and lines of each table."""
    found = []
    for dataset, kind in dict.fromkeys((row.dataset, row.kind) for row in rows):
        some = [row for row in rows if (row.dataset, row.kind) == (dataset, kind)]
        names = list(dict.fromkeys(name for row in some for name in (*row.figures, *row.interval)))
        known = _COLUMNS[kind]
        names.sort(key=lambda name: (list(known).index(name) if name in known else len(known)))
        header = ["setting", "system", *(known.get(name, _heading(name)) for name in names), "mean over", "source"]
        lines = [[row.setting, _system(row), *(_figure(row, name) for name in names), row.over or _NONE,
                  row.source or "this run"] for row in some]
        found.append((f"{_TITLES.get(dataset, dataset)}: {_KINDS[kind]}", header, lines))
    return found


def _heading(name: str) -> str:
    """A true match rate says in its name at which false match rate: ``tmr@0.01``."""
    return name.replace("tmr@", "TMR at FMR ")


def _system(row: Row) -> str:
    extra = ", ".join(filter(None, (row.variant, row.note)))
    return f"{row.system} ({extra})" if extra else row.system


def _figure(row: Row, name: str) -> str:
    number: Callable[[float], str] = "{:+.2f}".format if row.gain else "{:.2f}".format
    interval = row.interval.get(name)
    between = f"{number(interval[0])}{_NONE}{number(interval[1])}" if interval else ""
    if name not in row.figures:
        return between or _NONE
    text = number(row.figures[name])
    if name in row.deviation:
        text += f" ± {number(row.deviation[name])}"
    return f"{text} [{between}]" if between else text
