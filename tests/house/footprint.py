"""What a camera carries: packages and megabytes, measured in the environment this runs in.

    python tests/house/footprint.py            # one table row, to put in README.md

A package counts if ``pip install cmnas-edge`` would bring it; its size is that of its files on
disk, byte code left out, in megabytes of a million bytes.
"""

from __future__ import annotations

import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement


class Footprint(NamedTuple):
    """Packages and their size; OpenCV's share apart, since it is about half."""

    packages: tuple[str, ...]
    megabytes: float
    opencv_megabytes: float


def measure(name: str = "cmnas-edge") -> Footprint:
    """Walk the installed requirements of a package, extras left out."""
    sizes: dict[str, float] = {}
    waiting = [name]
    while waiting:
        dist = distribution(waiting.pop())
        key = dist.metadata["Name"].lower().replace("_", "-")
        if key in sizes:
            continue
        files = [Path(str(dist.locate_file(f))) for f in dist.files or [] if f.suffix != ".pyc"]
        sizes[key] = sum(path.stat().st_size for path in files if path.is_file()) / 1e6
        wanted = [Requirement(text) for text in dist.requires or []]
        waiting += [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    del sizes[name]  # an editable install lists no files; the house itself is small
    opencv = sum(size for key, size in sizes.items() if key.startswith("opencv"))
    return Footprint(tuple(sorted(sizes)), sum(sizes.values()), opencv)


def row(found: Footprint) -> str:
    """One line of README's table."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (f"| {version} | {len(found.packages)} | {found.megabytes:.0f} | {found.opencv_megabytes:.0f} | "
            f"{', '.join(found.packages)} |")


if __name__ == "__main__":
    print(row(measure()))  # noqa: T201
