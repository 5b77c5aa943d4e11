"""Live cameras keep only the newest frame, and every way to vanish is told in time."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cmnas_edge.camera.frames.capture import Capture, Picture
from cmnas_edge.camera.frames.source import open_source
from cmnas_edge.camera.frames.stream import Stream, hanging
from cmnas_edge.camera.frames.times import Timescale
from cmnas_edge.camera.settings import SourceSettings
from cmnas_edge.errors import SourceLost
from tests.camera.clock import Clock
from tests.camera.footage import film, number, numbered


class Scripted:
    """A capture that gives a picture whenever the test says so, and None for the end."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.hurried, self.released = threading.Event(), threading.Event()
        self.pictures: list[Any] = []

    def give(self, *pictures: Any) -> None:
        """Hand over pictures, each once the one before has been dealt with; returns when the last has."""
        for picture in pictures:
            assert self.asked.acquire(timeout=10)
            self.pictures.append(picture)
            self.go.release()
            if isinstance(picture, np.ndarray | Picture):
                assert self.asked.acquire(timeout=10)
                self.asked.release()

    def read(self) -> Picture | None:
        self.asked.release()
        if not self.go.acquire(timeout=10):
            return None
        picture = self.pictures.pop(0)
        if isinstance(picture, Exception):
            raise picture
        return Picture(picture) if isinstance(picture, np.ndarray) else picture

    def hurry(self) -> None:
        self.hurried.set()

    def release(self) -> None:
        self.released.set()


def stream(capture: Scripted, clock: Callable[[], float] = time.time,
           monotonic: Callable[[], float] = time.monotonic, **more: Any) -> Stream:
    return Stream("rtsp://cam", lambda: capture, more.pop("silence_s", 10.0), scale=Timescale(clock, monotonic), **more)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("clip") / "clip.avi", numbered(30))


def test_only_the_newest_frame_waits_and_the_others_are_counted() -> None:
    capture = Scripted()
    with stream(capture, Clock(50.0), Clock(7.0)) as source:
        capture.give(*numbered(5))
        assert source.dropped_count == 4
        frame = next(source)
        assert number(frame.image) == 4
        assert frame.index == 4
        assert (frame.seen_at, frame.arrived_at, frame.shift_s, frame.time_source) == (50.0, 7.0, 0.0, "arrival")
        capture.give(numbered(6)[5])
        assert number(next(source).image) == 5
        assert source.dropped_count == 4
        capture.give(None)
    assert capture.released.wait(10)


def test_a_limit_on_a_live_cameras_frames_drops_nothing_that_was_wanted() -> None:
    capture = Scripted()
    clock = Clock()
    numbers = []
    with stream(capture, max_fps=5, monotonic=clock) as source:
        for picture in numbered(20):
            capture.give(picture)
            wanted = number(picture) % 2 == 0  # a camera at 10 fps, exactly
            if wanted:
                numbers.append(next(source).index)
            clock.now += 0.1001
        capture.give(None)
    assert numbers == list(range(0, 20, 2))
    assert source.dropped_count == 0


def test_a_silent_camera_is_lost_when_its_newest_frame_is_too_old() -> None:
    capture = Scripted()
    clock = Clock()
    with stream(capture, silence_s=7.0, monotonic=clock) as source:
        clock.now += 6
        capture.give(numbered(1)[0])
        next(source)
        clock.now += 8
        with pytest.raises(SourceLost, match=r"rtsp://cam: expected a frame within 7 s, found silence"):
            next(source)
        capture.give(None)


def test_a_camera_that_vanishes_is_lost_at_once() -> None:
    capture = Scripted()
    with stream(capture) as source:
        capture.give(numbered(1)[0])
        next(source)
        capture.give(None)
        with pytest.raises(SourceLost, match="found the stream ended"):
            next(source)
    assert capture.released.wait(10)


def test_a_frame_that_arrived_before_the_end_is_still_given() -> None:
    capture = Scripted()
    with stream(capture) as source:
        capture.give(numbered(3)[2], None)
        assert capture.released.wait(10)
        assert number(next(source).image) == 2
        with pytest.raises(SourceLost):
            next(source)


def test_a_refusal_is_lost_and_not_waited_for() -> None:
    def refuse() -> Capture:
        raise SourceLost("rtsp://cam: refused")

    with Stream("rtsp://cam", refuse, 1000.0) as source, pytest.raises(SourceLost, match="refused"):
        next(source)


def test_a_decoder_that_gives_up_is_a_lost_source() -> None:
    capture = Scripted()
    with stream(capture) as source:
        capture.give(cv2.error("bad"))
        with pytest.raises(SourceLost, match="what cannot be decoded"):
            next(source)


def test_a_bug_of_ours_in_the_thread_is_not_hidden() -> None:
    capture = Scripted()
    with stream(capture) as source:
        capture.give(ZeroDivisionError("ours"))
        with pytest.raises(ZeroDivisionError):
            next(source)


def test_closing_from_another_thread_wakes_one_who_waits() -> None:
    capture = Scripted()
    with stream(capture, silence_s=1000.0) as source:
        closer = threading.Timer(0.05, source.close)
        closer.start()
        assert list(source) == []
        closer.join()
        capture.give(None)


def test_only_the_thread_that_reads_releases_a_capture() -> None:
    capture = Scripted()
    source = stream(capture, silence_s=1000.0)
    with source:
        source.close()
    assert capture.hurried.is_set()
    assert not capture.released.is_set()  # it still hangs in a read, where releasing would crash
    capture.give(None)
    assert capture.released.wait(10)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    held.append(server.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for one in held:
            one.close()


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_url_that_accepts_and_stays_silent_is_lost_in_time(scheme: str, silent_port: int) -> None:
    begun = time.monotonic()
    settings = SourceSettings(location=f"{scheme}://u:hunter2@127.0.0.1:{silent_port}/live", silence_s=0.5)
    with open_source(settings) as source, pytest.raises(SourceLost) as lost:
        next(source)
    assert time.monotonic() - begun < 5
    assert "hunter2" not in str(lost.value)
    for thread in threading.enumerate():  # nor does a thread go on waiting in FFmpeg, which by itself has 30 s
        if thread.name.startswith("camera "):
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_url_that_refuses_is_lost_at_once(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with open_source(SourceSettings(location=f"{scheme}://127.0.0.1:{port}/live")) as source:
        with pytest.raises(SourceLost, match=r"nobody who listens \(refused\)"):
            next(source)


def test_a_stream_over_http_that_stalls_mid_way_gives_frames_and_then_is_lost(clip: Path) -> None:
    body, stalled = clip.read_bytes(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/x-msvideo")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body[:len(body) * 2 // 3])
                self.wfile.flush()
                stalled.wait(20)
            except OSError:
                pass

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/clip.avi"
        with open_source(SourceSettings(location=url, silence_s=1.0)) as source:
            next(source)
            with pytest.raises(SourceLost):
                list(source)
        stalled.set()
        server.shutdown()


def test_neither_opencv_nor_ffmpeg_writes_a_word_about_a_broken_source(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("no video")
    script = """
import sys
from cmnas_edge.camera.settings import SourceSettings
from cmnas_edge.camera.frames.source import open_source
from cmnas_edge.errors import CmnasError
for location in sys.argv[1:]:
    try:
        with open_source(SourceSettings(location=location, silence_s=1)) as source:
            next(source)
    except CmnasError:
        continue
    raise SystemExit("opened")
"""
    bare = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "clip.mp4"), "http://u:hunter2@127.0.0.1:1/x",
         "rtsp://u:hunter2@127.0.0.1:1/x"],
        capture_output=True, text=True, check=False, env=bare, cwd=Path(__file__).parents[2], timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_reader_that_never_returns_is_named_once_every_timeout_is_over() -> None:
    capture = Scripted()
    with stream(capture, silence_s=0.5):
        assert capture.asked.acquire(timeout=10)
        reader = next(one for one in threading.enumerate() if one.name == "camera rtsp://cam")
    now = time.monotonic()
    assert hanging(now + 30) == [], "its own timeouts may still end it"
    assert hanging(now + 300) == ["rtsp://cam"]
    capture.pictures.append(None)
    capture.go.release()
    reader.join(10)
    assert hanging(now + 300) == []
