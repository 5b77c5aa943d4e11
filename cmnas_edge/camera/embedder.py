"""Picks become records: the crops of all cameras through one engine per modality, averaged, turned, packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.tally import Tally
from cmnas_edge.embedding import MODALITIES, Modality, Packing, unit
from cmnas_edge.engine import Engine
from cmnas_edge.sealing import Sealer
from cmnas_edge.sighting import Sighting
from cmnas_edge.site_key import Rotation
from cmnas_edge.wire import encode_sighting

__all__ = ["Embedder"]

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
_MOST_PIXELS = 65535
_LEAST_LENGTH = 1e-3    # of a mean of unit vectors: below it they say nothing together


class Embedder:
    """Makes encoded sightings, without spool and sequence yet. Used by one thread."""

    def __init__(self, device: str, fingerprint: bytes, engines: Mapping[Modality, Engine], packing: Packing,
                 tally: Tally, rotation: Rotation | None = None, sealer: Sealer | None = None, *,
                 second: bool = False) -> None:
        """Keep what every sighting carries.

        Args:
            device: Name of this device.
            fingerprint: Of the bundle the engines come from.
            engines: One for each modality that cameras can have.
            packing: Of vectors.
            tally: Where counts and time go.
            rotation: Turns vectors with the site's key; None leaves them as they are.
            sealer: Seals them to the collector's key, before they reach the disk; None leaves them open.
            second: Take the crops that were made for a second bundle, where there are any.
        """
        self._device = device
        self._fingerprint = fingerprint
        self._engines = engines
        self._packing = packing
        self._tally = tally
        self._rotation = rotation
        self._sealer = sealer
        self._second = second

    def records(self, picks: Sequence[tuple[str, Pick]]) -> list[bytes]:
        """Embed picks, each given with its camera's name; in their order, less those without direction."""
        vectors: dict[int, F32] = {}
        for modality in MODALITIES:
            rows = [row for row, (_, pick) in enumerate(picks) if pick.modality == modality]
            if not rows:
                continue
            crops = np.concatenate([self._crops(picks[row][1]) for row in rows])
            engine = self._engines[modality]
            before = engine.name, engine.precision
            with self._tally.call(len(crops)):
                embeddings = engine.embed(crops)
            self._tally.add("engine_failures", (engine.name, engine.precision) != before)
            self._tally.add("crops", len(crops))
            ends = np.cumsum([picks[row][1].view_count for row in rows])
            for row, views in zip(rows, np.split(embeddings, ends[:-1]), strict=True):
                vectors[row] = views.mean(0)
        with self._tally.timed("pack"):
            kept = [row for row in range(len(picks))
                    if np.isfinite(length := np.linalg.norm(vectors[row])) and length > _LEAST_LENGTH]
            # Views the network does not respond to match nobody.
            self._tally.add("no_direction", len(picks) - len(kept))
            turned = self._turned(unit(np.stack([vectors[row] for row in kept]))) if kept else ()
            records = [encode_sighting(self._sighting(*picks[row], vector), self._sealer)
                       for row, vector in zip(kept, turned, strict=True)]
        self._tally.add("sightings", len(records))
        return records

    def _crops(self, pick: Pick) -> U8:
        return pick.also if self._second and pick.also is not None else pick.crops

    def _turned(self, vectors: F32) -> F32:
        return vectors if self._rotation is None else self._rotation.turn(vectors)

    def _sighting(self, camera: str, pick: Pick, vector: F32) -> Sighting:
        engine = self._engines[pick.modality]
        return Sighting(
            device=self._device, camera=camera, seen_from=min(pick.seen_from, pick.seen_at), seen_at=pick.seen_at,
            modality=pick.modality, tracklet=pick.tracklet, view_count=pick.view_count,
            quality=min(1.0, max(0.0, pick.quality)), box_width=_pixels(pick.box_width),
            box_height=_pixels(pick.box_height), fingerprint=self._fingerprint,
            engine=engine.name, precision=engine.precision,
            transform=0 if self._rotation is None else self._rotation.transform,
            packing=self._packing, vector=vector)


def _pixels(count: int) -> int:
    return max(1, min(_MOST_PIXELS, count))
