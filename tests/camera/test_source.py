"""Sources: files lose nothing, live cameras keep only the newest, and every failure is one sentence."""

from __future__ import annotations

import http.server
import logging
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
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.camera.footage import Footage, Recording
from cmnas_edge.camera.settings import SourceSettings
from cmnas_edge.camera.source import Backoff, open_source, source_name
from cmnas_edge.camera.stream import Stream
from cmnas_edge.errors import ConfigError, SourceLost
from tests.camera.footage import film, number, numbered
from tests.shared import SHARED, needs_shared


class Clock:
    """A time that only moves when someone waits."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Scripted:
    """A capture that gives a picture whenever the test says so, and None for the end."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.released = threading.Event()
        self.pictures: list[Any] = []

    def give(self, *pictures: Any) -> None:
        """Hand over pictures, each once the one before has been dealt with; returns when the last has."""
        for picture in pictures:
            assert self.asked.acquire(timeout=10)
            self.pictures.append(picture)
            self.go.release()
            if isinstance(picture, np.ndarray):
                assert self.asked.acquire(timeout=10)
                self.asked.release()

    def read(self) -> tuple[bool, Any]:
        self.asked.release()
        if not self.go.acquire(timeout=10):
            return False, None
        picture = self.pictures.pop(0)
        if isinstance(picture, Exception):
            raise picture
        return picture is not None, picture

    def release(self) -> None:
        self.released.set()


def stream(capture: Scripted | None, **more: Any) -> Stream:
    return Stream("rtsp://cam", lambda: capture, more.pop("silence_s", 10.0), **more)


# --- recorded ---

@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("clip") / "clip.avi", numbered(30))


def test_a_file_gives_every_frame_once_with_its_own_time(clip: Path) -> None:
    with open_source(SourceSettings(location=str(clip), pace="fast", starts_at=500.0)) as source:
        frames = list(source)
    assert source.recorded
    assert source.dropped_count == 0
    assert [number(frame.image) for frame in frames] == list(range(30))
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.seen_at for frame in frames] == pytest.approx(500 + np.arange(30) / 10)
    assert frames[0].image.dtype == np.uint8
    assert frames[0].image.shape == (48, 64, 3)


def test_without_a_start_a_file_was_taken_when_it_was_written(clip: Path) -> None:
    os.utime(clip, (5000, 5000))
    with open_source(SourceSettings(location=str(clip), pace="fast")) as source:
        assert next(iter(source)).seen_at == pytest.approx(5000 - 3)


def test_real_pace_waits_for_each_frames_time_and_never_skips_when_late() -> None:
    clock = Clock()
    recording = Recording(lambda: iter(numbered(6)), 10.0, 0.0)
    source = Footage(recording, real_pace=True, monotonic=clock, wait=clock.wait)
    seen = []
    for frame in source:
        seen.append((number(frame.image), round(clock.now - 1000, 6)))
        if frame.index == 2:
            clock.now += 0.25  # someone is slow once
    assert seen == [(0, 0), (1, 0.1), (2, 0.2), (3, 0.45), (4, 0.45), (5, 0.5)]


def test_fast_pace_never_waits() -> None:
    clock = Clock()
    source = Footage(Recording(lambda: iter(numbered(6)), 10.0, 0.0), real_pace=False, monotonic=clock, wait=clock.wait)
    assert len(list(source)) == 6
    assert not clock.waits


def test_a_loop_goes_on_with_time_and_index() -> None:
    source = Footage(Recording(lambda: iter(numbered(3)), 10.0, 100.0), real_pace=False, loop=True)
    frames = [next(source) for _ in range(8)]
    assert [number(frame.image) for frame in frames] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [frame.index for frame in frames] == list(range(8))
    assert frames[7].seen_at == pytest.approx(100.7)


@given(st.floats(0.5, 40), st.floats(1, 60))
def test_a_limit_on_frames_per_second_leaves_out_evenly_and_keeps_the_first(most: float, fps: float) -> None:
    source = Footage(Recording(lambda: iter(numbered(100)), fps, 0.0), real_pace=False, max_fps=most)
    indices = [frame.index for frame in source]
    assert indices[0] == 0
    assert abs(len(indices) - 100 * min(1, most / fps)) <= 1
    gaps = set(np.diff(indices).tolist())
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


def test_closing_ends_the_iteration_and_lets_the_file_go() -> None:
    closed = []

    def pictures() -> Iterator[Any]:
        try:
            yield from numbered(50)
        finally:
            closed.append(True)

    with Footage(Recording(pictures, 10.0, 0.0), real_pace=False) as source:
        assert next(source).index == 0
        source.close()
        assert list(source) == []
    assert closed


def test_closing_wakes_one_who_waits_for_the_next_frames_time() -> None:
    # Were the wait not interrupted, this would take 100 s and the timeout would end it.
    with Footage(Recording(lambda: iter(numbered(5)), 0.01, 0.0), real_pace=True) as source:
        next(source)
        closer = threading.Timer(0.05, source.close)
        closer.start()
        assert list(source) == []
        closer.join()


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for value, picture in enumerate(numbered(12)):
        assert cv2.imwrite(str(tmp_path / f"frame{value}.png"), picture)
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_source(SourceSettings(location=str(tmp_path), pace="fast", fps=5, starts_at=0)) as source:
        frames = list(source)
    assert [number(frame.image) for frame in frames] == list(range(12))
    assert frames[5].seen_at == pytest.approx(1.0)


def site(folder: Path) -> Path:
    path = folder / "site.toml"
    path.write_text('seed = 3\npeople = 1\nduration_s = 2.0\nfps = 5.0\nstarts_at = 9000.0\n'
                    'cameras = [{name = "hall", kind = "visible"}, {name = "yard", kind = "infrared"}]\n')
    return path


def test_a_drawn_camera_is_a_source(tmp_path: Path) -> None:
    path = site(tmp_path)
    with open_source(SourceSettings(location=str(path), camera="yard", pace="fast")) as source:
        frames = list(source)
    assert len(frames) == 10
    assert frames[5].seen_at == pytest.approx(9001.0)
    assert frames[0].image.shape == (360, 640, 3)


def test_a_drawn_site_asks_for_one_of_its_cameras(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of hall, yard, found roof"):
        open_source(SourceSettings(location=str(site(tmp_path)), camera="roof"))


def make_nothing(folder: Path) -> Path:
    return folder / "missing.mp4"


def make_text(folder: Path) -> Path:
    (folder / "clip.mp4").write_text("this is no video\n" * 50)
    return folder / "clip.mp4"


def make_text_that_ffmpeg_would_play(folder: Path) -> Path:
    (folder / "notes.txt").write_text("this is no video\n" * 50)
    return folder / "notes.txt"


def make_empty(folder: Path) -> Path:
    (folder / "clip.mp4").touch()
    return folder / "clip.mp4"


def make_empty_folder(folder: Path) -> Path:
    return folder


@pytest.mark.parametrize(("make", "kind", "words"), [
    (make_nothing, "auto", "found nothing there"),
    (make_text, "auto", "cannot be read as one"),
    (make_text_that_ffmpeg_would_play, "auto", "cannot be read as one"),
    (make_empty, "auto", "cannot be read as one"),
    (make_empty_folder, "auto", "expected images, found none"),
    (make_empty_folder, "video", "found a folder"),
    (make_text, "folder", "found a file"),
])
def test_what_is_no_footage_is_refused_in_one_sentence(
        make: Callable[[Path], Path], kind: Any, words: str, tmp_path: Path) -> None:
    location = make(tmp_path)
    with pytest.raises(ConfigError, match=words) as refusal:
        open_source(SourceSettings(location=str(location), kind=kind))
    assert str(location) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_image_that_is_none_is_named(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "1.png"), numbered(1)[0])
    (tmp_path / "2.png").write_bytes(b"\x89PNG broken")
    with open_source(SourceSettings(location=str(tmp_path), pace="fast")) as source:
        next(source)
        with pytest.raises(ConfigError, match=r"2\.png: expected an image"):
            next(source)


def test_a_truncated_video_gives_what_it_has_and_warns(clip: Path, tmp_path: Path,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    short = tmp_path / "short.avi"
    short.write_bytes(clip.read_bytes()[:clip.stat().st_size // 2])
    with caplog.at_level(logging.WARNING, "cmnas.camera"):
        try:
            with open_source(SourceSettings(location=str(short), pace="fast", fps=10)) as source:
                count = len(list(source))
        except ConfigError:
            return  # some FFmpegs refuse it outright, which is as clear
    assert count < 30


@needs_shared("data/vtest.avi")
def test_a_real_clip_has_all_its_frames() -> None:
    with open_source(SourceSettings(location=str(SHARED / "data/vtest.avi"), pace="fast")) as source:
        assert sum(1 for _ in source) == 795


# --- live ---

def test_only_the_newest_frame_waits_and_the_others_are_counted() -> None:
    capture = Scripted()
    clock = Clock(50.0)
    with stream(capture, clock=clock) as source:
        capture.give(*numbered(5))
        assert source.dropped_count == 4
        frame = next(source)
        assert number(frame.image) == 4
        assert frame.index == 4
        assert frame.seen_at == 50.0
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
        with pytest.raises(SourceLost, match="the stream ended"):
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
    with stream(None) as source, pytest.raises(SourceLost, match="refused, unreachable or not"):
        next(source)


def test_a_decoder_that_gives_up_is_a_lost_source() -> None:
    capture = Scripted()
    with stream(capture) as source:
        capture.give(cv2.error("bad"))
        with pytest.raises(SourceLost, match="cannot be decoded"):
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
    assert not capture.released.is_set()  # it still hangs in a read, where releasing would crash
    capture.give(None)
    assert capture.released.wait(10)


def test_messages_never_hold_what_a_url_keeps_secret() -> None:
    for url in ("rtsp://admin:hunter2@10.0.0.7:554/live", "http://10.0.0.7/video?user=admin&password=hunter2",
                "rtsp://10.0.0.7/user=admin&password=hunter2&channel=1", "rtsp://hunter2@[::1]:554/x"):
        name = source_name(SourceSettings(location=url))
        assert "hunter2" not in name
        assert name.startswith(("rtsp://", "http://"))
    for url in ("ftp://admin:hunter2@10.0.0.7/x", "rtsp://admin:hunter2@", "http://hunter2@[bad/x", "rtsp://a:hunter2@h:x/"):
        with pytest.raises(ConfigError) as refusal:
            open_source(SourceSettings(location=url))
        assert "hunter2" not in str(refusal.value)


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


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_url_that_refuses_is_lost_at_once(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with open_source(SourceSettings(location=f"{scheme}://127.0.0.1:{port}/live")) as source:
        with pytest.raises(SourceLost, match="refused, unreachable or not video"):
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
from cmnas_edge.camera.source import open_source
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


# --- back-off ---

@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=30))
def test_every_wait_lies_between_the_first_and_the_last_and_its_ceiling_doubles(draws: list[float]) -> None:
    clock = Clock()
    numbers = iter(draws)
    backoff = Backoff(1, 60, clock=clock, draw=lambda: next(numbers))
    for attempt, draw in enumerate(draws):
        ceiling = min(60, 2.0**attempt)
        wait = backoff.failed()
        assert max(1, ceiling / 2) <= wait <= ceiling
        assert wait == max(1, ceiling * (1 - draw / 2))


def test_only_a_source_that_held_for_a_while_starts_over() -> None:
    clock = Clock()
    backoff = Backoff(1, 60, settled_s=10, clock=clock, draw=lambda: 0.0)
    assert [backoff.failed() for _ in range(4)] == [1, 2, 4, 8]
    backoff.worked()
    clock.now += 9
    backoff.worked()
    assert backoff.failed() == 16
    for _ in range(12):
        backoff.worked()
        clock.now += 1
    assert backoff.failed() == 1


def test_a_camera_that_gives_one_frame_and_dies_is_not_asked_in_a_busy_loop() -> None:
    clock = Clock()
    backoff = Backoff(1, 60, clock=clock, draw=lambda: 0.999)
    for _ in range(8):
        backoff.worked()
        clock.now += backoff.failed()
    assert clock.now - 1000 > 60
