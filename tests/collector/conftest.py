"""One collector in a folder, served in this process or as a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.house import House
from tests.collector.process import Process


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A collector's parts on a fresh data folder, in this process."""
    house = House(tmp_path / "data")
    yield house
    house.close()


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Process]:
    """A collector to start as a process; killed at the end if it still runs."""
    with Process(tmp_path / "collector") as process:
        yield process
