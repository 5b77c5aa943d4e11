"""Whoever asks a daemon how it is gets a short answer, and only on this machine."""

from __future__ import annotations

import errno
import http.client
import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from cmnas_edge.errors import CmnasError, ConfigError, Transient, unheard
from cmnas_edge.monitoring.health import Health, Verdict

LOOPBACK = ipaddress.ip_address("127.0.0.1")


class Patient:
    """How the daemon says it is."""

    alive = Verdict(True)
    ready = Verdict(True)


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.fixture
def served(patient: Patient) -> Iterator[Health]:
    with Health((LOOPBACK, 0), metrics=lambda: b"cmnas_x 1\n", alive=lambda: patient.alive,
                ready=lambda: patient.ready) as health:
        yield health


def ask(served: Health, path: str, method: str = "GET", host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_each_page_says_what_it_is_asked_for(served: Health, patient: Patient) -> None:
    assert ask(served, "/metrics") == (200, "cmnas_x 1\n")
    assert ask(served, "/healthz") == (200, "ok\n")
    assert ask(served, "/readyz?verbose") == (200, "ok\n")
    patient.alive = Verdict(False, ("camera north hangs",))
    patient.ready = Verdict(False, ("camera south is lost", "the collector is silent"))
    assert ask(served, "/healthz") == (503, "camera north hangs\n")
    assert ask(served, "/readyz") == (503, "camera south is lost\nthe collector is silent\n")


def test_there_is_nothing_else(served: Health) -> None:
    assert ask(served, "/")[0] == 404
    assert ask(served, "/metrics", "POST")[0] == 501


@pytest.mark.parametrize(("host", "status"), [
    ("127.0.0.1:9464", 200), ("localhost:9464", 200), ("[::1]:9464", 200), ("10.0.0.7", 200),
    ("evil.example", 403), ("evil.example:9464", 403), ("127.0.0.1.evil.example", 403)])
def test_a_name_that_was_made_to_lead_here_reads_nothing(served: Health, host: str, status: int) -> None:
    assert ask(served, "/metrics", host=host)[0] == status


def test_somebody_who_connects_and_says_nothing_holds_nobody_up_for_long(served: Health) -> None:
    with socket.create_connection(("127.0.0.1", served.port)):
        assert ask(served, "/healthz")[0] == 200


def test_somebody_who_drips_holds_nobody_up_for_long(served: Health) -> None:
    over = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            while not over.wait(0.05):
                slow.sendall(b"X-Mas: y\r\n")

    with socket.create_connection(("127.0.0.1", served.port)) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\n")
        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert ask(served, "/healthz")[0] == 200    # its own patience is five times that of the page
        finally:
            over.set()
            dripping.join()


def test_somebody_who_hangs_up_is_no_event(served: Health, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")   # a reset, not a farewell
        caller.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert ask(served, "/healthz")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_anothers_is_said(served: Health) -> None:
    with pytest.raises(Transient, match=rf"health: expected to listen at 127.0.0.1:{served.port}, found: Address"):
        Health((LOOPBACK, served.port), metrics=bytes, alive=lambda: Verdict(True), ready=lambda: Verdict(True))


@pytest.mark.parametrize(("number", "kind"), [
    (errno.EADDRINUSE, Transient), (errno.EADDRNOTAVAIL, Transient), (errno.EACCES, ConfigError)])
def test_a_port_that_may_come_free_is_worth_a_new_start_and_one_that_is_forbidden_is_not(
        number: int, kind: type[CmnasError]) -> None:
    assert type(unheard("health", "127.0.0.1:9464", OSError(number, "why"))) is kind
