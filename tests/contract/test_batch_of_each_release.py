"""What the cameras of every release send is read by this one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from cmnas_edge import wire
from cmnas_edge.outgoing.batch import explained
from cmnas_edge.sealing import Opener
from cmnas_edge.wire import Gap, Sighting
from tests.contract.make_batch import gaps, sightings
from tests.contract.make_sealed import KEY

BATCHES = [*sorted(Path(__file__).parent.glob("*/batch.bin")), *sorted(Path(__file__).parent.glob("*/sealed.bin"))]


@pytest.mark.parametrize("path", BATCHES, ids=["/".join(path.parts[-2:]) for path in BATCHES])
def test_a_batch_of_an_earlier_release_reads_as_it_was_meant(path: Path) -> None:
    data = path.read_bytes()
    sealed = path.name == "sealed.bin"
    found = wire.decode_batch(data, dimension=64, device="gate", fingerprint=bytes(range(32)),
                              opener=Opener([KEY]), only_sealed=sealed)
    assert found[3:] == [Gap(g.spool, g.first, g.last, g.count) for g in gaps()]
    for item, meant in zip(found[:3], sightings(), strict=True):
        assert isinstance(item, Sighting), item
        for name, value in {**structs.asdict(meant), "sealed": sealed}.items():
            if name != "vector":
                assert getattr(item, name) == value, name
        # A step of int8 is max|x| / 127; fp16 rounds finer.
        assert np.abs(item.vector - meant.vector).max() <= np.abs(meant.vector).max() / 254 + 1e-6
    assert explained(data) == len(data)


def test_there_is_a_batch_to_read() -> None:
    assert {path.name for path in BATCHES} == {"batch.bin", "sealed.bin"}
