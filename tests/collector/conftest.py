"""One collector in a folder, served in this process or as a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A collector's parts on a fresh data folder, in this process."""
    house = House(tmp_path / "data")
    yield house
    house.close()
