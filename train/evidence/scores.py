"""What a trained network is worth on the people it was not taught: figures, query by query, and where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cmnas_edge.synthetic.crops import camera_of, crop_rng, view_of
from cmnas_edge.synthetic.people import Person
from train.data.crops import Crops
from train.evaluate import embed
from train.evidence.sets import HEIGHT, WIDTH
from train.networks.build import Network
from train.protocols.drawn import searchable, searches
from train.protocols.embeddings import Embeddings
from train.protocols.galleries import drawn
from train.protocols.pairs import Pair, sides
from train.protocols.rules import OWN_ROOM
from train.protocols.search import per_query

__all__ = ["ASKED", "figures", "slices", "summary", "views"]

F64 = npt.NDArray[np.float64]

ASKED: Pair = "infrared-visible"
"""The pair that everything is about; only its queries are kept one by one."""

_GALLERIES = 10
_NEAR, _FAR = np.radians(45), np.radians(135)


def figures(network: Network, populations: Sequence[Crops]) -> dict[str, Any]:
    """Single-shot retrieval, ten galleries each, over some populations that don't know each other.

    Args:
        network: In any mode; left as it was.
        populations: Each is searched on its own; means are over all queries.

    Returns:
        ``pairs``: rank-1 and mAP in percent by query-gallery. ``queries``: for `ASKED`, person after person,
        the share of galleries in which each query's first answer was right, and its average precision, both
        times 255 and rounded.
    """
    rank1: dict[str, list[F64]] = {}
    precision: dict[str, list[F64]] = {}
    for crops in populations:
        embedded = Embeddings.of(embed(network, crops), crops)
        for pair in searchable(embedded):
            found = per_query(searches(embedded, pair, count=_GALLERIES))
            rank1.setdefault(pair, []).append(found.rank1)
            precision.setdefault(pair, []).append(found.average_precision)
    whole = {pair: (np.concatenate(rank1[pair]), np.concatenate(precision[pair])) for pair in rank1}
    return {"pairs": {pair: {"rank1": _percent(hit), "mean_ap": _percent(ap)} for pair, (hit, ap) in whole.items()},
            "queries": {name: np.rint(255 * values).astype(np.uint8)
                        for name, values in zip(("rank1", "average_precision"), whole[ASKED], strict=True)}}


def slices(network: Network, populations: Sequence[Crops], look_alikes: Crops) -> dict[str, dict[str, float]]:
    """Rank-1 and mAP of infrared queries in visible galleries, by what makes them hard.

    Args:
        network: In any mode; left as it was.
        populations: Drawn people in plain order: by identity, camera and crop.
        look_alikes: People in groups that wear the same clothes.

    Returns:
        By slice: ``clear`` and ``hidden`` queries (something stands before the person); ``same side`` and
        ``other side`` (the angle to the best positive in the gallery is under 45 or over 135 degrees);
        ``look-alikes``. A slice that nobody falls into is left out.
    """
    found: dict[str, list[tuple[F64, F64]]] = {}
    for crops in populations:
        yaw, hidden = views(crops)
        embedded = Embeddings.of(embed(network, crops), crops)
        asks, pool = sides(embedded, ASKED)
        for number, one in enumerate(searches(embedded, ASKED, count=_GALLERIES)):
            gallery = drawn(embedded, pool, np.random.default_rng((0, number)))
            turn = _turn(embedded.take(asks), embedded.take(gallery), yaw[asks], yaw[gallery])
            for name, kept in (("clear", ~hidden[asks]), ("hidden", hidden[asks]), ("same side", turn < _NEAR),
                               ("other side", turn > _FAR)):
                found.setdefault(name, []).append((one.queries.rank1[kept], one.queries.average_precision[kept]))
    embedded = Embeddings.of(embed(network, look_alikes), look_alikes)
    found["look-alikes"] = [(one.queries.rank1, one.queries.average_precision)
                            for one in searches(embedded, ASKED, count=_GALLERIES)]
    whole = {name: [np.concatenate(values) for values in zip(*parts, strict=True)] for name, parts in found.items()}
    return {name: {"rank1": _percent(hit), "mean_ap": _percent(ap)} for name, (hit, ap) in whole.items() if len(hit)}


def views(crops: Crops, seed: int = 0) -> tuple[F64, npt.NDArray[np.bool_]]:
    """Yaw of every crop, and whether it is partly hidden, as they were drawn."""
    yaw, hidden = np.empty(len(crops)), np.empty(len(crops), bool)
    seen: dict[tuple[int, int], int] = {}
    people: dict[int, Person] = {}
    for row, (identity, camera) in enumerate(zip(crops.identity.tolist(), crops.camera.tolist(), strict=True)):
        k = seen.get((identity, camera), 0)
        seen[identity, camera] = k + 1
        person = people.setdefault(identity, Person.draw(seed, identity))
        yaw[row], hidden[row] = view_of(person, camera_of(seed, camera), crop_rng(seed, identity, camera, k),
                                        HEIGHT, WIDTH)
    return yaw, hidden


def _turn(query: Embeddings, gallery: Embeddings, yaw: F64, gallery_yaw: F64) -> F64:
    """For each query, the smallest angle to a crop of the same person it may find; ``inf`` if there is none."""
    apart = np.abs((yaw[:, None] - gallery_yaw[None] + np.pi) % (2 * np.pi) - np.pi)
    right = (query.identity[:, None] == gallery.identity[None]) & ~OWN_ROOM.hides(query, gallery)
    return np.asarray(np.where(right, apart, np.inf).min(1), np.float64)


def _percent(values: F64) -> float:
    return round(100 * float(np.nanmean(values)), 2)


def summary(pairs: Mapping[str, Mapping[str, float]]) -> str:
    """One line of figures for whoever is waiting."""
    return ", ".join(f"{pair} {row['rank1']:.1f} ({row['mean_ap']:.1f})" for pair, row in pairs.items())
