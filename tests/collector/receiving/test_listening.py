"""Who connects and says nothing keeps nobody out, and takes no file from the journal."""

from __future__ import annotations

import errno
import re
import resource
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cmnas_edge.collector.receiving import listening
from cmnas_edge.collector.receiving.listening import Listener, may_open
from cmnas_edge.collector.serving import listening as listening_at
from cmnas_edge.collector.serving import server_config
from cmnas_edge.collector.settings import CollectorSettings
from cmnas_edge.wire import decode_answer, encode_batch
from tests.collector.people import People
from tests.collector.process import Process

ROOT = Path(__file__).resolve().parents[3]
CROWD = 400


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener(socket.AF_INET, clock=lambda: 5.0) as one:
        one.bind(("127.0.0.1", 0))
        one.listen(64)
        yield one


def connected(listener: Listener, source: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """A stranger's end and ours."""
    theirs = socket.create_connection(listener.getsockname(), 5, (source, 0))
    return theirs, listener.accept()[0]


def is_over(theirs: socket.socket) -> bool:
    theirs.setblocking(False)
    try:
        return theirs.recv(1) == b""
    except BlockingIOError:
        return False


def test_of_the_silent_ones_of_a_peer_the_longest_waiting_gives_way_and_who_spoke_never(
        listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_SILENT_OF_ONE_PEER", 2)
    pairs = [connected(listener)]
    Listener.heard(pairs[0][1].fileno())
    other = connected(listener, "127.0.0.2")
    pairs += [connected(listener) for _ in range(3)]
    assert [is_over(theirs) for theirs, _ in pairs] == [False, True, False, False]
    assert not is_over(other[0])
    for pair in (*pairs, other):
        for end in pair:
            end.close()


def test_many_peers_together_keep_no_more_than_may_be(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_SILENT", 3)
    pairs = [connected(listener, f"127.0.0.{number}") for number in range(1, 7)]
    assert [is_over(theirs) for theirs, _ in pairs] == [True, True, True, False, False, False]
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_connection_that_went_by_itself_takes_nobodys_place(listener: Listener, monkeypatch: pytest.MonkeyPatch
                                                               ) -> None:
    monkeypatch.setattr(listening, "MOST_SILENT_OF_ONE_PEER", 2)
    first = connected(listener)
    for _ in range(5):
        for end in connected(listener):
            end.close()
    assert not is_over(first[0])
    for end in first:
        end.close()


def test_where_no_file_can_be_opened_the_silent_ones_go_and_it_is_said_once_a_second(
        listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = connected(listener)

    def nothing_left(_: Listener) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket.socket, "accept", nothing_left)
    with pytest.raises(OSError, match="Too many"):
        listener.accept()
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert is_over(theirs)
    theirs.close()
    ours.close()


def test_the_loop_is_one_that_asks_our_listener_whom_to_accept(tmp_path: Path) -> None:
    assert server_config(CollectorSettings(data=tmp_path), None).loop == "asyncio"    # not uvloop, which would not
    with listening_at(CollectorSettings(data=tmp_path, listen="127.0.0.1:0")) as ours:
        assert isinstance(ours, Listener)


def test_as_many_files_may_be_open_as_the_system_lets_us() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 1, before[1]))
        assert may_open(before[0]) == before[0]
        assert may_open(16) == before[0]    # never fewer than before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(not (shutil.which("make") and shutil.which("openssl")), reason="make or openssl is not installed")
def test_a_crowd_that_never_shakes_hands_locks_no_device_out(tmp_path: Path) -> None:
    papers = tmp_path / "papers"
    subprocess.run(["make", "--no-print-directory", "certificates", f"OUT={papers}", "ARGS=127.0.0.1", "DEVICES=gate"],
                   cwd=ROOT, capture_output=True, check=True, timeout=60)
    with Process(tmp_path / "collector", f'tls_certificate = "{papers}/collector.pem"\n'
                 f'tls_key = "{papers}/collector-key.pem"\n',
                 within=["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"]) as collector:    # as little as it may get
        token = collector.enrol()
        collector.start()
        host, _, port = collector.url.rpartition("/")[2].partition(":")
        crowd = [socket.create_connection((host, int(port)), 10) for _ in range(CROWD)]
        answer = httpx.post(f"{collector.url}/v1/sightings", content=encode_batch([People().sighting(1, at=10)]),
                            headers={"Authorization": f"Bearer {token}"}, timeout=30,
                            verify=ssl.create_default_context(cafile=papers / "authority.pem"))
        assert [outcome.result for outcome in decode_answer(answer.content)] == ["stored"]
        for each in crowd:
            each.close()
        assert collector.stop() == 0
        assert not re.search("Too many|Traceback", collector.said)
