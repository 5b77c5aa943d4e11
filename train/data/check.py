"""``python -m train data check ROOT``: which dataset lies there, and whether it is what was published.

It reads every split, decodes every picture, and compares. Colour tells a modality that looks wrong: the measure,
and both thresholds, are the camera's own (`cmnas_edge.camera.spectrum`). An infrared picture has none, so one with a
chroma above 6 looks visible; a visible one with a chroma of at most 3 may be infrared, or a grey scene at night.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.settings import SpectrumSettings
from cmnas_edge.camera.spectrum import chroma
from cmnas_edge.errors import ConfigError
from cmnas_edge.progress import Progress
from train.data import contact
from train.data.datasets import DATASETS, drawn, recognise
from train.data.decoding import load, quietly
from train.data.layout import PARTS, Count, Dataset, readable
from train.data.pictures import Pictures

__all__ = ["Report", "add_arguments", "examine", "run"]

_COLOURED: Final = SpectrumSettings().visible_above
_GREY: Final = SpectrumSettings().infrared_below
_FEW: Final = 0.01  # share of infrared pictures with colour above which the dataset, not a picture, is wrong
_APART: Final = frozenset({"train", "validation", "test"})  # parts that share nobody and are everything together
_SHOWN: Final = 3  # examples in a sentence


@dataclass
class Report:
    """What a folder holds.

    Attributes:
        root: The folder.
        title: Of the dataset.
        drawn: Its people are drawn: in whatever number, so counts are told and not compared.
        counts: Numbers beside the published ones.
        wrong: What has to be put right, a sentence each.
        hints: What is worth a look, a sentence each.
        pictures: Every picture that the splits name, each once.
        suspects: Rows of those whose modality looks wrong, with the reason.
    """

    root: Path
    title: str
    drawn: bool
    counts: list[Count] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    pictures: Pictures | None = None
    suspects: list[tuple[int, str]] = field(default_factory=list)

    def text(self) -> str:
        """The report as lines."""
        people = "drawn people in the layout of " if self.drawn else ""
        lines = [f"{self.root}: {people}{self.title}"]
        for what, published, found in self.counts:
            told = "" if published is None or self.drawn else (
                "  as published" if found == published else f"  published: {published:,}")
            lines.append(f"  {what:<44} {found:>7,}{told}")
        lines += [f"wrong: {sentence}" for sentence in self.wrong] + [f"hint: {sentence}" for sentence in self.hints]
        n = 0 if self.pictures is None else len(self.pictures)
        lines.append(f"{n:,} pictures read, " + (f"{len(self.wrong)} wrong" if self.wrong else "nothing wrong"))
        return "\n".join(lines) + "\n"


class _Look(NamedTuple):
    """What one picture shows."""

    fault: str | None
    colour: float
    digest: bytes  # of the file; empty where it is no picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "datasets:\n" + "\n".join(
        f"  {dataset.title}: {dataset.tree}\n    ask: {dataset.ask}" for dataset in DATASETS.values())
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of the dataset")
    parser.add_argument("--sheet", type=Path, metavar="FILE",
                        help="write a PNG with some people under every camera, and what looks wrong")


def run(args: argparse.Namespace) -> int:
    """Check a folder and print what was found.

    Returns:
        0, or 78 if something is wrong.

    Raises:
        ConfigError: No dataset lies there, or the sheet cannot be written.
    """
    with Progress("pictures") as progress:
        report = examine(args.root, progress=progress)
    sys.stdout.write(report.text())
    if args.sheet is not None and report.pictures is not None:
        contact.write(args.sheet, report.pictures, report.suspects)
        sys.stdout.write(f"{args.sheet}: some people under every camera"
                         f"{', then what looks wrong' if report.suspects else ''}\n")
    return ConfigError.exit_code if report.wrong else 0


def examine(root: Path, *, progress: Callable[[int, int], None] | None = None) -> Report:
    """Look at everything in a dataset.

    Args:
        root: Its folder.
        progress: Called with (pictures decoded, all).

    Raises:
        ConfigError: No dataset lies there.
    """
    with readable(root):
        return _examined(root, progress)


def _examined(root: Path, progress: Callable[[int, int], None] | None) -> Report:
    dataset = DATASETS[recognise(root)]
    report = Report(root, dataset.title, drawn(root))
    splits = _splits(root, dataset, report)
    if not report.wrong:
        report.counts = dataset.counts(root)
        report.wrong += [f"{what}: expected {published:,}, as published, found {found:,}; is the archive whole?"
                         for what, published, found in report.counts
                         if published is not None and found != published and not report.drawn]
        report.wrong += dataset.faults(root)
    report.hints += _repeats(root)
    if splits:
        report.pictures = _everything(splits)
        _pictures(report, report.pictures, progress)
    return report


def _splits(root: Path, dataset: Dataset, report: Report) -> list[Pictures]:
    """Training and test sets of every trial, and who is on the wrong side of them."""
    sides: list[Pictures] = []
    for trial in range(1, dataset.trials + 1):
        named = f" of trial {trial}" if dataset.trials > 1 else ""
        found: dict[str, Pictures] = {}
        for part in (part for part in PARTS if part in _APART and part in dataset.parts):
            try:
                with readable(root):
                    found[part] = dataset.read(root, part, trial)
            except ConfigError as error:
                if str(error) not in report.wrong:
                    report.wrong.append(str(error))
        for (one, left), (other, right) in combinations(found.items(), 2):
            both = sorted(set(left.identity.tolist()) & set(right.identity.tolist()) - dataset.nobody)
            if both:
                report.wrong.append(f"{root}: expected nobody both in {one} and in {other}{named}, found "
                                    f"{_some(both)}; restore the split files")
        for name, some in found.items():
            report.hints += _one_sided(some, f"{name}{named}", dataset)
        sides += found.values()
    return sides


def _one_sided(some: Pictures, where: str, dataset: Dataset) -> list[str]:
    """People whom nobody can match across modalities, where there are two."""
    if not some.infrared.any():
        return []
    visible, infrared = (set(some.identity[some.infrared == band].tolist()) for band in (False, True))
    alone = sorted((visible ^ infrared) - dataset.nobody)
    sentence = (f"{where}: identities seen in one modality only: {_some(alone)}; batches leave them out, and as "
                "queries they have no match")
    return [sentence] if alone else []


def _repeats(root: Path) -> list[str]:
    """Split files in which lines repeat others."""
    hints = []
    for path in sorted([*root.glob("idx/*.txt"), *root.glob("exp/*.txt")]):
        if not path.is_file():  # a folder, a pipe, a link to nothing: where it is needed, the reader has told
            continue
        # Lists of people are one line with commas, lists of pictures a line each.
        separate = r"[,\n]" if path.name.endswith("_id.txt") else r"\n"
        lines = Counter(line.strip() for line in re.split(separate, path.read_text("utf-8-sig", "replace"))
                        if line.strip())
        again = sum(count - 1 for count in lines.values())
        if again:
            what, each = ("number", "person") if separate == r"[,\n]" else ("line", "picture")
            repeat = f"{what} repeats another" if again == 1 else f"{what}s repeat others"
            hints.append(f"{path}: {again} {repeat}; each {each} counts once")
    return hints


def _everything(sides: list[Pictures]) -> Pictures:
    """Every picture once, in the order in which it is met first."""
    rows: dict[str, tuple[str, np.int64, np.int64, np.bool_]] = {}
    for some in sides:
        for row in zip(some.paths, some.identity, some.camera, some.infrared, strict=True):
            rows.setdefault(row[0], row)
    paths, identity, camera, infrared = zip(*rows.values(), strict=True)
    return Pictures(sides[0].root, paths, np.array(identity, np.int64), np.array(camera, np.int64),
                    np.array(infrared, np.bool_))


def _pictures(report: Report, pictures: Pictures, progress: Callable[[int, int], None] | None) -> None:
    """Decode all of them, several at once."""
    quietly()
    looks: list[_Look] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            for look in pool.map(_look, (pictures.file(row) for row in range(len(pictures)))):
                looks.append(look)
                if progress is not None and (len(looks) % 64 == 0 or len(looks) == len(pictures)):
                    progress(len(looks), len(pictures))
        finally:
            pool.shutdown(cancel_futures=True)
    faults = [look.fault for look in looks if look.fault is not None]
    report.wrong += faults[:_SHOWN]
    if len(faults) > _SHOWN:
        report.wrong.append(f"{report.root}: expected {len(pictures):,} pictures, found {len(faults)} that cannot be "
                            f"decoded, the first {_SHOWN} of which are named above; extract the archive again")
    report.hints += _copies(pictures, [look.digest for look in looks])
    colour = np.array([look.colour for look in looks])
    coloured = np.flatnonzero(pictures.infrared & (colour > _COLOURED))
    grey = np.flatnonzero(~pictures.infrared & (colour <= _GREY))
    dark = np.flatnonzero(np.isnan(colour) & np.array([look.fault is None for look in looks]))

    def some(rows: npt.NDArray[np.intp]) -> str:
        return _some([pictures.paths[row] for row in rows])

    if len(coloured):
        found = f"infrared pictures with colour, chroma above {_COLOURED:g}: {some(coloured)}"
        if len(coloured) > _FEW * pictures.infrared.sum():
            report.wrong.append(f"{report.root}: expected no colour in infrared, found {found}; are the modalities "
                                "swapped?")
        else:
            report.hints.append(found)
    if len(grey):
        report.hints.append(f"visible pictures without colour, chroma at most {_GREY:g}: {some(grey)}; a camera that "
                            "had switched to infrared, or a grey scene")
    if len(dark):
        report.hints.append(f"pictures nearly all black or all white: {some(dark)}")
    report.suspects = [(int(row), why) for why, rows in (("infrared with colour", coloured),
                                                         ("visible without colour", grey), ("black or white", dark))
                       for row in rows]


def _copies(pictures: Pictures, digests: Sequence[bytes]) -> list[str]:
    """Files that are another one byte for byte."""
    first: dict[bytes, int] = {}
    pairs = [(before, row) for row, digest in enumerate(digests)
             if digest and (before := first.setdefault(digest, row)) != row]
    people = sum(pictures.identity[before] != pictures.identity[row] for before, row in pairs)
    of_others = f"; {people:,} of them of other people" if people else ""
    same = _some([f"{pictures.paths[row]} as {pictures.paths[before]}" for before, row in pairs])
    return [f"pictures that are copies of another: {same}{of_others}"] if pairs else []


def _look(path: Path) -> _Look:
    try:
        colour = chroma(load(path))[0]
        return _Look(None, colour, hashlib.sha256(path.read_bytes()).digest())
    except ConfigError as error:
        return _Look(str(error), float("nan"), b"")


def _some(members: Sequence[object]) -> str:
    """How many, and which for example."""
    first = ", ".join(map(str, members[:_SHOWN]))
    return f"{len(members):,} ({first}{', ...' if len(members) > _SHOWN else ''})"
