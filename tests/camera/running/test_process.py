"""The real daemon, started as systemd starts it: a process with a socket to tell how it goes, and a watchdog."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import pack
from tests import heard
from tests.camera.fakes import FPS, FRAME_HEIGHT, FRAME_WIDTH, Served, StrictCollector, film, write_boxes
from tests.tiny_bundle import TINY

ROOT = Path(__file__).resolve().parents[3]
FRAMES = 60
TOKEN = "cmnas_" + "s" * 40
WITHIN_S = 60.0     # nothing here takes seconds; a busy machine may
SETTINGS = """
device = "gate"
collector = "http://127.0.0.1:{port}"
token = "gate.token"
bundle = "{bundle}"
trust = {{allow_unsigned_bundle = true}}
spool = {{path = "gate.spool"}}
link = {{wait_s = 0.01}}
drain_s = 5.0
engine = {{name = "onnxruntime", threads = {threads}}}
status_s = {status_s}
health = "127.0.0.1:0"

[[cameras]]
name = "north"
source = {source}
detector = {{kind = "boxes", path = "boxes.jsonl"}}
spectrum = {{modality = "visible"}}
select = {{min_height = 20, period_s = 0.5, view_gap_s = 0.1}}
"""
# A decoder that never comes back, as broken streams make of some; and less patience than a site has.
HANGS = """
import ctypes, sys, threading
import cv2
from cmnas_edge.camera.running import pulse
pulse.MARGIN_S = 0.1

class Hangs:
    opens, frames = cv2.VideoCapture, 0

    def __init__(self, *where):
        self._real = Hangs.opens(*where)

    def __getattr__(self, name):
        if name in ("read", "grab") and threading.current_thread().name.startswith("watch"):
            Hangs.frames += 1
            if Hangs.frames > 2:    # after one picture, so that a slow machine is not taken for a hung one
                ctypes.CDLL(None).pause()
        return getattr(self._real, name)

cv2.VideoCapture = Hangs
from cmnas_edge import cli
sys.exit(cli.main(sys.argv[1:]))
"""


class Service:
    """A daemon, its folder, and the manager's end of its socket."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.values = {"port": port, "bundle": TINY, "threads": 1, "status_s": 30.0, "source":
                       '{location = "walk.avi", loop = true, starts_at = 1700000000.0}'}
        writer = cv2.VideoWriter(str(folder / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), FPS,
                                 (FRAME_WIDTH, FRAME_HEIGHT))
        for picture in film(FRAMES):
            writer.write(picture)
        writer.release()
        write_boxes(folder / "boxes.jsonl", FRAMES)
        token = folder / "gate.token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.settimeout(WITHIN_S)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, **values: object) -> None:
        self.values |= values
        (self.folder / "gate.toml").write_text(SETTINGS.format(**self.values))

    def start(self, *, program: str | None = None) -> None:
        self.write()
        run = ["-m", "cmnas_edge.cli"] if program is None else ["-c", program]
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *run, "camera", str(self.folder / "gate.toml")], cwd=ROOT, stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": "1", "NOTIFY_SOCKET": str(self.folder / "notify"),
                     "WATCHDOG_USEC": "400000"})

    def hear(self, wanted: str) -> str:
        """Wait for a message that begins so."""
        while not (said := self.manager.recv(4096).decode()).startswith(wanted):
            pass
        return said

    def drain(self) -> list[str]:
        """Everything that is said until the socket's patience is over."""
        said = []
        if self.manager.gettimeout() == WITHIN_S:
            self.manager.setblocking(False)
        with contextlib.suppress(BlockingIOError, TimeoutError):
            while True:
                said.append(self.manager.recv(4096).decode())
        return said

    def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line of the log."""
        assert self.process is not None
        deadline = time.monotonic() + WITHIN_S
        while not (found := re.search(pattern, text := self.log.read_text())):
            assert time.monotonic() < deadline, text
            assert self.process.poll() is None, text
            time.sleep(0.02)
        return found

    def ask(self, page: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.says(r"/readyz at port (\d+)")[1]), timeout=30)
        connection.request("GET", page)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WITHIN_S)


@pytest.fixture
def collector() -> StrictCollector:
    bundle = Bundle.open(TINY)
    return StrictCollector("gate", bundle.dimension, bundle.fingerprint)


@pytest.fixture
def service(tmp_path: Path, collector: StrictCollector) -> Iterator[Service]:
    with Served(lambda body: collector.post(body)[:2]) as served:
        made = Service(tmp_path, served.port)
        yield made
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        made.manager.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_daemon_under_systemd_tells_how_it_goes_from_its_start_to_its_end(
        service: Service, collector: StrictCollector) -> None:
    service.start()
    assert service.hear("READY=1").startswith("READY=1\nSTATUS=north ")
    service.hear("WATCHDOG=1")
    assert "north visible live" in service.hear("STATUS=")
    until(lambda: len(collector.stored) > 2)
    assert service.ask("/healthz") == (200, "ok\n")
    assert service.ask("/readyz") == (200, "ok\n")
    page = service.ask("/metrics")[1]
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in page.splitlines() if line[0] != "#"}
    assert values['cmnas_frames_total{camera="north"}'] > 5
    assert values['cmnas_frame_age_seconds{camera="north"}'] < WITHIN_S
    assert values['cmnas_modality{camera="north",modality="visible"}'] == 1
    assert values['cmnas_camera_time_source{camera="north",source="footage"}'] == 1
    assert values['cmnas_records_total{result="stored"}'] > 2
    assert values["cmnas_embed_seconds_count"] >= 1
    assert values["cmnas_spool_bytes"] > 0
    assert values['cmnas_sent_bytes_total{kind="unexplained"}'] == 0
    assert values['cmnas_sent_bytes_total{kind="embedding"}'] > values['cmnas_records_total{result="stored"}'] * 50
    assert values['cmnas_sent_bytes_total{kind="header"}'] > 100
    assert abs(values["cmnas_clock_offset_seconds"]) < 30, "the collector is this machine"

    service.write(threads=2, status_s=0.05)
    service.process.send_signal(signal.SIGHUP)
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", service.hear("RELOADING=1"))
    service.hear("READY=1")
    service.says(r"now in effect: status_s; as before until a new start: engine\.threads")
    service.says(r"north visible live: \d")     # which the old status_s would not have said for half a minute
    (service.folder / "gate.toml").write_text("devise = 'gate'\n")
    service.process.send_signal(signal.SIGHUP)
    service.hear("RELOADING=1")
    service.hear("READY=1")
    service.says(r"gate\.toml: line 1: unknown key 'devise'; did you mean 'device'\?; nothing was changed")
    before = len(collector.stored)
    until(lambda: len(collector.stored) > before)

    assert service.end() == 0
    service.hear("STOPPING=1")
    log = service.log.read_text()
    assert "Traceback" not in log
    assert TOKEN not in log
    for sighting in collector.stored:
        packed = pack(sighting.vector[None], sighting.packing)[0]
        assert not any(form in log or form in page for form in heard.forms(packed[:12]))


def test_a_camera_that_hangs_inside_its_decoder_starves_the_watchdog(service: Service) -> None:
    service.write(source='{location = "walk.avi", loop = true, silence_s = 0.5, starts_at = 1700000000.0}')
    service.start(program=HANGS)
    service.hear("READY=1")
    service.says("camera north hangs; systemd will start this daemon again")
    assert service.ask("/healthz") == (503, "camera north hangs\n")
    service.drain()     # of what had been said before it was noticed
    service.manager.settimeout(1.0)     # ten times as long as it takes to feed it once
    assert not [said for said in service.drain() if said.startswith("WATCHDOG")]


def test_a_camera_whose_server_is_gone_does_not(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service.write(source=f'{{location = "rtsp://admin:hunter2@127.0.0.1:{port}/live", silence_s = 0.5}}')
    service.start()
    service.hear("READY=1")
    service.says("camera north: rtsp://127.0.0.1.*found")
    for _ in range(12):     # three times what systemd would wait
        service.hear("WATCHDOG=1")
    assert service.ask("/healthz") == (200, "ok\n")
    assert service.ask("/readyz") == (503, "camera north is lost\n")
    assert 'cmnas_camera_state{camera="north",state="lost"} 1.0' in service.ask("/metrics")[1]
    service.end()
