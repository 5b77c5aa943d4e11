"""Logging as each test finds it: what a command set up for its process is undone."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.camera import rtsp


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


@pytest.fixture
def gstreamer_here() -> None:
    """GStreamer for some Python, or a reason to skip."""
    if reason := rtsp.lacking():
        pytest.skip(f"no GStreamer: {reason}")


@pytest.fixture
def rtsp_here() -> None:
    """A real RTSP server, or a reason to skip."""
    if reason := rtsp.missing():
        pytest.skip(f"no RTSP server: {reason}")
