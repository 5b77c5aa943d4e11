"""Reading a camera's frames for as long as it takes: retries, lag, and several recordings in step.

A live source, or a recording at its own pace, has a thread (`watch`). Recordings played as
fast as they can be read share one thread and are taken in the order of their footage's time
(`watch_together`), so that the same files give the same records in the same order.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from cmnas_edge.camera.backlog import Untold
from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.frames.frame import Frame, Source
from cmnas_edge.camera.frames.source import open_source
from cmnas_edge.camera.frames.times import TimeSource
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.people.detection import Detector
from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.pipeline import Pipeline
from cmnas_edge.camera.running.vitals import CameraState
from cmnas_edge.camera.settings import CameraSettings, SourceSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.errors import CmnasError, ConfigError, Transient
from cmnas_edge.log import Repeats

__all__ = ["Camera", "Emit", "Failed", "check_camera", "watch", "watch_together"]

_log = logging.getLogger("cmnas.camera")
Emit = Callable[["Camera", Sequence[Pick], float], Sequence[Untold]]
Failed = Callable[["Camera", CmnasError], None]


@dataclass(eq=False)
class Camera:
    """One camera at work.

    Attributes:
        settings: What the operator wrote.
        pipeline: What becomes of its frames.
        open: Opens its source; again after it was lost.
        state: For people: ``"starting"``, ``"live"``, ``"lost"``, ``"failed"`` or ``"ended"``.
        recorded: It is footage that waits for us, as its source says once it is open.
        fps: Frames per second by the source's own word, once it is open; None: it says none.
        frame_count: Frames taken so far.
        dropped_count: Frames of a live camera that newer ones replaced.
        failure_count: Times it was lost, or could not be opened.
        reconnect_count: Times a lost one gave frames again.
        taken_at: When the newest frame reached this process, monotonic seconds; None before the first.
        time_source: Whose word the newest frame's time is.
        source: What is being read now; closing it from another thread ends the reading.
        shape: Of the newest frame.
        shift_s: By how much the wall clock had been set at the newest frame.
    """

    settings: CameraSettings
    pipeline: Pipeline
    open: Callable[[], Source]
    state: CameraState = "starting"
    recorded: bool = False
    fps: float | None = None
    frame_count: int = 0
    dropped_count: int = 0
    failure_count: int = 0
    reconnect_count: int = 0
    taken_at: float | None = None
    time_source: TimeSource | None = None
    source: Source | None = None
    shape: tuple[int, ...] | None = None
    shift_s: float = 0.0


def watch(camera: Camera, emit: Emit, stop: threading.Event, tally: Tally, *, backoff: Backoff | None = None,
          clock: Callable[[], float] = time.monotonic) -> None:
    """Read one camera until its recording ends or ``stop`` is set; a lost one is tried again and again.

    Args:
        camera: Which.
        emit: Takes a camera's picks and the arrival of the frame that made them due, at every frame; gives back who
            could not be told of. May block, which drops frames of a live camera and delays a recording.
        stop: Set to end.
        tally: Where counts and lag go.
        backoff: Patience between attempts.
        clock: Monotonic seconds.

    Raises:
        CmnasError: A recording cannot be read, or the source was never opened, and waiting doesn't help; its
            tracklets were ended.
    """
    backoff = backoff or Backoff(clock=clock)
    repeats = Repeats(600.0, clock)
    name = camera.settings.name
    while not stop.is_set():
        try:
            if _read(camera, emit, stop, tally, backoff, clock) or stop.is_set():
                break
        except CmnasError as error:
            # Of a live camera waiting may help with anything: who changed its codec, or takes a plug-in away for an
            # update, undoes it while the others are watched. What is wrong with a recording stays so.
            if (camera.recorded or camera.source is None) and not isinstance(error, Transient):
                camera.state = "failed"
                _end(camera, emit)
                raise
            tally.add("source_failures")
            if (held := repeats.admit(str(error))) is not None:
                _log.warning("camera %s: %s%s", name, error, f" (and {held} times since last said)" if held else "")
        camera.state = "lost"
        camera.failure_count += 1
        _end(camera, emit)
        stop.wait(backoff.failed())
    camera.state = "ended"
    _end(camera, emit)


def _read(camera: Camera, emit: Emit, stop: threading.Event, tally: Tally, backoff: Backoff,
          clock: Callable[[], float]) -> bool:
    """Read a source until it ends; says whether that is the end of the camera's footage."""
    with camera.open() as source:
        camera.recorded, camera.fps = source.recorded, source.fps
        camera.source = source  # before looking at stop, so that one of the two ends the loop
        dropped_count, due_at = 0, 0.0
        if not stop.is_set():
            for row, frame in enumerate(source):
                if camera.state == "lost":
                    _log.info("camera %s: frames again", camera.settings.name)
                    camera.reconnect_count += 1
                # A recording's frame is due at its own time, however late it came to be read.
                if row == 0 or not source.recorded:
                    due_at = frame.arrived_at - frame.seen_at
                _take(camera, frame, emit)
                tally.lag(clock() - (due_at + frame.seen_at))
                tally.add("frames_dropped", source.dropped_count - dropped_count)
                camera.dropped_count += source.dropped_count - dropped_count
                dropped_count = source.dropped_count
                backoff.worked()
                if stop.is_set():
                    break
        camera.source = None
        return source.recorded


def watch_together(cameras: Sequence[Camera], emit: Emit, stop: threading.Event, tally: Tally, failed: Failed, *,
                   clock: Callable[[], float] = time.monotonic) -> None:
    """Read recordings to their ends, frame by frame in the order of the time they show.

    Args:
        cameras: Which.
        emit: Takes picks; may block.
        stop: Set to end.
        tally: Where counts and lag go.
        failed: Told of a camera that cannot go on; the others do.
        clock: Monotonic seconds.
    """
    with ExitStack() as open_sources:
        sources: list[Source | None] = [None] * len(cameras)
        next_frames: list[tuple[float, int, Frame]] = []

        def advance(row: int) -> None:
            try:
                source = sources[row]
                if source is None:
                    source = sources[row] = open_sources.enter_context(cameras[row].open())
                    cameras[row].recorded = source.recorded
                with tally.timed("capture"):
                    frame = next(source)
            except (StopIteration, CmnasError) as end:
                cameras[row].state = "ended"
                if isinstance(end, CmnasError):
                    tally.add("source_failures")
                    cameras[row].failure_count += 1
                    cameras[row].state = "failed"
                    failed(cameras[row], end)
                _end(cameras[row], emit)
            else:
                heapq.heappush(next_frames, (frame.seen_at, row, frame))

        for row in range(len(cameras)):
            advance(row)
        while next_frames and not stop.is_set():
            _, row, frame = heapq.heappop(next_frames)
            _take(cameras[row], frame, emit)
            tally.lag(clock() - frame.arrived_at)
            advance(row)
        for _, row, _ in next_frames:
            cameras[row].state = "ended"
            _end(cameras[row], emit)


def _take(camera: Camera, frame: Frame, emit: Emit) -> None:
    camera.state = "live"
    camera.frame_count += 1
    if camera.shape not in (None, frame.image.shape):
        # Boxes are in pixels: nobody can be followed from one size of picture into another.
        _end(camera, emit)
    camera.taken_at = frame.arrived_at
    camera.shape, camera.shift_s, camera.time_source = frame.image.shape, frame.shift_s, frame.time_source
    _tell(camera, camera.pipeline.process(frame), emit, frame.arrived_at)


def _end(camera: Camera, emit: Emit) -> None:
    _tell(camera, (), emit, time.monotonic())   # whom it could not tell of lately is told of with the end
    _tell(camera, camera.pipeline.end(), emit, time.monotonic())


def _tell(camera: Camera, picks: Sequence[Pick], emit: Emit, arrived_at: float) -> None:
    untold = emit(camera, [
        pick._replace(seen_from=pick.seen_from + camera.shift_s, seen_at=pick.seen_at + camera.shift_s,
                      times=tuple(time + camera.shift_s for time in pick.times)) for pick in picks], arrived_at)
    for tracklet, seen_from in untold:
        camera.pipeline.again(tracklet, seen_from - camera.shift_s)


def check_camera(camera: CameraSettings, open_from: Callable[[SourceSettings], Source] = open_source) -> Detector:
    """Open a camera's detector, and look at its source without reading from it.

    Raises:
        ConfigError: A file is missing or not what it should be, or an address is none.
    """
    try:
        open_from(camera.source).close()
        return open_detector(camera.detector)
    except ConfigError as error:
        raise ConfigError(f"camera {camera.name!r}: {error}") from error
