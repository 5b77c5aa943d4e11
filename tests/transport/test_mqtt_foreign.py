"""A broker that says what no broker should: nothing grows, nothing breaks, and one sentence says what it was."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.errors import LinkDown
from cmnas_edge.mqtt import Address, Answered, Connection, Credentials, Message, read_answer, written_answer
from tests.transport.broker import Authority, Papers

CONNACK = b"\x20\x03\0\0\0"
LARGEST = 1 << 20


class Site:
    """Certificates of a broker and of one that connects to it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.broker, self.device = self.authority.issue("broker", hosts=["127.0.0.1"]), self.authority.issue("gate")

    @contextmanager
    def broker_that_says(self, script: Callable[[ssl.SSLSocket], None]) -> Iterator[Connection]:
        """Someone who shakes hands, hears who connects, and then says what a script says."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.broker)

        def serve() -> None:
            peer, _ = listening.accept()
            with suppress(OSError), context.wrap_socket(peer, server_side=True) as tls:
                self.heard = tls.recv(4096)
                script(tls)
                tls.recv(4096)

        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            connection = Connection(
                Address("127.0.0.1", listening.getsockname()[1]),
                Credentials(*Papers(*self.device), self.authority.certificate), name="gate", reads="a/b",
                take=lambda _: None, timeout_s=5, largest=LARGEST)
            yield connection
            connection.close()
            thread.join(10)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("authority"))


def greet(tls: ssl.SSLSocket) -> None:
    """Let it in, and let it read."""
    tls.sendall(CONNACK)
    number = tls.recv(4096)[2:4]
    tls.sendall(b"\x90\x04" + number + b"\0\1")


def why_ended(connection: Connection) -> str:
    assert connection.wait_ended(10)
    return connection.ended


def test_of_a_packet_larger_than_any_of_ours_nothing_is_taken_in(site: Site) -> None:
    taken = [0]

    def flood(tls: ssl.SSLSocket) -> None:
        greet(tls)
        tls.sendall(b"\x30\x80\x80\x80\x64" + b"\0\3a/b\0")     # 200 MiB are to come
        with suppress(OSError):
            for _ in range(200):
                tls.sendall(bytes(1 << 20))
                taken[0] += 1

    with site.broker_that_says(flood) as connection:
        assert "a packet of 209,715,200 bytes, and nobody here takes so many" in why_ended(connection)
    assert taken[0] < 16    # what the machine's own buffers hold


def test_a_broker_is_told_how_much_may_come(site: Site) -> None:
    with site.broker_that_says(greet) as connection:
        connection.wait_ready(time.monotonic() + 10)
    assert b"\x27" + (LARGEST + 4096).to_bytes(4, "big") in site.heard


def test_a_topic_that_is_no_text_ends_the_connection_in_a_sentence(site: Site) -> None:
    def speak(tls: ssl.SSLSocket) -> None:
        greet(tls)
        tls.sendall(b"\x30\x07\0\2\xff\xfe\0hi")

    with site.broker_that_says(speak) as connection:    # a traceback in its thread would fail this test
        assert "something there that does not speak MQTT 5 as it should" in why_ended(connection)


@pytest.mark.parametrize("packet", [
    b"\x32\0", b"\x32\x04\0\x20ab", b"\x30\x08\0\1a\4\xf0abc", b"\xf0\x02ab", b"\x40\0", b"\x40\x04\0\1\x55\0",
    b"\x36\x07\0\1a\0\1\0x",
], ids=["empty", "short", "property", "auth", "no number", "no reason", "no quality"])
def test_what_is_no_mqtt_5_is_called_so(site: Site, packet: bytes) -> None:
    def speak(tls: ssl.SSLSocket) -> None:
        greet(tls)
        tls.sendall(packet)

    with site.broker_that_says(speak) as connection:
        assert "something there that does not speak MQTT 5 as it should" in why_ended(connection)


@pytest.mark.parametrize(("answer", "says"), [
    (b"\x20\x02\0\0", "does not speak MQTT 5"), (b"\x20\x02\0\1", "Unsupported protocol version"),
    (b"\x20\x04\0\x55\xff\x99", "does not speak MQTT 5"), (CONNACK + b"\x90\x03\0\1\0", "does not speak MQTT 5"),
], ids=["MQTT 3", "MQTT 3 refuses", "garbage", "no verdict"])
def test_a_broker_of_another_kind_is_not_blamed_on_certificates(site: Site, answer: bytes, says: str) -> None:
    with site.broker_that_says(lambda tls: tls.sendall(answer)) as connection:
        with pytest.raises(LinkDown, match=says) as raised:
            connection.wait_ready(time.monotonic() + 10)
        assert "expired" not in str(raised.value)


@given(answered=st.builds(Answered, st.integers(100, 999), st.binary(max_size=20), st.integers(0, 999_999)))
def test_an_answer_is_read_as_it_was_written(answered: Answered) -> None:
    assert read_answer(written_answer("a/b", bytes(16), answered)) == answered


@pytest.mark.parametrize("properties", [{}, {"status": ""}, {"status": "20"}, {"status": "-20"}, {"status": "²00"},
                                        {"retry-after": "3"}])
def test_what_is_no_answer_is_none(properties: dict[str, str]) -> None:
    assert read_answer(Message("a/b", b"", bytes(16), properties)) is None


def test_patience_that_is_none_is_none() -> None:
    for after in ("", "-1", "1e9", "9" * 30):
        found = read_answer(Message("a/b", b"", bytes(16), {"status": "503", "retry-after": after}))
        assert found == Answered(503, b"")
