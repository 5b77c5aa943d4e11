"""What a network makes of crops, and what that is worth.

``score`` is a first look: between every two modalities, as `train.protocols.drawn` has it. A dataset's test people
are read, embedded once, and scored by all of its protocols from that: ``strangers``, ``extract``, ``standings``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmnas_edge.errors import ConfigError
from cmnas_edge.preprocess import MEAN, STD
from train.data import datasets, shards, sysu
from train.data.crops import U8, Crops
from train.data.pictures import Pictures
from train.networks.build import Network
from train.protocols.drawn import score
from train.protocols.embeddings import Embeddings
from train.protocols.galleries import Permutations
from train.protocols.report import Kind, report, require
from train.protocols.rows import DRAWN, Row

__all__ = ["Extracted", "Strangers", "embed", "extract", "lacking", "normalised", "scaled", "score", "standings",
           "strangers"]

F32 = npt.NDArray[np.float32]

_BATCH = 128


def normalised(images: U8, device: torch.device | None = None) -> Tensor:
    """Crops as a network takes them: BGR uint8 ``(n, h, w, 3)`` to normalised RGB float ``(n, 3, h, w)``.

    The values are laid out channels last, which convolutions on a CPU prefer. Bytes cross to the
    device, which makes numbers of them.
    """
    mean, std = (torch.tensor(x).to(device) * 255 for x in (MEAN, STD))
    rgb = torch.from_numpy(np.ascontiguousarray(images[..., ::-1])).to(device).float()
    return rgb.sub_(mean).div_(std).permute(0, 3, 1, 2)


def embed(network: Network, crops: Crops, *, flip: bool = False, unit: bool = True,
          progress: Callable[[int, int], None] | None = None) -> F32:
    """Unit vectors of a set of crops, by the network in evaluation mode; shape ``(n, d)``.

    A row that the network maps to zero stays zero: it is equally far from everybody, which
    counts against it. The network is left in the mode it was in.

    Args:
        network: On whatever device it is.
        crops: What it sees.
        flip: Average with the embedding of the mirror image.
        unit: Scale to length one; without, embeddings are as they come.
        progress: Called with (crops embedded, all).
    """
    out = np.empty((len(crops), network.dimension), np.float32)
    done = 0
    training = network.training
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        for infrared in (False, True):
            rows = np.flatnonzero(crops.infrared == infrared)
            for start in range(0, len(rows), _BATCH):
                some = rows[start:start + _BATCH]
                flags = torch.full((len(some),), infrared, device=device)
                images = normalised(crops.images[some], device)
                found = network(images, flags).embedding.float()
                if flip:
                    found = (found + network(images.flip(3), flags).embedding.float()) / 2
                out[some] = found.cpu().numpy()
                done += len(some)
                if progress:
                    progress(done, len(crops))
    network.train(training)
    return scaled(out) if unit else out


def scaled(rows: F32) -> F32:
    """Rows at length one, in place; a row of zeros stays zero."""
    length: F32 = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.maximum(length, np.finfo(np.float32).tiny)
    return rows


class Strangers(NamedTuple):
    """Pictures of the people nobody learnt from.

    Attributes:
        dataset: Its name; what `train.protocols.report.PROTOCOLS` calls it.
        root: Its folder.
        test: Who is searched for and where; of Market-1501 the gallery.
        query: Market-1501's queries, elsewhere none.
        permutations: That SYSU-MM01's galleries are drawn by, where its folder has them.
    """

    dataset: str
    root: Path
    test: Pictures
    query: Pictures | None
    permutations: Permutations | None


class Extracted(NamedTuple):
    """The same as a network sees them; embeddings are as they come, of any length."""

    of: Strangers
    test: Embeddings
    query: Embeddings | None


def strangers(root: Path, *, trial: int = 1, kinds: Collection[Kind] | None = None) -> Strangers:
    """Read a dataset's test people; of a folder of one's own, those that validate.

    Args:
        root: Folder of the dataset, which tells its name.
        trial: Which split of RegDB.
        kinds: What they will be asked.

    Raises:
        ConfigError: No dataset is there, it is not whole, or they cannot be asked that.
    """
    name = datasets.recognise(root)
    part = {"market": "gallery", "folder": "validation"}.get(name, "test")
    test = datasets.read(root, part, name=name, trial=trial)
    query = datasets.read(root, "query", name=name) if name == "market" else None
    # The permutations come with the authors' evaluation, not with the pictures.
    known = name == "sysu" and (root / sysu.PERMUTATIONS).exists()
    if kinds is not None:
        try:
            require(kinds, name, test)
        except ValueError as error:
            raise ConfigError(f"{root}: {error}; leave that out of --protocol") from error
    return Strangers(name, root, test, query, sysu.permutations(root) if known else None)


def lacking(root: Path, name: str) -> str:
    """In what a dataset's folder differs from the numbers that its paper or page states; empty if in nothing."""
    try:
        found = datasets.DATASETS[name].counts(root)
    except ConfigError as error:
        return str(error)
    return "; ".join(f"{one.what} {one.found:,} instead of {one.published:,}" for one in found
                     if one.published is not None and one.found != one.published)


def extract(network: Network, people: Strangers, size: tuple[int, int], cache: Path, *, flip: bool = False,
            decoding: Callable[[int, int], None] | None = None,
            embedding: Callable[[int, int], None] | None = None) -> Extracted:
    """Embed each picture once.

    Args:
        network: Whose eyes.
        people: Whom it sees.
        size: Height and width of a crop.
        cache: Where decoded crops are kept.
        flip: Average with the mirror image.
        decoding: Called with (pictures decoded, all).
        embedding: Called with (pictures embedded, all).

    Raises:
        ConfigError: A picture cannot be read, or the network does not make numbers of it.
    """
    sets: list[Embeddings] = []
    for pictures in filter(None, (people.test, people.query)):
        crops = shards.decode(pictures, *size, cache, progress=decoding)
        found = embed(network, crops, flip=flip, unit=False, progress=embedding)
        if not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found).all(1))[0])
            raise ConfigError(f"{pictures.file(row)}: expected an embedding of finite numbers, found another one; "
                              "train the checkpoint again")
        sets.append(Embeddings.of(found, pictures, pictures.paths))
    return Extracted(people, sets[0], sets[1] if people.query is not None else None)


def standings(seen: Extracted, *, kinds: Collection[Kind] | None = None, reranked: bool = False,
              system: str = "ours", progress: Callable[[int, int, str], object] | None = None) -> list[Row]:
    """By every protocol of the dataset; Market-1501 by both distances that are in print.

    Args:
        seen: Its test people.
        kinds: As for `train.protocols.report.report`; so are ``reranked``, ``system`` and ``progress``.
        reranked: A second time.
        system: Whose figures these are.
        progress: How far it is.

    Raises:
        ConfigError: The test people cannot be searched so.
    """
    people = seen.of
    search: tuple[Kind, ...] = ("dataset",)
    try:
        rows = report(people.dataset, _unit(seen.test), query=None if seen.query is None else _unit(seen.query),
                      permutations=people.permutations, kinds=kinds, reranked=reranked, system=system,
                      progress=progress)
        if seen.query is not None and (kinds is None or "dataset" in kinds):
            rows += report(people.dataset, seen.test, query=seen.query, kinds=search, reranked=reranked,
                           metric="euclidean", system=system, progress=progress)
    except ValueError as error:
        raise ConfigError(f"{people.root}: {error}; complete the dataset") from error
    return [dataclasses.replace(row, note=DRAWN) for row in rows] if datasets.drawn(people.root) else rows


def _unit(raw: Embeddings) -> Embeddings:
    return dataclasses.replace(raw, embedding=scaled(raw.embedding.copy()))
