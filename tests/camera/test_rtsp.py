"""A network camera on a real RTSP server: whatever becomes of it is told in one sentence, and it comes back."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cmnas_edge import log
from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.frames.refusal import why_not
from cmnas_edge.camera.frames.source import open_source
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.pipeline import Pipeline
from cmnas_edge.camera.settings import CameraSettings, DetectorSettings, SourceSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.camera.watch import Camera, watch
from cmnas_edge.errors import SourceLost
from tests.camera.clock import Clock
from tests.camera.rtsp import RtspServer, made_at, missing, needs_gstreamer, needs_rtsp, peer

PATIENCE_S = 20.0   # with what must work, on however busy a machine


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    if reason := missing():
        pytest.skip(f"no RTSP server: {reason}")
    with RtspServer() as running:
        yield running


@pytest.fixture(params=["opencv", "gstreamer"])
def reader(request: pytest.FixtureRequest) -> str:
    """Who reads and decodes."""
    if request.param == "gstreamer":
        request.getfixturevalue("gstreamer_here")
    return str(request.param)


def settings(url: str, silence_s: float = PATIENCE_S, reader: str = "opencv") -> SourceSettings:
    return SourceSettings(location=url, silence_s=silence_s, pipeline=None if reader == "opencv" else "software")


def frames_until(url: str, enough: Callable[[Frame], bool], reader: str = "opencv") -> list[Frame]:
    with open_source(settings(url, reader=reader)) as source:
        frames: list[Frame] = []
        for frame in source:
            frames.append(frame)
            if enough(frame):
                break
        return frames


def refusal(url: str, silence_s: float = PATIENCE_S, reader: str = "opencv") -> str:
    with open_source(settings(url, silence_s, reader)) as source, pytest.raises(SourceLost) as lost:
        list(source)
    assert "\n" not in str(lost.value)
    assert "hunter2" not in str(lost.value)
    return str(lost.value)


def test_frames_come_as_they_are_made_in_order_and_stamped_on_arrival(server: RtspServer) -> None:
    frames = frames_until(server.url(), lambda frame: frame.index >= 50)
    made = [made_at(frame.image) for frame in frames]
    assert made == sorted(made)
    assert frames[-1].image.shape == (240, 320, 3)
    assert frames[-1].image.dtype == np.uint8
    for frame in frames:
        assert frame.time_source == "arrival"
        assert frame.arrived_at > made_at(frame.image)
        assert abs(frame.seen_at + frame.shift_s - time.time()) < PATIENCE_S
    # FFmpeg keeps one picture back, and decodes in less than another; the least of many sees through a busy machine.
    assert min(frame.arrived_at - made_at(frame.image) for frame in frames) < 2 / 25


@needs_rtsp
def test_who_joins_between_key_frames_is_shown_nothing_broken(reader: str) -> None:
    with RtspServer("--shared") as server, open_source(settings(server.url(), reader=reader)) as first:
        while next(first).index < 5:  # the next key frame comes with the 25th
            pass
        for frame in frames_until(server.url(), lambda frame: True, reader):
            assert 0 < time.monotonic() - made_at(frame.image) < PATIENCE_S


def test_who_takes_frames_slowly_gets_new_ones_and_never_falls_behind(server: RtspServer) -> None:
    with open_source(settings(server.url())) as source:
        ages = []
        for _, frame in zip(range(8), source, strict=False):
            ages.append(time.monotonic() - made_at(frame.image))
            threading.Event().wait(0.2)  # five pictures; a queue would age by 0.16 s each time
        assert source.dropped_count >= 8
    assert min(ages[4:]) < 0.16


def test_a_stream_that_changes_its_size_goes_on_in_the_size_it_began_with(server: RtspServer) -> None:
    changed: list[int] = []

    def enough(frame: Frame) -> bool:
        if frame.index >= 5 and not changed:
            server.say("size 640 480")
            changed.append(frame.index)
        return frame.index > 30

    try:
        frames = frames_until(server.url(), enough)
    finally:
        server.say("size 320 240")
    assert changed
    assert {frame.image.shape for frame in frames} == {(240, 320, 3)}
    made = [made_at(frame.image) for frame in frames]  # the bars are those of the new size, scaled
    assert made == sorted(made)
    assert 0 <= time.monotonic() - made[-1] < PATIENCE_S


@needs_gstreamer
def test_gstreamer_takes_on_the_size_that_a_stream_changes_to(server: RtspServer) -> None:
    sizes = []

    def enough(frame: Frame) -> bool:
        if frame.image.shape[:2] not in sizes:
            sizes.append(frame.image.shape[:2])
            server.say("size 640 480")
        return len(sizes) == 2

    try:
        last = frames_until(server.url(), enough, "gstreamer")[-1]
    finally:
        server.say("size 320 240")
    assert sizes == [(240, 320), (480, 640)]
    assert 0 <= time.monotonic() - made_at(last.image) < PATIENCE_S


def test_a_camera_that_hangs_is_silent_and_comes_back_when_it_does(server: RtspServer, reader: str) -> None:
    with open_source(settings(server.url(), 2.0, reader)) as source:
        next(source)
        server.freeze()
        try:
            with pytest.raises(SourceLost, match=r"expected a frame within 2 s, found silence|found the stream ended"):
                list(source)
        finally:
            server.thaw()
    for attempt in range(5):    # as a daemon goes on trying; what was frozen may be busy with what it missed
        try:
            assert frames_until(server.url(), lambda frame: True, reader)
            break
        except SourceLost:
            assert attempt < 4


def test_damaged_video_neither_ends_the_daemon_nor_the_camera(server: RtspServer, reader: str) -> None:
    server.say("break 0.01")
    try:
        with open_source(settings(server.url(), 2.0, reader)) as source:
            with contextlib.suppress(SourceLost):  # it may also count as no video at all
                for _, frame in zip(range(30), source, strict=False):
                    assert frame.image.shape[2] == 3
    finally:
        server.say("break 0")
    whole = frames_until(server.url(), lambda frame: frame.index >= 30, reader)
    assert abs(whole[-1].arrived_at - made_at(whole[-1].image)) < PATIENCE_S


@needs_rtsp
def test_wrong_credentials_missing_ones_and_a_wrong_path_are_told_apart(reader: str) -> None:
    with RtspServer("--user", "admin", "--password", "right") as guarded:
        assert frames_until(guarded.url("admin:right@"), lambda frame: True, reader)
        refusals = [(guarded.url("admin:hunter2@"), "refuses these credentials (401); check user and password"),
                    (guarded.url(), "asks for credentials (401)"),
                    (guarded.url("admin:right@", "/hunter2"), "has no such stream (404); check the path")]
        for url, says in refusals if reader == "opencv" else refusals[:1]:  # it is found out in the same way
            assert says in refusal(url, reader=reader)


@pytest.mark.parametrize(("answer", "says"), [
    (lambda one: one.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "an answer that is no RTSP; check the port"),
    (lambda one: one.sendall(os.urandom(65536)), "an answer that is no RTSP; check the port"),
    (lambda one: one.close(), "no RTSP"),
    (lambda one: one.sendall(b"RTSP/1.0 500 Internal Server Error\r\nCSeq: 1\r\n\r\n"),
     r"in trouble of its own \(500\); restart it"),
    (lambda one: one.sendall(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00\x01"),
     "gives no picture"),
    (lambda one: one.recv(1), "silence|no answer"),
])
def test_what_listens_and_is_no_camera_is_told_and_never_sees_the_password_without_asking(
        answer: Callable[[socket.socket], object], says: str) -> None:
    with peer(answer) as (port, asked):
        assert re.search(says, refusal(f"rtsp://admin:hunter2@127.0.0.1:{port}/live", 0.5))
    assert not any(b"hunter2" in question for question in asked)


@pytest.mark.parametrize(("status", "says"), [
    (404, "has no such stream (404); check the path"), (410, "has that stream no more (410); check the path"),
    (453, "has no bandwidth left (453); close other viewers"), (503, "is busy or still starting (503); wait"),
    (500, "is in trouble of its own (500); restart"), (551, "is in trouble of its own (551); restart"),
    (302, "sends elsewhere for this stream (302); write the address"), (403, "asks for credentials (403)"),
    (451, "does not understand what it is asked (451); check the path"),
    (200, "gives no picture"), (199, "does not understand what it is asked (199)")])
def test_each_status_of_a_camera_is_a_sentence_of_its_own(status: int, says: str) -> None:
    with peer(lambda one: one.sendall(f"RTSP/1.0 {status} Something\r\nCSeq: 1\r\n\r\n".encode())) as (port, _):
        assert says in why_not(f"rtsp://127.0.0.1:{port}/live", PATIENCE_S)


def watched(url: str, waits: list[float], until: Callable[[Camera], bool], attempts: int, reader: str = "opencv"
            ) -> tuple[Camera, Tally]:
    """Watch a camera with a back-off that is noted down instead of slept, until something, or so many attempts."""
    camera_settings = CameraSettings(name="door", source=settings(url, reader=reader), detector=DetectorSettings())
    tally, stop, clock = Tally(), threading.Event(), Clock()
    opened: list[int] = []

    class Noted(Backoff):
        def failed(self) -> float:
            waits.append(super().failed())
            clock.now += waits[-1]
            if len(waits) >= attempts:
                stop.set()
            return 0.05

    def open_again() -> object:
        opened.append(1)
        return open_source(camera_settings.source)

    camera = Camera(camera_settings, Pipeline(camera_settings, open_detector(camera_settings.detector), tally,
                                              height=32, width=16, first_tracklet=1), open_again)  # type: ignore[arg-type]
    thread = threading.Thread(target=watch, args=(camera, lambda *_: (), stop, tally),
                              kwargs={"backoff": Noted(clock=clock)}, daemon=True)
    thread.start()
    due = time.monotonic() + 3 * PATIENCE_S
    while thread.is_alive() and not until(camera) and time.monotonic() < due:
        stop.wait(0.02)
    stop.set()
    if camera.source is not None:
        camera.source.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(waits) <= len(opened) <= len(waits) + 1  # no attempt without a wait before the next
    return camera, tally


def test_a_camera_that_refuses_is_asked_eight_times_in_a_minute_and_a_half_and_its_password_is_in_no_log(
        caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    waits: list[float] = []
    with caplog.at_level(logging.DEBUG):
        camera, tally = watched(f"rtsp://admin:hunter2@127.0.0.1:{port}/live", waits, lambda _: False, 9)
    assert camera.state in ("lost", "ended")
    assert tally["source_failures"] == len(waits) == 9
    for wait_s, ceiling_s in zip(waits, [2, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert max(1, ceiling_s / 2) <= wait_s <= ceiling_s
    assert len(set(waits)) == 9  # drawn, from the first on, not in step with other cameras
    assert waits[0] > 1
    assert sum(waits[:8]) > 90  # so many lie before the ninth attempt
    assert "refused" in caplog.text
    assert "hunter2" not in caplog.text


@needs_rtsp
def test_a_camera_that_is_killed_and_started_again_is_live_again(
        reader: str, caplog: pytest.LogCaptureFixture) -> None:
    running = RtspServer()
    port, steps = running.port, []

    def until(camera: Camera) -> bool:
        nonlocal running
        if not steps and camera.frame_count >= 5:
            running.kill()
            steps.append("killed")
        elif steps == ["killed"] and camera.state == "lost":
            running = RtspServer(port=port)
            steps.append("started")
        elif steps == ["killed", "started"] and camera.state == "live":
            steps.append("live")
        return len(steps) == 3

    waits: list[float] = []
    with caplog.at_level(logging.INFO, "cmnas.camera"):
        watched(running.url("admin:hunter2@"), waits, until, 400, reader)
    running.kill()
    assert steps == ["killed", "started", "live"]
    assert waits
    assert re.search(r"camera door: rtsp://127.0.0.1:\d+: expected .*, found ", caplog.text)
    assert "camera door: frames again" in caplog.text
    assert "hunter2" not in caplog.text
    assert log.scrub(caplog.text) == caplog.text


