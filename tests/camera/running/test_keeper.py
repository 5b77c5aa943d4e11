"""What the main thread tells and does beside waiting, on a clock that a test moves and through a real socket."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cmnas_edge.camera.running.keeper import Keeper
from cmnas_edge.camera.running.vitals import CameraVitals, Vitals
from cmnas_edge.errors import ConfigError
from cmnas_edge.notify import Notifier
from tests.camera.clock import Clock

NORTH = CameraVitals(name="north", state="live", frame_count=1, patience_s=10.0)
COUNTS = dict.fromkeys(("sightings", "stored", "duplicate", "refused", "dropped", "engine_failures", "embedding_bytes",
                        "header_bytes", "unexplained_bytes", "requests", "link_failures"), 0)


class World:
    """A keeper, the manager it speaks to, and the daemon it looks at."""

    def __init__(self, folder: Path, watchdog: str = "4000000") -> None:
        self.clock = Clock()
        self.vitals = Vitals(cameras=(NORTH,), counts=COUNTS)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.setblocking(False)
        self.reread: Callable[[], str] = lambda: "nothing has changed"
        self.keeper = Keeper(lambda: self.vitals, lambda: "north visible live",
                             Notifier({"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": watchdog}),
                             reread=self._read, clock=self.clock)

    def _read(self) -> str:
        return self.reread()

    def frames(self, count: int) -> None:
        self.vitals = replace(self.vitals, cameras=(replace(NORTH, frame_count=count),))

    def pass_time(self, seconds: int) -> list[str]:
        """Step ten times a second; returns what was said."""
        for _ in range(10 * seconds):
            self.clock.now += 0.1
            self.keeper.step()
        return self.said()

    def said(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.manager.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.manager.close()


def test_it_is_ready_then_alive_several_times_within_the_watchdogs_patience(world: World) -> None:
    world.keeper.began()
    assert world.said() == ["READY=1\nSTATUS=north visible live"]
    said = world.pass_time(4)
    assert said.count("WATCHDOG=1") >= 3, "systemd waits four seconds"
    assert "STATUS=north visible live" in said


def test_a_camera_that_hangs_starves_the_watchdog_is_said_and_makes_it_unhealthy(
        world: World, said: pytest.LogCaptureFixture) -> None:
    for second in range(30):
        world.frames(second)
        assert "WATCHDOG=1" in world.pass_time(1)
    assert world.keeper.alive().well
    world.pass_time(20)
    assert "WATCHDOG=1" not in world.pass_time(30)
    assert world.keeper.alive() == (False, ("camera north hangs",))
    assert said.messages == ["camera north hangs; systemd will start this daemon again"]
    world.frames(99)
    assert "WATCHDOG=1" in world.pass_time(2)
    assert world.keeper.alive().well


def test_an_engine_that_does_not_come_back_starves_it_too(world: World) -> None:
    frames = 0
    for busy_s in range(0, 90, 10):
        world.vitals = replace(world.vitals, busy_s=float(busy_s))
        said = []
        for _ in range(10):
            frames += 1
            world.vitals = replace(world.vitals, cameras=(replace(NORTH, frame_count=frames),))
            said += world.pass_time(1)
        assert ("WATCHDOG=1" in said) == (busy_s <= 60)


def test_a_reader_that_was_given_up_and_does_not_return_starves_it_too(world: World) -> None:
    world.frames(1)
    world.pass_time(2)
    world.vitals = replace(world.vitals, hanging=("rtsp://10.0.0.7",))
    world.pass_time(1)
    assert "WATCHDOG=1" not in world.pass_time(3)
    assert world.keeper.alive() == (False, ("a reader of rtsp://10.0.0.7 does not return",))


def test_it_is_ready_when_cameras_give_frames_and_the_collector_answers(world: World) -> None:
    assert world.keeper.ready() == (True, ())
    world.vitals = replace(world.vitals, cameras=(NORTH, replace(NORTH, name="south", state="lost")), down_s=12.0)
    assert world.keeper.ready() == (False, ("camera south is lost", "the collector has been silent for 12 s"))
    world.vitals = replace(world.vitals, cameras=(replace(NORTH, state="ended"),), down_s=None)
    assert world.keeper.ready().well, "a recording that has ended is no failure"


def test_a_reload_is_told_from_beginning_to_end_once_for_each_time_it_was_asked(
        world: World, said: pytest.LogCaptureFixture) -> None:
    world.keeper.reload()
    world.keeper.reload()
    assert world.said() == [], "nothing is done where a signal interrupts"
    first, second, *_ = world.pass_time(1)
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", first)
    assert second.startswith("READY=1")
    assert said.messages == ["settings read again: nothing has changed"], "signals that come together are one"
    assert not [line for line in world.pass_time(1) if "RELOADING" in line]


def test_settings_that_cannot_be_read_change_nothing_and_that_is_said(
        world: World, said: pytest.LogCaptureFixture) -> None:
    def broken() -> str:
        raise ConfigError("gate.toml: line 3: unknown key 'x'")

    world.reread = broken
    world.keeper.reload()
    assert any(line.startswith("READY=1") for line in world.pass_time(1))
    assert said.messages == ["gate.toml: line 3: unknown key 'x'; nothing was changed: everything stays as it was"]


def test_a_mistake_of_ours_in_a_reload_ends_nothing_and_is_said_with_its_traceback(
        world: World, said: pytest.LogCaptureFixture) -> None:
    def broken() -> str:
        raise RuntimeError("nobody thought of this")

    world.reread = broken
    world.keeper.reload()
    assert any(line.startswith("READY=1") for line in world.pass_time(1))
    assert len(said.messages) == 1
    assert "a mistake of ours (RuntimeError): everything stays as it was" in said.messages[0]
    assert "nobody thought of this" in said.text
    assert "Traceback" in said.text
    world.reread = lambda: "nothing has changed"
    world.keeper.reload()
    world.pass_time(1)
    assert said.messages[-1] == "settings read again: nothing has changed"


def test_while_it_drains_the_watchdog_is_fed(world: World) -> None:
    world.keeper.ending()
    assert world.said() == ["STOPPING=1\nSTATUS=stopping"]
    for _ in range(40):
        world.clock.now += 0.1
        world.keeper.draining()
    assert world.said().count("WATCHDOG=1") >= 3


def test_who_asks_over_http_is_told_the_same(world: World, said: pytest.LogCaptureFixture) -> None:
    with world.keeper.health("127.0.0.1:0"):
        port = int(said.messages[-1].rpartition(" ")[2])
        answers = []
        for page in ("/metrics", "/healthz", "/readyz"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", page)
            answers.append(connection.getresponse())
            assert answers[-1].status == 200
            if page == "/metrics":
                assert b'cmnas_frames_total{camera="north"} 1.0' in answers[-1].read()
            connection.close()
    with world.keeper.health(None) as nobody:
        assert nobody is None
