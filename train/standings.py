"""How a network fares by every protocol of a dataset: embeddings are made once, galleries drawn from them.

Figures of a re-ranked search are lines of their own, and so are both ways to draw SYSU-MM01's galleries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmnas_edge.errors import ConfigError
from train.data import datasets, shards
from train.data import sysu as sysu_data
from train.evaluate import embed, scaled
from train.networks import Network
from train.protocols import drawn, llcm, market, mixed, regdb, sysu
from train.protocols.embeddings import F32, Embeddings, Metric
from train.protocols.galleries import Permutations
from train.protocols.pairs import ACROSS
from train.protocols.search import Found
from train.protocols.verification import verify
from train.published import COLUMNS, PUBLISHED, Line

__all__ = ["Read", "as_markdown", "embeddings", "searched", "searched_mixed", "verified"]


class Read(NamedTuple):
    """A dataset's test people as a network sees them.

    Attributes:
        dataset: Its name.
        root: Its folder.
        test: Every picture.
        query: How many of them, at the front, are queries where the dataset says so itself.
        raw: The embeddings before they were scaled to length one.
    """

    dataset: str
    root: Path
    test: Embeddings
    query: int
    raw: F32


def embeddings(network: Network, root: Path, size: tuple[int, int], cache: Path, *, name: str | None = None,
               trial: int = 1, flip: bool = False, progress: Callable[[int, int], None] | None = None) -> Read:
    """Embed the test people of a dataset, each picture once.

    Args:
        network: Whose eyes.
        root: Folder of the dataset.
        size: Height and width of a crop.
        cache: Where decoded crops are kept.
        name: Which dataset; told from the folder if left out.
        trial: Which split of RegDB.
        flip: Average with the mirror image.
        progress: Called with (pictures decoded, all).

    Raises:
        ConfigError: No dataset is there, or one without test people.
    """
    dataset = datasets.recognise(root) if name is None else name
    # A site of one's own has no test people: those that were validated on are the only strangers.
    parts = {"market": ("query", "gallery"), "folder": ("validation",)}.get(dataset, ("test",))
    read = [datasets.read(root, part, name=dataset, trial=trial) for part in parts]
    found = []
    for pictures in read:
        crops = shards.decode(pictures, *size, cache, progress=progress)
        found.append(embed(network, crops, flip=flip, unit=False))
    names = [path for pictures in read for path in pictures.paths]
    identity, camera, infrared = (np.concatenate([getattr(pictures, key) for pictures in read])
                                  for key in ("identity", "camera", "infrared"))
    raw = np.concatenate(found)
    return Read(dataset, root, Embeddings(scaled(raw.copy()), identity, camera, infrared, tuple(names)), len(read[0]),
                raw)


def searched(read: Read, *, reranked: bool = False) -> list[Line]:
    """By every protocol of the dataset.

    Args:
        read: Its test people.
        reranked: By k-reciprocal neighbours, which takes all queries at once.

    Raises:
        ConfigError: The test people cannot be searched so.
    """
    how = "k-reciprocal re-ranking" if reranked else ""
    try:
        return [_line(name, found, ", ".join(filter(None, (note, how))))
                for name, note, found in _SEARCHES[read.dataset](read, reranked)]
    except ValueError as error:
        raise ConfigError(f"{read.root}: {error}; complete the dataset") from error


def _sysu(read: Read, reranked: bool) -> Iterator[tuple[str, str, Sequence[Found]]]:
    ways: dict[str, Permutations | None] = {"galleries by Python's random.seed": None}
    if (read.root / "exp" / "rand_perm_cam.mat").exists():
        ways["galleries by rand_perm_cam.mat"] = sysu_data.permutations(read.root)
    for mode in sysu.MODES:
        for shot, count in sysu.SHOTS.items():
            for way, permutations in ways.items():
                yield f"SYSU-MM01 {mode} {shot}", way, sysu.searches(
                    read.test, mode=mode, shot=count, permutations=permutations, reranked=reranked)


def _regdb(read: Read, reranked: bool) -> Iterator[tuple[str, str, Sequence[Found]]]:
    for pair in ACROSS:
        yield f"RegDB {pair}", "", [regdb.one_split(read.test, pair, reranked=reranked)]


def _llcm(read: Read, reranked: bool) -> Iterator[tuple[str, str, Sequence[Found]]]:
    for pair in ACROSS:
        yield f"LLCM {pair}", "", llcm.searches(read.test, pair, reranked=reranked)
    yield ("LLCM visible-infrared, roles swapped as in the released code", "",
           llcm.role_swapped(read.test, reranked=reranked))


def _market(read: Read, reranked: bool) -> Iterator[tuple[str, str, Sequence[Found]]]:
    rows = np.arange(len(read.test))
    as_they_are = dataclasses.replace(read.test, embedding=read.raw)
    ways: tuple[tuple[Metric, Embeddings], ...] = (("cosine", read.test), ("euclidean", as_they_are))
    for metric, test in ways:
        query, gallery = test.take(rows < read.query), test.take(rows >= read.query)
        yield "Market-1501 single query", metric, [market.single_query(query, gallery, metric=metric,
                                                                       reranked=reranked)]


def _site(read: Read, reranked: bool) -> Iterator[tuple[str, str, Sequence[Found]]]:
    for pair in drawn.searchable(read.test):
        yield f"own people, single-shot {pair}", "", drawn.searches(read.test, pair, reranked=reranked)


_SEARCHES = {"sysu": _sysu, "regdb": _regdb, "llcm": _llcm, "market": _market, "folder": _site}


def searched_mixed(read: Read) -> list[Line]:
    """In one gallery of both modalities, as a live index has it.

    Raises:
        ConfigError: The dataset has one modality only.
    """
    try:
        return [_line(f"mixed gallery, {modality} queries", mixed.searches(read.test, modality))
                for modality in ("visible", "infrared")]
    except ValueError as error:
        raise ConfigError(f"{read.root}: {error}; leave --protocol mixed out") from error


def verified(read: Read) -> list[str]:
    """Whether two pictures show one person, for each pair of modalities, as lines of a Markdown table."""
    people = read.test.take(read.test.identity > 0)
    rows = []
    for pair in drawn.searchable(people):
        found = verify(people, pair)
        cells = [f"{100 * found.figures[key]:.2f} ({100 * found.interval[key][0]:.2f} to "
                 f"{100 * found.interval[key][1]:.2f})" if key in found.figures else "too few pairs"
                 for key in ("eer", "tmr@0.01", "tmr@0.001", "tmr@0.0001")]
        rows.append(f"| {pair} | {' | '.join(cells)} | {found.genuine:,} | {found.impostor:,} |")
    return ["| pair | EER | TMR at FMR 1e-2 | 1e-3 | 1e-4 | genuine pairs | impostor pairs |",
            "|---|---|---|---|---|---|---|", *rows]


def as_markdown(lines: Sequence[Line], *, who: str) -> str:
    """A table for each protocol: ours, one line for each way, then the published ones."""
    by_protocol: dict[str, list[Line]] = {}
    for line in lines:
        by_protocol.setdefault(line.protocol, []).append(line)
    blocks = []
    for protocol, ours in by_protocol.items():
        rows = [f"**{protocol}**", "", f"| who | {' | '.join(COLUMNS.values())} |", "|---" * (1 + len(COLUMNS)) + "|"]
        for line in ours:
            of = f", mean of {line.searches} searches" if line.searches > 1 else ""
            cells = " | ".join(f"{line.figures[key]:.2f}" for key in COLUMNS)
            rows.append(f"| {who}{f', {line.note}' if line.note else ''}{of} | {cells} |")
        rows += [f"| {' | '.join([row.who, *row.cells()])} |" for row in PUBLISHED.get(protocol, ())]
        blocks.append("\n".join(rows))
    return "\n\n".join(blocks)


def _line(protocol: str, found: Sequence[Found], note: str = "") -> Line:
    values: Mapping[str, list[float]] = {key: [100 * one.figures[key] for one in found] for key in COLUMNS}
    return Line(protocol, {key: float(np.mean(x)) for key, x in values.items()},
                {key: float(np.std(x)) for key, x in values.items()}, len(found), note)
