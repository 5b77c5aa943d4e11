"""What can change while a daemon runs does so from the next frame or batch on; and what is measured is what happens."""

from __future__ import annotations

import email.utils
import time
from pathlib import Path

import numpy as np
import pytest

from cmnas_edge.camera.backlog import Backlog
from cmnas_edge.camera.checkup import Checkup
from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.people.detection import Detections
from cmnas_edge.camera.pipeline import Pipeline
from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.transport import Reply, _offset_s
from cmnas_edge.camera.settings import (
    CameraSettings,
    EngineSettings,
    LinkSettings,
    SelectSettings,
    SourceSettings,
    SpectrumSettings,
)
from cmnas_edge.camera.tally import Tally
from cmnas_edge.camera.watch import Camera
from cmnas_edge.embedding import unit
from cmnas_edge.errors import DiskFull, LinkDown
from cmnas_edge.wire import Sighting, encode_sighting, seen_at
from tests.camera.clock import Clock
from tests.camera.fakes import FINGERPRINT, HEIGHT, INFRARED, START, VISIBLE, WIDTH, ColourEngine, StrictCollector, film

SOURCE = SourceSettings(location="rtsp://10.0.0.7/live", silence_s=4.0, max_fps=0.1)


def record(at: float = START) -> bytes:
    return encode_sighting(Sighting(
        device="gate", camera="north", seen_from=at, seen_at=at, modality="visible", tracklet=1, view_count=1,
        quality=0.5, box_width=20, box_height=60, fingerprint=FINGERPRINT, engine="onnxruntime", precision="fp32",
        transform=0, packing="fp16", vector=unit(np.ones((1, 16), np.float32))[0]))


class Deaf:
    """A way that leads nowhere."""

    closed = False

    def post(self, body: bytes) -> Reply:
        raise LinkDown("nobody there")

    def close(self) -> None:
        self.closed = True


def test_the_way_to_the_collector_changes_with_the_next_batch_and_the_old_one_is_let_go(tmp_path: Path) -> None:
    old, new, clock = Deaf(), StrictCollector(), Clock()
    with Spool(tmp_path / "spool.db", 8 << 20) as spool:
        spool.put([record()] * 3)
        link = Link(spool, old, LinkSettings(wait_s=0.0, backoff_s=60.0), Tally(), clock=clock)
        assert link.step() > 1
        assert link.down_s is not None
        link.adjust(LinkSettings(wait_s=0.0, batch=2), new)
        assert not old.closed, "only who sends may end what is under way"
        while len(spool):
            clock.now += link.step()
        assert old.closed
        assert len(new.stored) == 3
        assert link.down_s is None
        waiting = Deaf()
        link.adjust(LinkSettings(), waiting)
        link.close()
        assert waiting.closed


class Nobody:
    """A detector of an empty scene."""

    def detect(self, image: object, index: int) -> Detections:
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    def reset(self) -> None:
        pass


def pipeline(settings: CameraSettings) -> Pipeline:
    return Pipeline(settings, Nobody(), Tally(), height=HEIGHT, width=WIDTH, first_tracklet=1)


def test_thresholds_change_with_the_next_frame() -> None:
    before = CameraSettings(name="north", source=SOURCE)
    made = pipeline(before)
    made.adjust(CameraSettings(name="north", source=SOURCE, select=SelectSettings(min_height=99),
                               spectrum=SpectrumSettings(dark_below=77.0)))
    assert made._selector._settings.min_height == 99
    assert made._spectrum._settings.dark_below == 77.0


def test_changes_from_one_modality_to_the_other_are_counted_and_the_first_is_none() -> None:
    made = pipeline(CameraSettings(name="north", source=SOURCE, spectrum=SpectrumSettings(
        dwell_s=0.5, settle_s=0.0, apart_s=0.0)))
    counts = []
    for part, clothes in enumerate((VISIBLE, INFRARED, VISIBLE)):
        for row, picture in enumerate(film(150, clothes, people=False)):
            made.process(Frame(picture, row, START + part * 15 + row / 10, 0.0))
        counts.append(made.switch_count)
    assert counts == [0, 1, 2]


def checkup(spool: Spool, camera: Camera, tally: Tally, wall: float) -> Checkup:
    link = Link(spool, Deaf(), LinkSettings(), tally)
    return Checkup([camera], Backlog(EngineSettings(), tally), {"visible": ColourEngine()}, FINGERPRINT, spool, link,
                   tally, clock=Clock(50.0), wall=lambda: wall)


def test_the_oldest_record_on_disk_says_how_long_it_has_waited(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally()
    settings = CameraSettings(name="north", source=SOURCE)
    camera = Camera(settings, pipeline(settings), lambda: None, state="lost", taken_at=42.0, failure_count=3,  # type: ignore[arg-type, return-value]
                    reconnect_count=2, dropped_count=5)
    with Spool(tmp_path / "spool.db", 8 << 20) as spool:
        look = checkup(spool, camera, tally, START + 100)
        assert look().spool_oldest_s is None
        spool.put([record(START), record(START + 60)])
        now = look()
        assert (now.spool_count, now.spool_oldest_s) == (2, 100.0)
        assert now.spool_bytes > 1000
        assert now.engines == {"visible": "onnxruntime fp32"}
        seen = now.cameras[0]
        assert (seen.state, seen.frame_age_s, seen.down_count, seen.reconnect_count) == ("lost", 8.0, 3, 2)
        assert seen.dropped_counts == {"newer": 5}
        assert seen.patience_s == 20.0, "two periods of 0.1 frames/s"

        def broken(*_: object) -> list[tuple[int, bytes]]:
            raise DiskFull("no")

        monkeypatch.setattr(spool, "peek", broken)
        assert look().spool_oldest_s is None, "who asks for numbers is not told of trouble by a crash"


def test_what_is_no_record_has_no_time() -> None:
    assert seen_at(record(START)) == START
    assert seen_at(b"\xff\xff") is None


def test_a_call_of_the_engine_is_timed_while_it_lasts_and_after() -> None:
    clock = Clock(0.0)
    tally = Tally(clock)
    with tally.call(7):
        clock.now = 3.0
        assert tally.busy_s == 3.0
    assert tally.busy_s == 0.0
    assert (tally.embed_s.look().total, tally.batch.look().total) == (3.0, 7.0)
    assert tally.stage_s()["infer"] == 3.0


def test_the_collectors_clock_is_told_from_the_date_of_its_answer() -> None:
    now = time.time()
    told = _offset_s(email.utils.formatdate(now + 100, usegmt=True), now - 1, now + 1)
    assert told is not None
    assert abs(told - 100) <= 0.5
    assert _offset_s("", now, now) is None
    assert _offset_s("yesterday", now, now) is None
