"""From frames to the collector, with a world that fails where a test says."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.camera.backlog import Backlog, Waiting
from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.checkup import Checkup
from cmnas_edge.camera.daemon import Daemon
from cmnas_edge.camera.frames.footage import Footage, Recording
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.pipeline import Pipeline
from cmnas_edge.camera.sending import store
from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.transport import Reply
from cmnas_edge.camera.settings import (
    CameraSettings,
    DetectorSettings,
    DeviceSettings,
    EngineSettings,
    LinkSettings,
    SelectSettings,
    SourceSettings,
    SpectrumSettings,
    SpoolSettings,
)
from cmnas_edge.camera.tally import Tally
from cmnas_edge.camera.watch import Camera, watch
from cmnas_edge.errors import ConfigError, DiskFull, LinkDown, SourceLost
from cmnas_edge.preprocess import DEFINITION
from cmnas_edge.wire import Outcome, encode_answer
from tests.camera.fakes import (
    F32,
    FINGERPRINT,
    FPS,
    HEIGHT,
    INFRARED,
    START,
    U8,
    VISIBLE,
    WIDTH,
    Clip,
    ColourEngine,
    Projector,
    StrictCollector,
    film,
    walk,
    write_boxes,
)

MIB = 1 << 20
SELECT = SelectSettings(min_height=20, period_s=2.0, view_gap_s=0.3)


class World:
    """Settings, disk, collector and engines of one device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.collector = StrictCollector()
        self.engines = {"visible": ColourEngine(), "infrared": ColourEngine()}
        self.tally = Tally()
        self.boxes = write_boxes(folder / "boxes.jsonl", 400)

    def camera(self, name: str, *, pace: str = "fast", modality: str = "visible", **changes: object) -> CameraSettings:
        return CameraSettings(
            name=name, source=SourceSettings(location=name, pace=pace), select=SELECT,
            detector=DetectorSettings(kind="boxes", path=self.boxes), **changes,
            spectrum=SpectrumSettings(modality=modality, dwell_s=0.5, settle_s=0.0))

    def settings(self, *cameras: CameraSettings, **changes: object) -> DeviceSettings:
        return DeviceSettings(**{
            "device": "gate", "collector": "http://127.0.0.1:1", "token": self.folder / "token", "cameras": cameras,
            "spool": SpoolSettings(path=self.folder / "spool.db"), "drain_s": 10.0,
            "link": LinkSettings(wait_s=0.05), **changes})

    def daemon(self, spool: Spool, projector: Projector, settings: DeviceSettings) -> Daemon:
        return Daemon(settings, self.engines, fingerprint=FINGERPRINT, crop_size=(HEIGHT, WIDTH),
                      preprocessing=DEFINITION, spool=spool, transport=self.collector, tally=self.tally,
                      open_from=projector, backoff=lambda: Backoff(0.001, 0.002))

    def run(self, projector: Projector, *cameras: CameraSettings, **changes: object) -> None:
        settings = self.settings(*cameras, **changes)
        with Spool(settings.spool.path, 8 * MIB) as spool:
            self.daemon(spool, projector, settings).run()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_footage_becomes_sightings_and_the_daemon_ends_by_itself(world: World) -> None:
    world.run(Projector(north=[lambda: Clip(film(60))]), world.camera("north"))
    stored = world.collector.stored
    # One person for 6 s, told every 2 s and at the end; the tracklet is confirmed at its third frame.
    assert [round(s.seen_at - START, 1) for s in stored] == [2.2, 4.2, 5.9]
    assert {(s.device, s.camera, s.modality, s.packing, s.engine, s.precision) for s in stored} == {
        ("gate", "north", "visible", "fp16", "onnxruntime", "fp32")}
    assert len({s.tracklet for s in stored}) == 1
    assert [s.sequence for s in stored] == [1, 2, 3]
    assert all((s.box_width, s.box_height) == (24, 70) and 0 < s.quality <= 1 for s in stored)
    assert all(s.seen_from <= s.seen_at for s in stored)
    counts = world.tally.snapshot()
    assert (counts["frames"], counts["detections"], counts["tracklets"], counts["sightings"], counts["stored"]) == (
        60, 60, 1, 3, 3)
    assert counts["crops"] == sum(s.view_count for s in stored) == sum(world.engines["visible"].batches)


def test_nobody_in_view_sends_nothing_and_is_no_error(world: World) -> None:
    empty = CameraSettings(name="north", source=SourceSettings(location="north", pace="fast"))
    world.run(Projector(north=[lambda: Clip(film(30, people=False))]), empty)
    assert world.collector.stored == []
    assert (world.tally["frames"], world.tally["requests"]) == (30, 0)


def test_recordings_at_full_speed_are_taken_in_the_order_of_their_time_every_time(tmp_path: Path) -> None:
    told = []
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        world = World(tmp_path / run)
        world.run(Projector(north=[lambda: Clip(film(60), start=START + 1.05)], south=[lambda: Clip(film(80))]),
                  world.camera("north"), world.camera("south"))
        told.append([(s.camera, s.seen_at, s.tracklet & 0xFFFF, s.vector.tobytes()) for s in world.collector.stored])
    assert told[0] == told[1]
    # Told when due: the ends come when the footage is over.
    assert [camera for camera, *_ in told[0]] == ["south", "north", "south", "north", "south", "north", "south"]


def test_dusk_ends_tracklets_and_no_sighting_mixes_two_modalities(world: World) -> None:
    pictures = [*film(50), *film(50, INFRARED)]
    world.run(Projector(north=[lambda: Clip(pictures)]), world.camera("north", modality="auto"))
    stored = world.collector.stored
    visible = {s.tracklet for s in stored if s.modality == "visible"}
    infrared = {s.tracklet for s in stored if s.modality == "infrared"}
    assert visible
    assert infrared
    assert not visible & infrared
    assert all(s.seen_at <= START + 5.0 or s.modality == "infrared" for s in stored if s.seen_from > START + 5.0)
    assert world.engines["visible"].batches
    assert world.engines["infrared"].batches


def lost(_: Clip) -> None:
    raise SourceLost("rtsp://10.0.0.7: expected a frame, found silence")


def test_whoever_has_left_leaves_nothing_in_memory(world: World) -> None:
    world.boxes = write_boxes(world.folder / "boxes.jsonl", 20)
    settings = world.settings(world.camera("north", pace="real"))
    remembered: list[int] = []

    def left() -> Iterator[U8]:
        yield from film(20)
        deadline = time.monotonic() + 10
        for picture in itertools.cycle(film(1, people=False)):
            yield picture
            remembered.append(len(daemon._backlog._told_at["north"]))
            if time.monotonic() > deadline or (told and told == done and not remembered[-1]
                                               and not daemon._cameras[0].pipeline.in_view):
                break
        daemon.stop()

    projector = Projector(north=[*(lambda: Clip(film(20), recorded=False, then=lost) for _ in range(12)),
                                 lambda: Clip(left(), recorded=False)])
    with Spool(settings.spool.path, 8 * MIB) as spool:
        daemon = world.daemon(spool, projector, settings)
        told, done = Counter[str](), Counter[str]()
        put, finish = daemon._backlog.put, daemon._backlog.done

        def count_put(camera: str, picks: Sequence[Pick], arrived_at: float, *, recorded: bool) -> bool:
            told["picks"] += len(picks)
            return put(camera, picks, arrived_at, recorded=recorded)

        def count_done(turn: Sequence[Waiting], spent_s: float) -> None:
            finish(turn, spent_s)
            done["picks"] += len(turn)

        daemon._backlog.put, daemon._backlog.done = count_put, count_done   # type: ignore[method-assign, assignment]
        daemon.run()
    assert len({s.tracklet for s in world.collector.stored}) >= 10
    assert remembered[-1] == 0


def test_a_camera_that_is_lost_comes_back_and_never_stops_the_others(
        world: World, said: pytest.LogCaptureFixture) -> None:
    done, over = threading.Event(), threading.Event()
    projector = Projector(
        north=[lambda: Clip(film(20), recorded=False, then=lost), lambda: Clip([], recorded=False, then=lost),
               lambda: Clip(film(20), recorded=False, start=START + 60, then=lambda _: done.set())],
        south=[lambda: Clip(film(60), then=lambda _: over.set())])
    settings = world.settings(world.camera("north", pace="real"), world.camera("south"))
    with Spool(settings.spool.path, 8 * MIB) as spool:
        daemon = world.daemon(spool, projector, settings)
        running = threading.Thread(target=daemon.run)
        running.start()
        assert done.wait(20)
        assert over.wait(20)
        daemon.stop()
        running.join(20)
    north = [s for s in world.collector.stored if s.camera == "north"]
    assert sum(s.camera == "south" for s in world.collector.stored) == 3
    assert len({s.tracklet for s in north}) >= 2, "the tracklet before the loss went on after it"
    assert {s.seen_at > START + 50 for s in north} == {False, True}
    assert world.tally["source_failures"] == 2
    assert said.text.count("found silence") == 1
    assert "camera north: frames again" in said.text


def test_a_loss_ends_the_tracklets_in_view_at_once(world: World) -> None:
    stop = threading.Event()
    projector = Projector(north=[lambda: Clip(film(15), recorded=False, then=lost),
                                 lambda: Clip([], recorded=False, then=lambda _: stop.set())])
    settings = world.camera("north", pace="real")
    pipeline = Pipeline(settings, open_detector(settings.detector), world.tally, height=HEIGHT, width=WIDTH,
                        first_tracklet=1)
    emitted: list[tuple[int, int]] = []
    watch(Camera(settings, pipeline, lambda: projector(settings.source)),
          lambda _, picks, __: emitted.extend((projector.opened["north"], p.tracklet) for p in picks) or (), stop,
          world.tally, backoff=Backoff(0.001, 0.002))
    assert projector.opened["north"] == 2
    assert emitted == [(1, 1)]


def test_asked_to_stop_it_ends_tracklets_and_delivers_what_is_held(world: World) -> None:
    seen = threading.Event()

    def stand_still(clip: Clip) -> None:
        seen.set()
        assert clip.closed.wait(20), "nobody closed the source"

    settings = world.settings(world.camera("north", pace="real"), link=LinkSettings(wait_s=3600.0))
    with Spool(settings.spool.path, 8 * MIB) as spool:
        daemon = world.daemon(spool, Projector(north=[lambda: Clip(film(15), recorded=False, then=stand_still)]),
                              settings)
        running = threading.Thread(target=daemon.run)
        running.start()
        assert seen.wait(20)
        assert world.collector.stored == []
        daemon.stop()
        running.join(20)
        assert not running.is_alive()
        assert len(spool) == 0
    assert len(world.collector.stored) == 1


def test_when_the_engine_is_too_slow_a_live_camera_sheds_and_tells_later_of_all_the_time(world: World) -> None:
    """The engine hangs while four sightings fall due; the camera goes on and loses no frame to it."""
    hanging, shown = threading.Event(), threading.Event()

    class Hanging(ColourEngine):
        def embed(self, crops: U8) -> F32:
            hanging.wait(20)
            return super().embed(crops)

    def pictures() -> Iterator[U8]:
        for row, picture in enumerate(film(160)):
            if row == 110:
                shown.wait(0.3)     # longer than the budget
                hanging.set()
            yield picture

    def stop(clip: Clip) -> None:
        daemon.stop()
        assert clip.closed.wait(20), "nobody closed the source"

    world.engines["visible"] = Hanging()
    settings = world.settings(world.camera("north", pace="real"), report=world.folder / "report.json",
                              engine=EngineSettings(budget_s=0.2, batch_wait_s=0.0))
    with Spool(settings.spool.path, 8 * MIB) as spool:
        daemon = world.daemon(spool, Projector(north=[lambda: Clip(pictures(), recorded=False, then=stop)]), settings)
        daemon.run()
    told = sorted(world.collector.stored, key=lambda s: s.seen_at)
    report = json.loads((world.folder / "report.json").read_text())
    assert report["frames"] == 160
    assert report["shed"] == report["cameras"]["north"]["shed"] >= 2
    # No moment of the tracklet, from its third frame to its last, is left out of what was told in the end.
    assert (told[0].seen_from, told[-1].seen_at) == (START + 0.2, START + 15.9)
    assert all(before.seen_at >= after.seen_from - 1e-6 for before, after in itertools.pairwise(told))


def test_with_nobody_in_view_the_daemon_learns_nothing_of_its_engine(world: World) -> None:
    """Else a slow engine would be taken for a fast one after every quiet hour."""
    learnt: list[int] = []

    def stop(clip: Clip) -> None:
        assert not clip.closed.wait(1.2)     # beyond one wait of the engine's thread
        daemon.stop()
        assert clip.closed.wait(20), "nobody closed the source"

    settings = world.settings(world.camera("north", pace="real"))
    with Spool(settings.spool.path, 8 * MIB) as spool:
        daemon = world.daemon(spool, Projector(north=[lambda: Clip(film(3, people=False), recorded=False, then=stop)]),
                              settings)
        daemon._backlog.done = lambda turn, _: learnt.append(len(turn))  # type: ignore[method-assign]
        daemon.run()
    assert 0 not in learnt


def test_without_a_collector_the_records_wait_on_disk_for_the_next_run(world: World) -> None:
    world.collector.up = False
    with pytest.raises(LinkDown, match=r"spool\.db: expected everything delivered.*3 records waiting"):
        world.run(Projector(north=[lambda: Clip(film(60))]), world.camera("north"), drain_s=0.2)
    world.collector.up = True
    world.run(Projector(north=[lambda: Clip(film(60), start=START + 3600)]), world.camera("north"))
    stored = world.collector.stored
    assert [s.sequence for s in stored] == [1, 2, 3, 4, 5, 6]
    assert len({s.spool for s in stored}) == 1
    first, second = ({s.tracklet for s in part} for part in (stored[:3], stored[3:]))
    assert not first & second, "two runs gave two people one tracklet"


def test_asked_twice_it_does_not_wait_for_the_collector(world: World) -> None:
    world.collector.up = False
    settings = world.settings(world.camera("north"), drain_s=3600.0)
    with Spool(settings.spool.path, 8 * MIB) as spool:
        daemon = world.daemon(spool, Projector(north=[lambda: Clip(film(60))]), settings)
        daemon.stop()
        daemon.stop()
        began = time.monotonic()
        daemon.run()
    assert time.monotonic() - began < 20


def test_a_bug_in_the_engine_ends_the_daemon_instead_of_hanging_it(world: World) -> None:
    def broken(_: object) -> None:
        before = -1
        while before != (before := world.tally["frames"]):  # until the camera waits: the queue is full
            time.sleep(0.3)
        raise AssertionError("a bug of ours")

    world.engines["visible"].embed = broken  # type: ignore[method-assign, assignment]
    often = SelectSettings(min_height=20, period_s=0.01, view_gap_s=0.0)  # more picks than may wait
    with pytest.raises(AssertionError, match="a bug of ours"):
        world.run(Projector(north=[lambda: Clip(film(300))]), replace(world.camera("north"), select=often))


@pytest.mark.parametrize("pace", ["real", "fast"])
def test_a_recording_that_breaks_is_told_at_the_end_and_the_others_finish(world: World, pace: str) -> None:
    def gone(_: Clip) -> None:
        raise ConfigError("north.avi: expected a video, found none")

    with pytest.raises(ConfigError, match=r"north\.avi"):
        world.run(Projector(north=[lambda: Clip(film(15), then=gone)], south=[lambda: Clip(film(60))]),
                  world.camera("north", pace=pace), world.camera("south"))
    assert sum(s.camera == "north" for s in world.collector.stored) == 1, "the tracklet in view was lost"
    assert sum(s.camera == "south" for s in world.collector.stored) == 3


def test_a_missing_detector_is_named_with_its_camera_before_any_frame_is_read(world: World) -> None:
    camera = CameraSettings(name="north", source=SourceSettings(location="north"),
                            detector=DetectorSettings(kind="onnx", path=world.folder / "none.onnx"))
    with pytest.raises(ConfigError, match=r"camera 'north': .*none\.onnx"):
        world.run(Projector(north=[lambda: Clip(film(5))]), camera)


def test_trace_and_report_are_written_for_looking_at(world: World) -> None:
    trace, report = world.folder / "trace.jsonl", world.folder / "report.json"
    world.run(Projector(north=[lambda: Clip(film(60))]), world.camera("north"), trace=trace, report=report)
    rows = [json.loads(line) for line in trace.read_text().splitlines()]
    assert len(rows) == 58  # from the third frame, when the tracklet is confirmed
    assert rows[0].keys() == {"camera", "frame", "seen_at", "tracklet", "box", "modality"}
    assert rows[0]["box"] == pytest.approx(walk(3)[2], abs=0.06)
    assert rows[-1]["seen_at"] == START + 59 / FPS
    assert {row["tracklet"] for row in rows} == {s.tracklet for s in world.collector.stored}
    found = json.loads(report.read_text())
    assert (found["frames"], found["stored"], found["dropped"], found["waiting"]) == (60, 3, 0, 0)
    assert found["cameras"] == {"north": {"frames": 60, "frames_dropped": 0, "failures": 0, "shed": 0, "state": "ended",
                                          "modality": "visible", "time_source": "footage"}}
    assert len(found["delay_s"]) == 3
    assert all(found["stage_s"][stage] > 0 for stage in
               ("capture", "detect", "track", "preprocess", "infer", "pack", "spool", "send"))
    assert found["lag_s"]


def test_a_recording_is_given_the_patience_that_its_own_rate_asks_for(world: World) -> None:
    slow = Recording(lambda: iter(film(1)), fps=0.02, starts_at=START)
    settings = world.camera("north", pace="real")
    for real_pace, patience in ((True, 100.0), (False, settings.source.silence_s)):
        pipeline = Pipeline(settings, open_detector(settings.detector), world.tally, height=HEIGHT, width=WIDTH,
                            first_tracklet=1)
        camera = Camera(settings, pipeline, lambda real=real_pace: Footage(slow, real_pace=real))
        watch(camera, lambda *_: (), threading.Event(), world.tally)
        with Spool(world.folder / "spool.db", 8 * MIB) as spool:
            link = Link(spool, world.collector, LinkSettings(), world.tally)
            look = Checkup([camera], Backlog(EngineSettings(), world.tally), world.engines, FINGERPRINT, spool, link,
                           world.tally)
            assert look().cameras[0].patience_s == patience


def test_a_full_disk_under_the_trace_ends_the_trace_and_nothing_else(
        world: World, said: pytest.LogCaptureFixture) -> None:
    world.run(Projector(north=[lambda: Clip(film(60))], south=[lambda: Clip(film(60))]), world.camera("north"),
              world.camera("south"), trace=Path("/dev/full"))
    assert {sighting.camera for sighting in world.collector.stored} == {"north", "south"}
    told = [text for text in said.messages if "/dev/full" in text]
    expected = ("/dev/full: the trace cannot be written any more (No space left on device) and ends here; everything "
                "else goes on")
    assert told == [expected]


def test_crops_of_several_cameras_share_a_batch(world: World) -> None:
    gate = threading.Event()
    slow = world.engines["visible"]
    quick = slow.embed

    def embed(batch: np.ndarray) -> np.ndarray:
        gate.wait(20)
        return quick(batch)

    slow.embed = embed  # type: ignore[method-assign]
    cameras = {name: [lambda: Clip(film(60), then=lambda _: gate.set())] for name in ("a", "b", "c")}
    world.run(Projector(**cameras), *(world.camera(name) for name in cameras))
    assert len(world.collector.stored) == 9
    assert len(slow.batches) < 9


@pytest.mark.parametrize("clothes", [VISIBLE, INFRARED])
def test_the_spectrum_is_told_from_the_pictures(world: World, clothes: tuple[int, int, int]) -> None:
    world.run(Projector(north=[lambda: Clip(film(40, clothes))]), world.camera("north", modality="auto"))
    assert {s.modality for s in world.collector.stored} == {"visible" if clothes == VISIBLE else "infrared"}


def test_what_a_full_disk_never_took_is_counted_and_told_as_lost(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise DiskFull("spool.db: no room")

    monkeypatch.setattr(Spool, "put", full)
    with pytest.raises(DiskFull, match=r"spool\.db: expected room.*3 records are lost"):
        world.run(Projector(north=[lambda: Clip(film(60))]), world.camera("north"), drain_s=0.1)
    assert world.tally["dropped"] == 3


@pytest.mark.parametrize("is_read_only", [False, True])
def test_what_was_not_delivered_waits_on_disk_or_is_lost_and_is_said_to_be_the_one_or_the_other(
        world: World, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture, is_read_only: bool) -> None:
    def down(_: bytes) -> Reply:
        raise LinkDown("collector: nobody there")

    monkeypatch.setattr(store, "is_read_only", lambda _: is_read_only)
    world.collector.post = down  # type: ignore[method-assign]
    with pytest.raises(LinkDown, match="found 3 records waiting") as raised:
        world.run(Projector(north=[lambda: Clip(film(60))]), world.camera("north"), drain_s=0.1)
    waits, lost = "3 records wait on disk for the next run", "3 records were in memory only and are lost"
    for where, words in ((said.text, (waits, lost)), (str(raised.value), ("they are on disk", "are lost"))):
        assert tuple(part in where for part in words) == (not is_read_only, is_read_only)


@pytest.mark.parametrize(("reply", "remedy"), [
    (Reply(409, b"seen_at: of a time to come"), "(409: seen_at: of a time to come); correct that on either side; then"),
    (Reply(401, b""), "enrol the device and write its token file anew; then start again"),
])
def test_an_end_with_records_that_wait_says_what_would_have_them_taken(
        world: World, reply: Reply, remedy: str) -> None:
    world.collector.post = lambda _: reply  # type: ignore[method-assign]
    with pytest.raises(LinkDown, match="found 3 records waiting") as raised:
        world.run(Projector(north=[lambda: Clip(film(60))]), world.camera("north"), drain_s=0.1)
    assert remedy in str(raised.value)
    assert "answers" not in str(raised.value)


def test_records_that_the_collector_refused_are_told_at_the_end(world: World) -> None:
    def refuse(body: bytes) -> Reply:
        batch = pb.Batch.FromString(body)
        return Reply(200, encode_answer([Outcome(s.spool, s.sequence, "refused", "too old") for s in batch.sightings]))

    world.collector.post = refuse  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="3 refused for good"):
        world.run(Projector(north=[lambda: Clip(film(60))]), world.camera("north"))
