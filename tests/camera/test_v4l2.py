"""Cameras on this machine by Video4Linux, against a fake of OpenCV's capture: no machine of ours has one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import ClassVar

import cv2
import numpy as np
import pytest

from cmnas_edge.camera.frames.source import open_source, source_name
from cmnas_edge.camera.settings import SourceSettings
from cmnas_edge.errors import SourceLost
from tests.camera.footage import number, numbered

PICTURES = numbered(200)


class Usb:
    """A capture that remembers what it was asked, and ends when it is pulled out."""

    made: ClassVar[list[Usb]] = []
    plugged = True

    def __init__(self, path: str, api: int, *more: object) -> None:
        self.path, self.api = path, api
        self.asked: list[tuple[int, float]] = []
        self.released = False
        self.pictures: Iterator[np.ndarray] = itertools.cycle(PICTURES)
        Usb.made.append(self)

    def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
        return Usb.plugged

    def set(self, key: int, value: float) -> bool:
        self.asked.append((key, value))
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, next(self.pictures)) if Usb.plugged else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.fixture(autouse=True)
def _usb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Usb)
    Usb.made, Usb.plugged = [], True


def test_a_device_is_read_by_video4linux_and_asked_for_nothing_unasked() -> None:
    with open_source(SourceSettings(location="/dev/video3")) as source:
        frame = next(source)
        assert number(frame.image) == frame.index % len(PICTURES)
        assert frame.time_source == "arrival"
        assert not source.recorded
    (usb,) = Usb.made
    assert (usb.path, usb.api, usb.asked) == ("/dev/video3", cv2.CAP_V4L2, [])
    assert usb.released


def test_a_size_is_asked_for_after_the_packing_that_has_it() -> None:
    with open_source(SourceSettings(location="/dev/video0", size=(1280, 720))) as source:
        next(source)
    assert Usb.made[0].asked == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")), (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720)]


def test_a_device_that_is_pulled_out_is_lost_at_once_and_missing_until_it_is_back() -> None:
    settings = SourceSettings(location="/dev/video0")
    with open_source(settings) as source:
        next(source)
        Usb.plugged = False
        with pytest.raises(SourceLost, match=r"^/dev/video0: expected more frames, found the stream ended; check"):
            list(source)
    with open_source(settings) as source:
        with pytest.raises(SourceLost, match=r"^/dev/video0: expected a camera, found none that can be opened; check"):
            next(source)
    Usb.plugged = True
    with open_source(settings) as source:
        next(source)
    assert [usb.released for usb in Usb.made] == [True, True, True]


def test_a_device_has_its_own_name() -> None:
    assert source_name(SourceSettings(location="/dev/video0")) == "/dev/video0"
    assert source_name(SourceSettings(location="/dev/video0", kind="url")) == "/dev/video0"
