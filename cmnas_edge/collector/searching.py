"""A search by likeness: what is asked becomes a vector of one bundle and a filter, and what is found is judged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.collector import views
from cmnas_edge.collector.matching.match import Match, Model, match
from cmnas_edge.collector.matching.vectors import Camera, Filter, Vectors
from cmnas_edge.collector.store.records import Record
from cmnas_edge.embedding import Modality, unit
from cmnas_edge.errors import Transient

__all__ = ["Probe", "probe_of"]

F32 = npt.NDArray[np.float32]
_LEAST_NAMED = 8    # digits of a fingerprint


class Probe(NamedTuple):
    """What is searched with: by which bundle, in which modality, and what may be found."""

    model: Model
    modality: Modality
    keep: Filter
    vector: F32 | None      # None: that of a stored sighting
    sighting: int

    def found(self, view: Vectors, k: int) -> list[Match]:
        """Find, in vectors of the same bundle, the ``k`` most probably of the same person.

        Raises:
            Unanswerable: The sighting has left, or what keeps the vectors is away.
        """
        try:
            vector = view.vector(self.sighting) if self.vector is None else self.vector
            if vector is None:     # it left just now
                raise _left(self.sighting)
            return match(view, vector, self.modality, k=k, keep=self.keep, calibration=self.model.calibration)
        except Transient as error:      # where vectors are kept elsewhere, that may be away
            raise views.Unanswerable(503, str(error)) from None


def probe_of(query: views.Query, models: Mapping[bytes, Model], record: Record | None, exclude: Collection[int],
             cameras: Iterable[Camera]) -> Probe:
    """Say what is searched with.

    Args:
        query: What is asked.
        models: The bundles that are accepted, the leading one first.
        record: The sighting that is asked about, if it is one that is here.
        exclude: What must not be found besides.
        cameras: Every camera that is known.

    Raises:
        Unanswerable: It names both a sighting and a vector or neither, a sighting that is not here, a bundle that is
            not accepted, or a vector of another length or without direction. The message is for the one who asks.
    """
    if (query.sighting is None) == (query.vector is None):
        found = "neither" if query.sighting is None else "both"
        raise views.Unanswerable(400, f"search: expected either sighting or vector, found {found}; give one of them")
    if query.transform >= 2**64:
        raise views.Unanswerable(400, "search: expected a transform below 2**64, found a larger one; give the "
                                      "number of the site key")
    if query.sighting is not None and record is None:
        raise _left(query.sighting)
    if record is not None and query.bundle:
        raise views.Unanswerable(400, "search: expected no bundle with a sighting, whose own is searched by, found "
                                      "one; leave it out")
    model = _named(query.bundle, models) if record is None else models[record.fingerprint]
    keep = Filter(
        cameras=None if query.cameras is None else frozenset(
            key for key in cameras if {key[1], "/".join(key)} & set(query.cameras)),
        modality=query.modality, exclude=frozenset((*query.exclude, *exclude)),
        transform=query.transform if record is None else record.transform,
        seen_from=-np.inf if query.seen_from is None else query.seen_from,
        seen_to=np.inf if query.seen_to is None else query.seen_to)
    return Probe(model, query.vector_modality if record is None else record.modality, keep,
                 None if query.vector is None else _direction(query.vector, model), 0 if record is None else record.id)


def _left(sighting: int) -> views.Unanswerable:
    return views.Unanswerable(404, f"search: expected a sighting of the hot window, found none of number {sighting}; "
                                   "it may have left: choose another")


def _named(name: str, models: Mapping[bytes, Model]) -> Model:
    """The bundle of a fingerprint, or of how one begins; the leading one where none is named."""
    found = [model for fingerprint, model in models.items() if fingerprint.hex().startswith(name)]
    if not found or (name and (len(name) < _LEAST_NAMED or len(found) > 1)):
        known = " or ".join(fingerprint.hex()[:16] for fingerprint in models)
        raise views.Unanswerable(400, f"search: expected bundle {known}, found {name!r}; name one of them, by "
                                      f"{_LEAST_NAMED} digits at least")
    return found[0]


def _direction(vector: list[float], model: Model) -> F32:
    if len(vector) != model.dimension:
        raise views.Unanswerable(400, f"search: expected a vector of {model.dimension} entries, "
                                      f"found {len(vector)}; give one that this bundle made, or name its bundle")
    try:
        found: F32 = unit(np.array([vector], np.float64))[0]
    except ValueError:      # entries so small that their squares vanish are zeros, too
        raise views.Unanswerable(400, "search: expected a vector with a direction, found zeros; give one that "
                                      "a bundle made") from None
    return found
