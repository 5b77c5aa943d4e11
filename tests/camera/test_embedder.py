"""Views become one unit vector per sighting, and carry what they were made with."""

from __future__ import annotations

import numpy as np
import pytest

from cmnas_edge import wire
from cmnas_edge.camera.embedder import Embedder
from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.tally import Tally
from cmnas_edge.embedding import Modality, unit
from cmnas_edge.site_key import SiteKey
from cmnas_edge.wire import Sighting
from tests.camera.fakes import DIMENSION, FINGERPRINT, HEIGHT, WIDTH, ColourEngine


def pick(tracklet: int, views: int, modality: Modality = "visible", seed: int = 0, **changes: object) -> Pick:
    crops = np.random.default_rng(seed + tracklet).integers(0, 256, (views, HEIGHT, WIDTH, 3), np.uint8)
    times = tuple(100.0 + row for row in range(views))
    return Pick(tracklet, crops, times, 99.0, 110.0, 0.5, 40, 100, modality)._replace(**changes)


def embedder(tally: Tally | None = None, packing: str = "fp16", key: SiteKey | None = None
             ) -> tuple[Embedder, dict[Modality, ColourEngine]]:
    engines: dict[Modality, ColourEngine] = {"visible": ColourEngine(), "infrared": ColourEngine()}
    made = Embedder("gate", FINGERPRINT, engines, packing, tally or Tally(),  # type: ignore[arg-type]
                    key.rotation(DIMENSION) if key else None)
    return made, engines


def decoded(records: list[bytes]) -> list[Sighting]:
    addressed = [wire.address(record, "0" * 16, 1 + row) for row, record in enumerate(records)]
    found = wire.decode_batch(wire.encode_batch(addressed), dimension=DIMENSION, device="gate",
                              fingerprint=FINGERPRINT)
    assert all(isinstance(item, Sighting) for item in found), found
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("packing", ["fp16", "int8"])
def test_a_vector_is_the_mean_of_its_own_views_at_unit_length(packing: str) -> None:
    made, _ = embedder(packing=packing)
    picks = [pick(1, 3), pick(2, 1, "infrared"), pick(3, 4), pick(4, 2, "infrared")]
    found = decoded(made.records([("north", p) for p in picks]))
    assert [(s.tracklet, s.modality, s.view_count) for s in found] == [
        (1, "visible", 3), (2, "infrared", 1), (3, "visible", 4), (4, "infrared", 2)]
    for p, s in zip(picks, found, strict=True):
        expected = unit(ColourEngine().embed(p.crops).mean(0)[None])[0]
        # int8 moves an entry by half a step, max|x| / 254.
        assert np.abs(s.vector - expected).max() <= np.abs(expected).max() / 254 + 1e-6


def test_crops_of_all_cameras_go_to_the_engine_of_their_modality_together() -> None:
    made, engines = embedder()
    made.records([("north", pick(1, 3)), ("south", pick(1, 2)), ("south", pick(2, 4, "infrared"))])
    assert (engines["visible"].batches, engines["infrared"].batches) == ([5], [4])


def test_views_without_direction_are_counted_and_not_sent() -> None:
    tally = Tally()
    made, _ = embedder(tally)
    black = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    found = decoded(made.records([("north", pick(1, 2, crops=black)), ("north", pick(2, 2))]))
    assert [s.tracklet for s in found] == [2]
    assert (tally["no_direction"], tally["sightings"], tally["crops"]) == (1, 1, 4)


def test_what_cannot_be_is_brought_within_what_the_schema_allows() -> None:
    made, _ = embedder()
    (found,) = decoded(made.records([
        ("north", pick(1, 1, quality=1.2, box_width=0, box_height=10**6, seen_from=111.0))]))
    assert (found.quality, found.box_width, found.box_height, found.seen_from) == (1.0, 1, 65535, 110.0)


def test_no_picks_are_no_records() -> None:
    assert embedder()[0].records([]) == []


@pytest.mark.parametrize("packing", ["fp16", "int8"])
def test_a_site_key_turns_every_vector_and_goes_along_as_a_number(packing: str) -> None:
    key, picks = SiteKey(bytes(range(32))), [("north", pick(1, 3)), ("south", pick(2, 2, "infrared"))]
    plain = decoded(embedder(packing=packing)[0].records(picks))
    turned = decoded(embedder(packing=packing, key=key)[0].records(picks))
    assert [s.transform for s in plain] == [0, 0]
    assert [s.transform for s in turned] == [key.transform] * 2
    matrix = key.rotation(DIMENSION).matrix
    for before, after in zip(plain, turned, strict=True):
        # int8 moves an entry by half a step, so a vector by sqrt(d) / 254 at most, on either side.
        assert np.abs(matrix @ before.vector - after.vector).max() <= 2 * DIMENSION**0.5 / 254
        assert np.abs(before.vector - after.vector).max() > 0.1
