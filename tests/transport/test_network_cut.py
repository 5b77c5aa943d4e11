"""A network that swallows what it is given, in either direction, costs time and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.transport.broker import needs_mosquitto
from tests.transport.namespace import Cable, Cut
from tests.transport.ways import WAYS, Camera, HttpWay


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.close()


@pytest.fixture(scope="module")
def far(cable: Cable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], HttpWay]]:
    """The ways, each with a real collector at the other end of the cable."""
    made: dict[str, HttpWay] = {}

    def way(name: str) -> HttpWay:
        if name not in made:
            made[name] = WAYS[name](tmp_path_factory.mktemp(name), host=cable.host, within=cable.within)
            made[name].start()
        return made[name]

    yield way
    for one in made.values():
        one.close()


@pytest.mark.parametrize("direction", ["there", "back", "both"])
@pytest.mark.parametrize("name", ["http", pytest.param("mqtt", marks=needs_mosquitto)])
def test_a_network_cut_in_silence_frees_nothing_and_is_got_over(
        cable: Cable, far: Callable[[str], HttpWay], tmp_path: Path, name: str, direction: Cut,
        said: pytest.LogCaptureFixture) -> None:
    device = Camera(far(name), tmp_path, timeout_s=0.5)
    try:
        device.see(64)
        device.deliver()
        device.see(64)
        cable.cut(direction)
        for _ in range(2 if direction == "both" else 1):    # the kept connection, and a new one
            began = time.monotonic()
            device.link.hurry()
            assert device.link.step() > 0
            assert time.monotonic() - began < 8.0   # as long as is configured, and no longer
            assert len(device.spool) == 64
        assert "in time" in said.text
        arrived = {"there": 64, "back": 128, "both": 64}[direction]
        assert len(device.way.journal(device.spool.name)) == arrived
        cable.heal()
        device.deliver()
        device.assert_all_stored()
        assert device.tally["duplicate"] >= arrived - 64    # whose answers were lost
        assert "answers again" in said.text
    finally:
        cable.heal()
        device.close()
