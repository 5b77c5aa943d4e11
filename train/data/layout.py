"""What a dataset is on disk: how it is told apart, read and counted, and the small readers its layout is made of.

Names are parsed by pattern. Every failure is a ``ConfigError`` that names the file, and the line
where there is one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from cmnas_edge.errors import ConfigError
from train.data.crops import I64, Mask
from train.data.pictures import Pictures

__all__ = ["NUMBER", "PARTS", "SUFFIXES", "Count", "Dataset", "Label", "Row", "by_folder", "carved", "identities",
           "labels", "listed", "only", "pictures", "readable", "require", "text", "without"]


PARTS: Final = ("train", "validation", "trainval", "query", "gallery", "test")
NUMBER: Final = "[0-9]{1,18}"  # of a person or camera: digits of ASCII, and few enough for 64 bits
SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp")


class Count(NamedTuple):
    """A number that the dataset's paper or page states, if it does, and what is on disk."""

    what: str
    published: int | None
    found: int


@dataclass(frozen=True)
class Dataset:
    """One dataset.

    Attributes:
        title: What people call it.
        ask: Where to ask for it.
        tree: What its folder must hold, in one line.
        marks: Files and folders that tell it apart, below its root; all of them have to be there.
        parts: Those of "train", "validation", "trainval", "query", "gallery" and "test" that it has.
        read: Reads one of them, given root, part and trial.
        counts: What can be compared with published numbers.
        trials: How many splits there are, numbered from 1.
        nobody: Identities that stand for no one person (distractors, junk).
        faults: What else can be wrong with it, a sentence each.
    """

    title: str
    ask: str
    tree: str
    marks: tuple[str, ...]
    read: Callable[[Path, str, int], Pictures]
    counts: Callable[[Path], list[Count]]
    parts: tuple[str, ...] = PARTS
    trials: int = 1
    nobody: frozenset[int] = frozenset()
    faults: Callable[[Path], list[str]] = lambda _: []

    def missing(self, root: Path) -> list[str]:
        """Those of ``marks`` that are not there."""
        return [mark for mark in self.marks if not (root / mark).exists()]


class Label(NamedTuple):
    """A line of a split file: a picture and the number a classifier is taught."""

    path: str
    number: int
    line: int


class Row(NamedTuple):
    """One picture, before it becomes a row of ``Pictures``."""

    path: str
    identity: int
    camera: int
    infrared: bool


@contextmanager
def readable(root: Path) -> Iterator[None]:
    """Say in a sentence which file or folder below a root cannot be read.

    Raises:
        ConfigError: One cannot.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or root
        raise ConfigError(f"{where}: expected a file or folder that can be read, found none ({error.strerror}); change "
                          "its permissions, or name another") from error


def pictures(root: Path, rows: Iterable[Row], what: str) -> Pictures:
    """Rows as arrays.

    Raises:
        ConfigError: There are none.
    """
    kept = list(rows)
    if not kept:
        raise ConfigError(f"{root}: expected pictures {what}, found none; extract the archive again")
    paths, identity, camera, infrared = zip(*kept, strict=True)
    return Pictures(root, paths, np.array(identity, np.int64), np.array(camera, np.int64), np.array(infrared, np.bool_))


def text(path: Path) -> str:
    """A split file's text, without a byte order mark.

    Raises:
        ConfigError: It is not there, empty, or no text.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ConfigError(f"{path}: expected a split file, found something that is no file; restore the file")
        found = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(f"{path}: expected a split file, found none that can be read ({reason}); extract the "
                          "archive again") from error
    if not found.strip():
        raise ConfigError(f"{path}: expected a split, found an empty file; extract the archive again")
    return found


def identities(path: Path) -> list[int]:
    """Numbers of people from one line with commas, ascending, each once.

    Raises:
        ConfigError: The file cannot be read, or something in it is no number.
    """
    words = [word for word in (word.strip() for word in text(path).replace("\n", ",").split(",")) if word]
    odd = next((word for word in words if not re.fullmatch(NUMBER, word)), None)
    if odd is not None:
        raise ConfigError(f"{path}: expected numbers with commas between, found {_short(odd)}; restore the file")
    return sorted({int(word) for word in words})


def labels(path: Path) -> list[Label]:
    """Lines of the form ``folder/picture number``; a line that repeats another counts once.

    Raises:
        ConfigError: The file cannot be read, a line has another form or leaves the dataset, or a
            picture has two labels.
    """
    found: dict[str, Label] = {}
    for line, words in enumerate((line.rsplit(None, 1) for line in text(path).splitlines()), start=1):
        if not words:
            continue
        where = f"{path}, line {line}"
        if len(words) != 2 or not re.fullmatch(NUMBER, words[1]):
            raise ConfigError(f"{where}: expected a picture's path and its label, found {_short(' '.join(words))}; "
                              "restore the file")
        name = words[0].replace("\\", "/").removeprefix("./")
        if name.startswith("/") or ".." in name.split("/"):
            raise ConfigError(f"{where}: expected a path below the dataset's root, found {name!r}; restore the file")
        label = Label(name, int(words[1]), line)
        before = found.setdefault(name, label)
        if before.number != label.number:
            raise ConfigError(f"{where}: expected label {before.number} for {name} as in line {before.line}, found "
                              f"{label.number}; restore the file")
    return list(found.values())


def by_folder(path: Path, found: Sequence[Label], folder_of: dict[int, int]) -> list[int]:
    """Identities of labelled pictures: the number of the folder each lies in.

    Labels start at 0 in every split, so label 5 to learn from and label 5 to be tested on are two people.
    The folder's number is one person's everywhere.

    Args:
        path: Of the split file, for messages.
        found: Its lines.
        folder_of: What is known of labels so far; added to. Split files of the same people share one.

    Raises:
        ConfigError: A picture lies in no numbered folder, or a label and a folder do not belong to one person.
    """
    label_of = {folder: label for label, folder in folder_of.items()}
    people = []
    for name, label, line in found:
        numbered = re.search(rf"(?:^|/)({NUMBER})/[^/]+$", name)
        if not numbered:
            raise ConfigError(f"{path}, line {line}: expected a picture in the numbered folder of a person, found "
                              f"{name!r}; restore the file")
        folder = int(numbered[1])
        if folder_of.setdefault(label, folder) != folder or label_of.setdefault(folder, label) != label:
            raise ConfigError(f"{path}, line {line}: expected one label for each person's folder, found {name} with "
                              f"label {label}, which contradicts an earlier line; restore the file")
        people.append(folder)
    return people


def listed(folder: Path, pattern: re.Pattern[str], example: str) -> list[tuple[str, re.Match[str]]]:
    """Pictures in a folder, by name; hidden files and what is no picture (``Thumbs.db``) are left out.

    Args:
        folder: Where; one that is not there holds none.
        pattern: What a whole name looks like.
        example: Such a name, for messages.

    Returns:
        Names in order, with what the pattern found in them.

    Raises:
        ConfigError: A picture's name does not match.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder that can be read, found none ({error.strerror}); change its "
                          "permissions") from error
    found = []
    for name in names:
        if name.startswith(".") or not name.lower().endswith(SUFFIXES):
            continue
        match = pattern.fullmatch(name)
        if not match:
            raise ConfigError(f"{folder / name}: expected a name such as {example}; is this another dataset?")
        found.append((name, match))
    return found


def _short(word: str) -> str:
    return repr(word) if len(word) <= 100 else f"{word[:60]!r} and {len(word) - 60:,} characters more"


def require(root: Path, source: Path, found: Sequence[Label]) -> None:
    """Make sure that every picture of a split file is there, by listing each folder once.

    Raises:
        ConfigError: Some are not; the message names the first and says how many.
    """
    there: dict[str, set[str]] = {}
    gone = []
    for label in found:
        folder, _, name = label.path.rpartition("/")
        if folder not in there:
            try:
                there[folder] = {entry.name for entry in (root / folder).iterdir()}
            except OSError:
                there[folder] = set()
        if name not in there[folder]:
            gone.append(label)
    if gone:
        raise ConfigError(f"{source}, line {gone[0].line}: expected all its {len(found)} pictures below {root}, found "
                          f"{len(gone)} missing, the first {gone[0].path}; extract the archive again")


def carved(people: Iterable[int], take: int, of: int) -> frozenset[int]:
    """Identities to validate on, of a training set that brings none.

    Always the same: those whose number's SHA-256 comes first, ``take`` of every ``of``, at least one.
    """
    every = sorted(set(people), key=lambda person: hashlib.sha256(str(person).encode()).digest())
    return frozenset(every[:max(1, len(every) * take // of)])


def without(found: Pictures, people: frozenset[int], what: str) -> Pictures:
    """Rows of everybody else."""
    return _some(found, ~_among(found.identity, people), what)


def only(found: Pictures, people: frozenset[int], what: str) -> Pictures:
    """Rows of these people."""
    return _some(found, _among(found.identity, people), what)


def _among(identity: I64, people: frozenset[int]) -> Mask:
    return np.isin(identity, np.array(sorted(people), np.int64))


def _some(found: Pictures, mask: Mask, what: str) -> Pictures:
    if not mask.any():
        raise ConfigError(f"{found.root}: expected pictures {what}, found none; give it more identities")
    return found.take(mask)
