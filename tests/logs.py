"""A fixture for rooms that log: what is logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

__all__ = ["said"]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the camera's room logs."""
    with caplog.at_level(logging.INFO, "cmnas.camera"):
        yield caplog
