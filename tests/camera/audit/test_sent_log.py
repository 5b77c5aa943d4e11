"""The sent log holds every byte that is written, in order, for its owner alone; and never stands in the way."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cmnas_edge.camera.sending.sent_log import Line, Opened, SentLog, Written
from cmnas_edge.camera.sending.transport import HttpTransport, _trust
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from tests.camera.disks import mounted
from tests.camera.fakes import Served
from tests.logs import said

__all__ = ["said"]
TOKEN = "cmnas_" + "s" * 40
Said = pytest.LogCaptureFixture


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@pytest.fixture
def pair() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()) as made, listening.accept()[0]:
            yield made


def lines(path: Path) -> list[Line]:
    return [msgspec.json.decode(line, type=Line) for line in path.read_bytes().splitlines()]


def test_what_a_transport_sends_stands_in_the_log_to_the_byte_with_both_ends(tmp_path: Path, token: Path) -> None:
    path, tally = tmp_path / "sent", Tally()
    with Served(lambda body: (200, body)) as served:
        link = HttpTransport(f"http://127.0.0.1:{served.port}", token, LinkSettings(timeout_s=5.0, sent_log=path),
                             tally)
        for bodies in ((b"one", b"two"), (b"three",)):
            assert [link.post(body).body for body in bodies] == [*bodies]
            link.close()
    found = lines(path)
    opened = [line for line in found if isinstance(line, Opened)]
    assert {(one.protocol, one.remote, one.is_tls) for one in opened} == {("http", ("127.0.0.1", served.port), False)}
    assert len(opened) == 2
    assert len({one.local for one in opened} | {one.connection for one in opened}) == 4
    written = [line for line in found if isinstance(line, Written)]
    assert [line.data for line in written if not line.data.startswith(b"POST /v1/sightings ")] == [
        b"one", b"two", b"three"]
    assert sum(len(line.data) for line in written) == tally["sent_bytes"] == served.received
    for one in opened:
        mine = [line for line in written if line.connection == one.connection]
        assert [line.offset for line in mine] == [sum(len(line.data) for line in mine[:n]) for n in range(len(mine))]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_the_setting_nothing_is_kept(tmp_path: Path, token: Path) -> None:
    with Served(lambda _: (200, b"")) as served:
        link = HttpTransport(f"http://127.0.0.1:{served.port}", token, LinkSettings(timeout_s=5.0), Tally())
        link.post(b"one")
        link.close()
    assert list(tmp_path.iterdir()) == [token]


def unusable(folder: Path) -> Iterator[tuple[str, str]]:
    (folder / "open").touch(0o644)
    yield "open", "others can read it: its mode is 0644, not 0600"
    os.mkfifo(folder / "pipe", 0o600)
    yield "pipe", "No such device or address"
    (folder / "elsewhere").symlink_to(folder / "other")
    yield "elsewhere", "Too many levels of symbolic links"
    yield "no/folder", "No such file or directory"


def test_a_place_that_cannot_be_written_to_is_told_once_and_everything_is_sent(
        tmp_path: Path, token: Path, said: Said) -> None:
    for name, why in unusable(tmp_path):
        said.clear()
        with Served(lambda body: (200, body)) as served:
            link = HttpTransport(f"http://127.0.0.1:{served.port}", token, LinkSettings(
                timeout_s=5.0, sent_log=tmp_path / name), Tally())
            assert [link.post(body).body for body in (b"one", b"two")] == [b"one", b"two"]
            link.close()
        assert said.text.count(f"{tmp_path / name}: what is sent is not written to the sent log ({why})") == 1
        assert len(said.records) == 1


def test_a_full_log_stops_says_so_and_begins_another_once_it_is_moved_away(
        tmp_path: Path, pair: socket.socket, said: Said) -> None:
    path = tmp_path / "sent"
    log = SentLog(path, 2 << 20, "http")
    log.opened(pair, is_tls=True)
    for size in (900_000, 900_000, 100):    # the second has no room, as base64; the third would have
        log.sent(bytes(size))
    assert [line.offset for line in lines(path) if isinstance(line, Written)] == [0, 1_800_000]
    log.sent(bytes(900_000))
    assert "(1 MiB, as many as 'sent_log_mib' allows)" in said.text
    assert len(said.records) == 1
    assert path.stat().st_size <= 2 << 20
    path.rename(tmp_path / "first")
    log.sent(b"again")
    begun, again = lines(path)
    assert begun == lines(tmp_path / "first")[0]
    assert (again.offset, again.data) == (2_700_100, b"again")


def test_a_disk_that_is_full_for_a_while_leaves_a_hole_that_shows_and_no_line_joined_to_a_torn_one(
        tmp_path: Path, pair: socket.socket, said: Said) -> None:
    with mounted(tmp_path / "disk", "tmpfs", "size=64k"):
        path, ballast = tmp_path / "disk" / "sent", tmp_path / "disk" / "ballast"
        log = SentLog(path, 1 << 20, "mqtt")
        log.opened(pair, is_tls=True)
        ballast.write_bytes(bytes(40 << 10))
        log.sent(bytes(30_000))
        assert "No space left on device" in said.text
        ballast.unlink()
        log.sent(b"later")
        first, _torn, last = path.read_bytes().splitlines()
        assert msgspec.json.decode(first, type=Line).protocol == "mqtt"
        assert msgspec.json.decode(last, type=Line).offset == 30_000


def test_no_keys_of_tls_are_kept_though_the_environment_names_a_file(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert not _trust(LinkSettings()).keylog_filename


def test_the_keys_of_tls_go_to_a_file_of_their_own_that_only_its_owner_reads(tmp_path: Path, said: Said) -> None:
    import ssl

    from cmnas_edge.camera.sending.sent_log import keep_keys

    context = ssl.create_default_context()
    keep_keys(context, None)
    assert not context.keylog_filename
    keep_keys(context, tmp_path / "keys")
    assert context.keylog_filename == str(tmp_path / "keys")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600
    (tmp_path / "open").touch(0o644)
    keep_keys(other := ssl.create_default_context(), tmp_path / "open")
    assert not other.keylog_filename
    assert "keys of TLS are not written there (others can read it: its mode is 0644, not 0600)" in said.text
