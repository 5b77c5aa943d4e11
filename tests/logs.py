"""Fixtures for rooms that log: logging as each test finds it, and what is logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

__all__ = ["loggers_as_they_were", "said"]


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """Undo what a command set up for its process."""
    house = logging.getLogger("cmnas")
    before = house.handlers[:], house.level, house.propagate
    house.handlers[:], house.propagate = [], True
    yield
    house.handlers[:], level, house.propagate = before
    house.setLevel(level)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the camera's room logs."""
    with caplog.at_level(logging.INFO, "cmnas.camera"):
        yield caplog
