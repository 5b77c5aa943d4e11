"""The pages, each what is its own inside one shell: head, the way to the others, the collector's state, and foot.

A page is an HTML file that begins with a comment of its title, its style and script, and where skipping leads. The
rest is its ``main``.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

__all__ = ["PAGES", "File", "files"]

# Where a page is, and what leads there; in this order.
PAGES = {"/": "People", "/site": "Site", "/search": "Search", "/calibration": "Calibration", "/health": "Health"}
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_ABOUT = re.compile(r"<!-- title: (?P<title>.+)\n"
                    r"     files: (?P<files>\w+)\n"
                    r"     skip: (?P<skip>#[\w-]+) (?P<skips>.+) -->\n")


class File(NamedTuple):
    """What is served at a path."""

    path: str
    kind: str
    content: bytes


def files() -> Iterator[File]:
    """Every file of the pages, whole."""
    folder = resources.files("cmnas_edge.collector.web") / "dashboard"
    shell = (folder / "shell.html").read_text("utf-8")
    for file in folder.iterdir():
        name, _, ending = file.name.rpartition(".")
        if file.name == "shell.html":
            continue
        if ending == "html":
            path = "/" if name == "people" else f"/{name}"
            yield File(path, _KINDS[".html"], _whole(shell, file.read_text("utf-8"), path).encode())
        else:
            yield File(f"/{file.name}", _KINDS[f".{ending}"], file.read_bytes())


def _whole(shell: str, text: str, path: str) -> str:
    about = _ABOUT.match(text)
    assert about is not None, f"{path}: expected it to begin with its title, files and where skipping leads"
    marks = {name: html.escape(value) for name, value in about.groupdict().items()}
    marks["main"] = text[about.end():].rstrip("\n")
    here = ' aria-current="page"'
    marks["pages"] = "\n    ".join(
        f'<a href="{to}"{here if to == path else ""}>{name}</a>' for to, name in PAGES.items())
    return re.sub(r"{{(\w+)}}", lambda mark: marks[mark[1]], shell)     # in one pass: what is put in holds no marks
