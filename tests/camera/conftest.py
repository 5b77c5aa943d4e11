"""What the room logs, and what real cameras' tests need of this machine."""

from __future__ import annotations

import pytest

from tests.camera import rtsp
from tests.logs import said

__all__ = ["gstreamer_here", "rtsp_here", "said"]


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
