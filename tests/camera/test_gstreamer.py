"""GStreamer in a child process: the newest picture with its sender's time, and every way to fail in one sentence."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from cmnas_edge.camera.frames import gstreamer
from cmnas_edge.camera.frames.gstreamer import PRESETS, Child, describe, properties
from cmnas_edge.camera.frames.source import open_source
from cmnas_edge.camera.settings import SourceSettings
from cmnas_edge.errors import ConfigError, DeviceError, SourceLost
from tests.camera.rtsp import RtspServer, made_at, needs_gstreamer, needs_rtsp

PATIENCE_S = 20.0
TEST = "videotestsrc is-live=true name=source ! video/x-raw,width={},height=100,framerate=30/1,format={}"


def child(description: str, patience_s: float = PATIENCE_S, **more: object) -> Child:
    return Child("door", description, {}, patience_s, **more)  # type: ignore[arg-type]


def process(one: Child) -> psutil.Process:
    return psutil.Process(one._process.pid)


@needs_gstreamer
@pytest.mark.parametrize(("width", "form"), [(101, "BGR"), (101, "BGRx"), (160, "I420")])  # 303 bytes go into 304
def test_any_form_of_video_becomes_pictures_of_blue_green_red(width: int, form: str) -> None:
    with child(TEST.format(width, form) + " ! identity") as one:
        picture = one.read()
    assert picture is not None
    image = picture.image
    assert image.shape == (100, width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    # SMPTE bars: white, yellow, cyan, green, magenta, red, blue.
    colours = [image[30, round((bar + 0.5) * width / 7)] > 100 for bar in range(7)]
    assert [tuple(map(int, colour)) for colour in colours] == [
        (1, 1, 1), (0, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 0, 0)]


@needs_gstreamer
def test_what_is_not_taken_gives_way_to_newer_ones_and_is_counted() -> None:
    with child(TEST.format(320, "BGR")) as one:
        first = one.read()
        threading.Event().wait(0.5)  # fifteen pictures
        later = one.read()
    assert first is not None
    assert later is not None
    assert later.missed_count >= 8
    assert (later.image != first.image).any()


@needs_gstreamer
@needs_rtsp
def test_what_is_taken_after_a_pause_was_made_after_it() -> None:
    with RtspServer() as server:
        url = server.url()
        with Child("door", describe("software", url, None), properties(url), PATIENCE_S) as one:
            one.read()
            ages_s = []
            for _ in range(4):
                threading.Event().wait(0.4)  # ten pictures; the first of a queue would be older at each turn
                picture = one.read()
                assert picture is not None
                ages_s.append(time.monotonic() - made_at(picture.image))
    assert min(ages_s[1:]) < 0.3


@needs_gstreamer
@pytest.mark.parametrize(("description", "failure", "says"), [
    ("videotestsrc ! nvv4l2decoder enable-max-performance=1", DeviceError, 'no element "nvv4l2decoder"; install'),
    ("videotestsrc ! !", ConfigError, "syntax error"),
    ("videotestsrc pattern=hunter2", ConfigError, "could not set property"),
    ("videotestsrc ! tee name=t ! queue ! udpsink t. ! queue", ConfigError, r"a sink of its own \(udpsink"),
])
def test_a_pipeline_that_cannot_be_meant_is_refused_before_any_camera_is_asked(
        description: str, failure: type[Exception], says: str) -> None:
    with pytest.raises(failure, match=says) as raised:
        open_source(SourceSettings(location="rtsp://admin:hunter2@127.0.0.1:1/x", pipeline=description))
    assert str(raised.value).startswith("rtsp://127.0.0.1:1: expected")
    assert "\n" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_python_without_bindings_is_told_with_what_brings_them(tmp_path: Path) -> None:
    bare = tmp_path / "python"  # isolated (-I) and without site packages (-S): only the standard library
    bare.write_text(f"#!/bin/sh\nexec {sys.executable} -S \"$@\"\n")
    bare.chmod(0o755)
    with child("videotestsrc", python=str(bare)) as one:
        with pytest.raises(DeviceError, match="No module named 'gi'; install"):
            one.read()
    with pytest.raises(SourceLost, match="No such file or directory"):
        child("videotestsrc", python=str(tmp_path / "none"))


@needs_gstreamer
def test_an_end_an_error_and_a_death_are_three_sentences() -> None:
    def exhaust(one: Child) -> str:
        with pytest.raises(SourceLost) as lost:
            list(iter(one.read, None))
        return str(lost.value)

    with child("videotestsrc num-buffers=3") as one:
        assert "expected more pictures, found \"the stream ended\"; check the camera" in exhaust(one)
    with child("filesrc location=/nowhere/hunter2 ! decodebin") as one:
        assert "expected video, found \"Resource not found.\"; check the address" in (said := exhaust(one))
        assert "hunter2" not in said
    with child(TEST.format(320, "BGR")) as one:
        one.read()
        process(one).kill()
        assert "found that its process died (code -9)" in exhaust(one)


@needs_gstreamer
def test_a_codec_without_a_plug_in_is_the_streams_doing_and_is_named() -> None:
    payload = "application/x-rtp,media=video,clock-rate=90000,encoding-name=FOO"
    asked: list[int] = []
    with child(f"videotestsrc ! jpegenc ! rtpjpegpay ! capssetter caps={payload} replace=true ! decodebin",
               why=lambda: asked.append(1)) as one, pytest.raises(SourceLost) as lost:
        one.read()
    assert "lacks FOO video RTP depayloader (application/x-rtp, media=video, encoding-name=FOO); set" in str(lost.value)
    assert "python3-gi" not in str(lost.value)
    assert not asked, "nothing better is learnt by asking the camera"


def with_sound_of_no_known_kind(path: Path) -> Path:
    """An AVI of ten pictures, with a second of sound in a format that nobody ever wrote a decoder for."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    def some(kind: bytes, data: bytes) -> bytes:
        return chunk(b"LIST", kind + data)

    def stream(kind: bytes, handler: bytes, form: bytes, per: int, count: int) -> bytes:
        head = struct.pack("<4s4sIHHIIIIIIII4H", kind, handler, 0, 0, 0, 0, 1, per, 0, count, 1 << 16, 0, 0, 0, 0, 0, 0)
        return some(b"strl", chunk(b"strh", head) + chunk(b"strf", form))

    picture = cv2.imencode(".jpg", np.full((48, 64, 3), 128, np.uint8))[1].tobytes()
    video = stream(b"vids", b"MJPG", struct.pack("<IiiHH4sIiiII", 40, 64, 48, 1, 24, b"MJPG", 9216, 0, 0, 0, 0), 10, 10)
    sound = stream(b"auds", bytes(4), struct.pack("<HHIIHHH", 0x7AB3, 1, 8000, 8000, 1, 8, 0), 8000, 8000)
    head = chunk(b"avih", struct.pack("<14I", 100_000, 0, 0, 0x100, 10, 0, 2, 1 << 16, 64, 48, 0, 0, 0, 0))
    movie = b"".join(chunk(b"00dc", picture) + chunk(b"01wb", bytes(800)) for _ in range(10))
    path.write_bytes(chunk(b"RIFF", b"AVI " + some(b"hdrl", head + video + sound) + some(b"movi", movie)))
    return path


@needs_gstreamer
def test_sound_that_nobody_can_decode_is_no_reason_to_lose_a_camera(tmp_path: Path) -> None:
    path = with_sound_of_no_known_kind(tmp_path / "a.avi")
    with child(f"filesrc location={path} ! decodebin") as one:
        picture = one.read()
        assert picture is not None
        assert picture.image.shape == (48, 64, 3)
        with pytest.raises(SourceLost, match="the stream ended"):
            list(iter(one.read, None))


@needs_gstreamer
def test_a_picture_too_wide_to_be_one_costs_its_camera_alone() -> None:
    with child("videotestsrc ! video/x-raw,width=16400,height=16") as one, \
            pytest.raises(SourceLost, match="at most 16384 pixels a side, found 16400 x 16"):
        one.read()


@needs_gstreamer
def test_a_child_that_hangs_is_silent_for_as_long_as_was_said_and_then_gone() -> None:
    one = child(TEST.format(320, "BGR"), 0.5)
    with one:
        assert one._process.stdout
        deadline = time.monotonic() + PATIENCE_S
        while one.read() is None:
            assert time.monotonic() < deadline
        hanging = process(one)
        hanging.send_signal(signal.SIGSTOP)
        while one.read() is not None:  # what is in the pipe
            pass
    assert not hanging.is_running() or hanging.status() == psutil.STATUS_ZOMBIE


@needs_gstreamer
def test_closing_does_not_wait_for_a_camera_that_says_nothing() -> None:
    # The first picture, and then one in a hundred seconds.
    settings = SourceSettings(location="rtsp://door", silence_s=1000.0,
                              pipeline="videotestsrc is-live=true ! video/x-raw,framerate=1/100")
    with open_source(settings) as source:
        next(source)
        (reading,) = [thread for thread in threading.enumerate() if thread.name == "camera rtsp://door"]
        source.close()
        reading.join(PATIENCE_S)
        assert not reading.is_alive()


@needs_gstreamer
def test_no_child_outlives_its_parent() -> None:
    script = f"""
import os, sys
from cmnas_edge.camera.frames.gstreamer import Child
child = Child("door", {TEST.format(320, "BGR")!r}, {{}}, 20.0)
child.read()
print(child._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60,
                          cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    pid = int(done.stdout)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(10)
    assert not psutil.pid_exists(pid)


@needs_gstreamer
def test_neither_password_nor_pipeline_is_seen_by_who_lists_processes() -> None:
    with Child("door", TEST.format(320, "BGR"), properties("rtsp://admin:hunter2@127.0.0.1/x"), PATIENCE_S) as one:
        one.read()
        running = process(one)
        assert "hunter2" not in " ".join(running.cmdline())
        assert "hunter2" not in str(running.environ())
        assert "videotestsrc" not in " ".join(running.cmdline())


@needs_gstreamer
def test_opening_and_closing_leaves_no_process_and_no_file_behind() -> None:
    me = psutil.Process()
    settings = SourceSettings(location="rtsp://door", pipeline=TEST.format(64, "BGR"), silence_s=PATIENCE_S)
    before: list[int] = []
    for _ in range(4):
        with open_source(settings) as source:
            assert next(source).image.shape == (100, 64, 3)
        for thread in threading.enumerate():
            if thread.name.startswith("camera "):
                thread.join(10)
        before.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 (names of open files are no paths)
        assert not [one for one in me.children() if one.status() != psutil.STATUS_ZOMBIE]
    assert len(set(before[1:])) == 1


def test_each_preset_reads_what_it_can_and_names_those_that_read_the_rest() -> None:
    assert "nvarguscamerasrc name=source ! video/x-raw(memory:NVMM),width=1280,height=720 ! nvvidconv" in describe(
        "jetson", "csi://0", (1280, 720))
    assert "video/x-raw,width=1280,height=720;image/jpeg,width=1280,height=720" in describe(
        "software", "/dev/video0", (1280, 720))
    assert describe("jetson", "rtsp://a", None) == describe("jetson", "rtsps://a", None)
    assert "{" not in "".join(describe(name, location, None) for name, kinds in PRESETS.items()
                              for kind in kinds for location in ("/dev/video0" if kind == "device" else f"{kind}://0",))
    assert describe("a ! b{size}", "rtsp://a", (3, 4)) == "a ! b{size}"
    with pytest.raises(ConfigError, match=r'one that reads csi, found "software"; write jetson'):
        describe("software", "csi://0", None)
    with pytest.raises(ConfigError, match=r"number of a camera, as in csi://0"):
        properties("csi://front")
    assert properties("csi://1") == {"sensor-id": 1}
    assert properties("/dev/video2") == {"device": "/dev/video2"}
    assert properties("rtsp://a/b")["location"] == "rtsp://a/b"


@needs_gstreamer
def test_a_camera_on_a_ribbon_needs_no_word_about_pipelines() -> None:
    with pytest.raises(DeviceError, match=r'^csi://0: expected GStreamer.*no element "nvarguscamerasrc"'):
        open_source(SourceSettings(location="csi://0"))


@needs_gstreamer
@needs_rtsp
def test_the_pipelines_for_jetson_work_where_its_elements_are_replaced_by_software(
        monkeypatch: pytest.MonkeyPatch) -> None:
    def soft(text: str) -> str:
        for theirs, ours in (("nvv4l2decoder enable-max-performance=1", "avdec_h264"), ("nvvidconv", "videoconvert"),
                             ("nvarguscamerasrc", "videotestsrc is-live=true"), ("(memory:NVMM)", "")):
            text = text.replace(theirs, ours)
        return text

    monkeypatch.setitem(gstreamer.PRESETS, "jetson", {kind: soft(text) for kind, text in PRESETS["jetson"].items()})
    with RtspServer() as server, open_source(SourceSettings(
            location=server.url(), pipeline="jetson", silence_s=PATIENCE_S)) as source:
        frame = next(source)
        assert frame.image.shape == (240, 320, 3)
        assert 0 < time.monotonic() - made_at(frame.image) < PATIENCE_S
    with open_source(SourceSettings(location="csi://0", size=(320, 180), silence_s=PATIENCE_S)) as source:
        assert next(source).image.shape == (180, 320, 3)


@needs_gstreamer
@needs_rtsp
def test_the_senders_own_clock_tells_the_time_of_its_frames_once_it_has_said_it() -> None:
    with RtspServer() as server, open_source(SourceSettings(
            location=server.url(), pipeline="software", silence_s=PATIENCE_S)) as source:
        first = last = next(source)
        deadline = time.monotonic() + PATIENCE_S
        while last.time_source != "sender" and time.monotonic() < deadline:
            last = next(source)
        assert first.time_source == "arrival"  # before the sender's first report
        assert last.time_source == "sender"
        offset = time.time() - time.monotonic()
        errors = []
        for _, frame in zip(range(20), source, strict=False):
            assert frame.seen_at >= last.seen_at
            errors.append(frame.seen_at + frame.shift_s - offset - made_at(frame.image))
            last = frame
    # The server stamps a picture when it has been handed one; ours was drawn just before.
    assert min(abs(error) for error in errors) < 0.02


@needs_gstreamer
@needs_rtsp
def test_a_senders_clock_that_is_wrong_is_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    # Ours is set, theirs is right; which of the two is wrong nobody can know, and one of them serves all cameras here.
    from cmnas_edge.camera.frames.times import Timescale

    with RtspServer() as server, open_source(
            SourceSettings(location=server.url(), pipeline="software", silence_s=PATIENCE_S),
            Timescale(lambda: time.time() + 3600)) as source:
        deadline = time.monotonic() + PATIENCE_S
        while "its own clock is -3600 s off" not in caplog.text and time.monotonic() < deadline:
            assert next(source).time_source == "arrival"
    assert caplog.text.count("its own clock is -3600 s off") == 1


