"""A live camera is given up by nobody: whatever its stream cannot be today, it may be tomorrow. A recording is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.frames.frame import Frame, Source
from cmnas_edge.camera.frames.source import open_source
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.pipeline import Pipeline
from cmnas_edge.camera.running.vitals import CameraState
from cmnas_edge.camera.settings import CameraSettings, DetectorSettings, SourceSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.camera.watch import Camera, watch
from cmnas_edge.errors import BundleError, CmnasError, ConfigError, DeviceError, SourceLost
from tests.camera.clock import Clock
from tests.camera.fakes import HEIGHT, WIDTH
from tests.camera.footage import film, numbered
from tests.camera.rtsp import needs_gstreamer


def made(open_it: Callable[[], Source], source: SourceSettings | None = None) -> tuple[Camera, Tally]:
    settings = CameraSettings(name="door", source=source or SourceSettings(location="rtsp://door"),
                              detector=DetectorSettings())
    tally = Tally()
    return Camera(settings, Pipeline(settings, open_detector(settings.detector), tally, height=HEIGHT, width=WIDTH,
                                     first_tracklet=1), open_it), tally


class Patience(Backoff):
    """A back-off that is noted down instead of slept, and ends the watching after so many waits."""

    def __init__(self, stop: threading.Event, most: int, waiting: Callable[[int], object] = lambda _: None) -> None:
        self.waits: list[float] = []
        self._stop, self._most, self._waiting = stop, most, waiting
        self.now = Clock()
        super().__init__(clock=self.now)

    def failed(self) -> float:
        self.waits.append(super().failed())
        self.now.now += self.waits[-1]
        self._waiting(len(self.waits))
        if len(self.waits) == self._most:
            self._stop.set()
        return 0.0


class Failing:
    """Gives so many frames at each attempt, and then what is wrong."""

    fps = None
    dropped_count = 0

    def __init__(self, failure: CmnasError, recorded: bool, frame_count: int) -> None:
        self.failure, self.recorded, self.frame_count = failure, recorded, frame_count

    def __enter__(self) -> Failing:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        for index, picture in enumerate(numbered(self.frame_count)):
            yield Frame(picture, index, float(index), float(index))
        raise self.failure

    def __next__(self) -> Frame:
        raise NotImplementedError

    def close(self) -> None:
        pass


@pytest.mark.parametrize("frame_count", [0, 3])
@pytest.mark.parametrize("failure", [DeviceError, ConfigError, BundleError, SourceLost])
def test_a_live_camera_is_tried_again_after_any_failure_with_growing_patience_and_its_reason_told(
        failure: type[CmnasError], frame_count: int, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    patience = Patience(stop, 9, lambda _: states.append(camera.state))
    camera, tally = made(lambda: Failing(failure("door: expected eyes, found none"), False, frame_count))
    states: list[CameraState] = []
    with caplog.at_level(logging.WARNING, "cmnas.camera"):
        watch(camera, lambda *_: (), stop, tally, backoff=patience)
    assert states == ["lost"] * 9
    assert camera.failure_count == tally["source_failures"] == 9
    assert camera.frame_count == 9 * frame_count
    assert camera.reconnect_count == (8 if frame_count else 0)
    for wait_s, ceiling_s in zip(patience.waits, [2, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert max(1, ceiling_s / 2) <= wait_s <= ceiling_s
    assert [record.getMessage() for record in caplog.records] == ["camera door: door: expected eyes, found none"]


@pytest.mark.parametrize("frame_count", [0, 3])
def test_a_recording_that_cannot_be_read_is_given_up_at_once(frame_count: int) -> None:
    stop = threading.Event()
    patience = Patience(stop, 3)
    camera, tally = made(lambda: Failing(ConfigError("a.avi: expected a video"), True, frame_count))
    with pytest.raises(ConfigError, match=r"a\.avi"):
        watch(camera, lambda *_: (), stop, tally, backoff=patience)
    assert camera.state == "failed"
    assert not patience.waits


def test_what_could_never_be_opened_is_given_up_at_once() -> None:
    def missing() -> Source:
        raise DeviceError("door: expected GStreamer, found none; install it")

    stop = threading.Event()
    camera, tally = made(missing)
    with pytest.raises(DeviceError, match="install it"):
        watch(camera, lambda *_: (), stop, tally, backoff=Patience(stop, 3))
    assert camera.state == "failed"


@needs_gstreamer
def test_a_camera_whose_codec_changes_to_an_unknown_one_and_back_is_live_again(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = film(tmp_path / "known.avi", numbered(5)).read_bytes()
    unknown = known.replace(b"MJPG", b"FOO1")
    assert unknown != known
    fourcc = int.from_bytes(b"FOO1", "little")
    shown = tmp_path / "shown.avi"
    shown.write_bytes(known)
    # Reads a file as if it were a camera: what it shows may be another codec at each connection.
    source = SourceSettings(location="/dev/video7", pipeline=f"filesrc location={shown} ! decodebin", silence_s=20.0)
    stop = threading.Event()
    counts: list[int] = []

    def waiting(count: int) -> None:
        counts.append(camera.frame_count)
        shown.write_bytes(unknown if count < 3 else known)

    camera, tally = made(lambda: open_source(source), source)
    with caplog.at_level(logging.INFO, "cmnas.camera"):
        watch(camera, lambda *_: (), stop, tally, backoff=Patience(stop, 4, waiting))
    assert 0 < counts[0] == counts[1] == counts[2] < counts[3]
    assert camera.reconnect_count == 1
    assert "camera door: frames again" in caplog.text
    lacks = [record.getMessage() for record in caplog.records if "lacks" in record.getMessage()]
    assert len(lacks) == 1
    assert f"lacks video/x-avi-unknown decoder (video/x-avi-unknown, fourcc=(int){fourcc}); set the" in lacks[0]
    assert "python3-gi" not in lacks[0]
