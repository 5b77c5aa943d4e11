"""An exchange with the collector ends in time, and its address is one that can be used."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cmnas_edge.camera.sending.transport import HttpTransport
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.errors import ConfigError, LinkDown


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("cmnas_" + "t" * 40)
    path.chmod(0o600)
    return path


@contextmanager
def answered(by: Callable[[socket.socket, threading.Event], object]) -> Iterator[str]:
    """Serve one connection with a function; gives the address."""
    over = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            peer, _ = listening.accept()
            with peer:
                peer.recv(65536)
                by(peer, over)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        over.set()
        thread.join(10)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"], ids=["head", "body"])
def test_an_answer_that_only_drips_ends_at_the_timeout(token: Path, head: bytes) -> None:
    def drip(peer: socket.socket, over: threading.Event) -> None:
        peer.sendall(head)
        for byte in (b"" if head else b"HTTP/1.1 200 OK\r\nX-A: ") + b"a" * 500:
            peer.sendall(bytes([byte]))
            if over.wait(0.02):
                return

    with answered(drip) as url:
        link = HttpTransport(url, token, LinkSettings(timeout_s=0.3), Tally())
        began = time.monotonic()
        with pytest.raises(LinkDown, match="no answer in time"):
            link.post(b"x")
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\nhello\r\n0\r\n\r\n",
    b"\x1b[31m\x00\x07 no HTTP\r\n\r\n",
    b"HTTP/1.1 2\x1b[2J0 OK\r\n\r\n",
], ids=["chunk below 0", "chunk of no number", "binary", "status of no number"])
def test_nonsense_for_an_answer_is_a_link_down_said_in_signs_that_can_be_printed(token: Path, answer: bytes) -> None:
    with answered(lambda peer, _: peer.sendall(answer)) as url:
        with pytest.raises(LinkDown, match="something that does not speak HTTP as it should") as raised:
            HttpTransport(url, token, LinkSettings(timeout_s=5.0), Tally()).post(b"x")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("date", ["Mon, 01 Jan 99999999999 00:00:00 GMT",
                                  "Sat, 21 Nov 2026 18:00:00 +99999999999999", "soon"])
def test_a_date_that_cannot_be_is_none(token: Path, date: str) -> None:
    tally = Tally()
    head = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 2\r\n\r\nok".encode()
    with answered(lambda peer, _: peer.sendall(head)) as url:
        link = HttpTransport(url, token, LinkSettings(timeout_s=5.0), tally)
        assert link.post(b"x").body == b"ok"
        link.close()
    assert tally.clock_offset_s is None


def test_an_exchange_leaves_nothing_for_the_collector_of_garbage(token: Path) -> None:
    def answer(peer: socket.socket, _: threading.Event) -> None:
        asked = b"POST"     # which `answered` has read
        while asked:
            if b"POST" in asked:
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            asked = peer.recv(65536)

    with answered(answer) as url:
        link = HttpTransport(url, token, LinkSettings(timeout_s=5.0), Tally())
        link.post(b"x")
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                assert link.post(b"x").body == b"ok"
            assert gc.collect() == 0
        finally:
            gc.enable()
        link.close()


def test_closing_ends_an_exchange_that_waits_in_another_thread(token: Path) -> None:
    asked = threading.Event()

    def silent(_: socket.socket, over: threading.Event) -> None:
        asked.set()
        over.wait(30)

    with answered(silent) as url:
        link = HttpTransport(url, token, LinkSettings(timeout_s=60.0), Tally())
        failures: list[str] = []

        def post() -> None:
            try:
                link.post(b"x")
            except LinkDown as error:
                failures.append(str(error))

        thread = threading.Thread(target=post, daemon=True)
        thread.start()
        assert asked.wait(10)
        link.close()
        thread.join(10)
        assert not thread.is_alive()
    assert len(failures) == 1


@pytest.mark.parametrize("url", [
    "https://a..b", "https://" + "a" * 64 + ".example", "https://cøllector.example", "https://c.example/pfad/ü",
    "https://c.example/a b", "https://c ollector.example", "https://c.example/%zz",
    "https://" + "a." * 150 + "example"])
def test_a_host_or_path_that_cannot_be_sent_is_refused(token: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="expected a host and path in plain ASCII"):
        HttpTransport(url, token, LinkSettings(), Tally())
