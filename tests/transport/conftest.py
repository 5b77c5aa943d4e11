"""What the sending half of a device logs, and loggers left as they were."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    house = logging.getLogger("cmnas")
    before = house.handlers[:], house.level, house.propagate
    house.handlers[:], house.propagate = [], True
    yield
    house.handlers[:], level, house.propagate = before
    house.setLevel(level)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the room logs."""
    with caplog.at_level(logging.INFO, "cmnas.camera"):
        yield caplog
