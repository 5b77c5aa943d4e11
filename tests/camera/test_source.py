"""Recorded sources lose nothing, and what is no footage is refused in one sentence."""

from __future__ import annotations

import logging
import os
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.camera.frames import footage
from cmnas_edge.camera.frames.footage import Footage, Recording
from cmnas_edge.camera.frames.source import open_source, source_name
from cmnas_edge.camera.settings import SourceSettings
from cmnas_edge.errors import ConfigError
from tests.camera.clock import Clock
from tests.camera.footage import film, number, numbered
from tests.shared import SHARED, needs_shared


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


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_a_file_whose_date_was_lost_begins_no_earlier_than_time_itself(tmp_path: Path, kind: str) -> None:
    path = film(tmp_path / "a.avi", numbered(3)) if kind == "video" else tmp_path / "a.png"
    if kind == "folder":
        cv2.imwrite(str(path), numbered(1)[0])
    os.utime(path, (0, 0))
    with open_source(SourceSettings(location=str(path if kind == "video" else tmp_path))) as source:
        assert next(iter(source)).seen_at == 0


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


def test_messages_never_hold_what_a_url_keeps_secret() -> None:
    for url in ("rtsp://admin:hunter2@10.0.0.7:554/live", "http://10.0.0.7/video?user=admin&password=hunter2",
                "rtsp://10.0.0.7/user=admin&password=hunter2&channel=1", "rtsp://hunter2@[::1]:554/x"):
        name = source_name(SourceSettings(location=url))
        assert "hunter2" not in name
        assert name.startswith(("rtsp://", "http://"))
    for url in ("rtsp://admin:2/hunter2@10.0.0.7/x",    # the slash would make a port of the password's beginning
                "ftp://admin:hunter2@10.0.0.7/x", "rtsp://admin:hunter2@", "http://hunter2@[bad/x", "rtsp://a:hunter2@h:x/"):
        with pytest.raises(ConfigError) as refusal:
            open_source(SourceSettings(location=url))
        assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(("url", "says"), [
    ("ftp://10.0.0.7/x", "begins with rtsp://"),
    ("rtsp://cam..example/x", "parts between dots have 1 to 63"),
    (f"rtsp://{'a' * 64}/x", "parts between dots have 1 to 63"),
    ("rtsp://10.0.0.7/live\r\nX: y", "signs that can be printed"),
    ("rtsp://10.0.0.7:65536/x", "a port of at most 65535"),
    ("rtsp:///live", "expected a host"),
    ("rtsp://u:p#w@10.0.0.7/x", "write it %2F, %3F or %23"),
    ("rtsp://u:p?w@10.0.0.7/x", "write it %2F, %3F or %23"),
    ("rtsp://u:1/w@10.0.0.7/x", "write it %2F, %3F or %23"),
])
def test_a_url_that_nobody_could_open_is_refused_before_anybody_tries(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as refusal:
        open_source(SourceSettings(location=url))
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("url", [
    "rtsp://u:p@ss@10.0.0.7/x", "rtsp://u:p%23w@10.0.0.7/ü x?a=b#c", "RTSP://my_camera.local./x", "rtsp://bücher.example/x",
    "rtsp://[fe80::1%25eth0]:554/x"])
def test_a_url_that_a_camera_may_have_is_taken(url: str) -> None:
    assert source_name(SourceSettings(location=url)).startswith("rtsp://")


def test_a_picture_too_large_to_be_one_is_named(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                                        + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""))
    with open_source(SourceSettings(location=str(tmp_path))) as source, \
            pytest.raises(ConfigError, match=r"bomb\.png: expected an image"):
        next(source)


def test_a_video_that_cannot_be_decoded_on_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "a.avi", numbered(3))

    class Broken:
        def read(self) -> tuple[bool, object]:
            raise cv2.error("out of memory")

        def release(self) -> None:
            pass

    source = open_source(SourceSettings(location=str(path)))
    monkeypatch.setattr(footage, "open_file", lambda _: Broken())
    with source, pytest.raises(ConfigError, match=r"a\.avi: expected a video, found pictures that cannot be decoded"):
        next(source)
