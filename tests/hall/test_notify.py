"""systemd is told what `sd_notify(3)` says, through a real socket, and its absence harms nobody."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmnas_edge.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's end, and its address as the environment writes it."""
    name = f"@cmnas-test-{os.getpid()}-{time.monotonic_ns()}"
    address = name if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("\0" + address[1:] if address[0] == "@" else address)
        end.settimeout(5)
        yield end, address


def heard(end: socket.socket) -> list[str]:
    return end.recv(4096).decode().split("\n")


def test_each_thing_is_said_in_systemds_words(manager: tuple[socket.socket, str]) -> None:
    end, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address}, clock_ns=lambda: 12_345_678_901)
    assert notifier.ready("2 cameras")
    assert heard(end) == ["READY=1", "STATUS=2 cameras"]
    assert notifier.alive()
    assert heard(end) == ["WATCHDOG=1"]
    assert notifier.reloading()
    assert heard(end) == ["RELOADING=1", "MONOTONIC_USEC=12345678"]
    assert notifier.stopping()
    assert heard(end) == ["STOPPING=1"]


def test_the_time_of_a_reload_is_the_monotonic_clocks(manager: tuple[socket.socket, str]) -> None:
    end, address = manager
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert Notifier({"NOTIFY_SOCKET": address}).reloading()
    said = int(heard(end)[1].partition("=")[2])
    assert before <= said <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_is_one_line_without_secrets(manager: tuple[socket.socket, str]) -> None:
    end, address = manager
    assert Notifier({"NOTIFY_SOCKET": address}).status("rtsp://admin:hunter2@10.0.0.7\nREADY=1 " + "x" * 9999)
    said = heard(end)
    assert len(said) == 1, "a second line would be another field"
    assert said[0].startswith("STATUS=rtsp://***@10.0.0.7 READY=1 xxx")
    assert len(said[0]) < 500


def test_the_watchdogs_time_is_taken_if_it_is_meant_for_this_process() -> None:
    def asked(**given: str) -> float | None:
        return Notifier({"NOTIFY_SOCKET": "/run/none", **given}).watchdog_s

    assert asked(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid())) == 30.0
    assert asked(WATCHDOG_USEC="1500000") == 1.5
    assert asked(WATCHDOG_USEC="30000000", WATCHDOG_PID="1") is None
    assert asked(WATCHDOG_USEC="0") is None
    assert asked(WATCHDOG_USEC="soon") is None
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_s is None, "there is nobody to tell"


def test_children_do_not_inherit_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NOTIFY_SOCKET", "/run/none"), ("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "1")):
        monkeypatch.setenv(name, value)
    Notifier()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens-here", "vsock:2:1234", "relative", "/"])
def test_nobody_to_tell_is_no_failure(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    assert not notifier.ready("x")
    assert not notifier.alive()


def test_a_manager_that_does_not_read_stops_nobody(manager: tuple[socket.socket, str]) -> None:
    _, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    heard_by = [notifier.alive() for _ in range(5000)]
    assert heard_by[0]
    assert not heard_by[-1], "the queue of a socket has an end; beyond it nothing is sent, and nobody waits"
