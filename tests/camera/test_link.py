"""Every record is delivered once, in order, or counted as dropped, whatever the link does."""

from __future__ import annotations

import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.memory_first import MemoryFirst
from cmnas_edge.camera.sending.spool import MIN_BYTES, Spool
from cmnas_edge.camera.sending.transport import HttpTransport, Reply
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.errors import ConfigError, DiskFull, LinkDown
from cmnas_edge.wire import Outcome, encode_answer
from tests.camera.fakes import Served

TOKEN = "cmnas_" + "t" * 40
FAULTS = ["ok", "down", "lost", "partial", "refuse", "garbage", "empty", "foreign", "unasked", "302", "400", "401",
          "409", "413", "500", "503"]
LARGE = pb.Sighting(vector=bytes(6000)).SerializeToString()


class Clock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Collector:
    """A collector at the end of a link that fails where a script says."""

    def __init__(self, script: list[str]) -> None:
        self.script = list(script)
        self.stored: list[int] = []
        self.refused: list[int] = []
        self.lost: dict[tuple[int, int], int] = {}
        self.requests: list[int] = []

    def post(self, body: bytes) -> Reply:
        batch = pb.Batch.FromString(body)
        self.requests.append(len(batch.sightings))
        fault = self.script.pop(0) if self.script else "ok"
        if fault == "down":
            raise LinkDown("collector: nobody there")
        if fault.isdigit():
            return Reply(int(fault), b"a page")
        if fault in ("garbage", "empty"):
            return Reply(200, b"<html>" if fault == "garbage" else b"")
        if fault == "foreign":
            return Reply(200, encode_answer([Outcome("f" * 16, s.sequence, "stored") for s in batch.sightings]))
        if fault == "unasked":
            return Reply(200, encode_answer([Outcome(s.spool, s.sequence + 500, "stored") for s in batch.sightings]))
        outcomes = []
        for s in batch.sightings:
            if fault == "refuse":
                self.refused.append(s.sequence)
                outcomes.append(Outcome(s.spool, s.sequence, "refused", "too old"))
            else:
                known = s.sequence in self.stored
                self.stored += [] if known else [s.sequence]
                outcomes.append(Outcome(s.spool, s.sequence, "duplicate" if known else "stored"))
        for g in batch.gaps:
            self.lost[g.first, g.last] = g.count
            outcomes.append(Outcome(g.spool, g.last, "stored"))
        if fault == "lost":
            raise LinkDown("collector: the answer was lost")
        return Reply(200, encode_answer(outcomes[::2] if fault == "partial" else outcomes))

    def close(self) -> None:
        pass


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool.db", MIN_BYTES) as made:
        yield made


def link_to(collector: Collector, spool: Spool, clock: Clock, tally: Tally | None = None, **changes: object) -> Link:
    return Link(spool, collector, LinkSettings(**changes), tally or Tally(), clock=clock, draw=lambda: 0.5)


def run_until_empty(link: Link, spool: Spool, clock: Clock) -> None:
    for _ in range(5000):
        if not len(spool) and not spool.has_gaps():
            return
        clock.now += link.step()
    raise AssertionError("records still wait")


@given(st.lists(st.one_of(st.sampled_from(FAULTS), st.integers(1, 80)), max_size=30))
@settings(deadline=None, max_examples=40)
def test_each_record_arrives_once_and_in_order_or_is_counted(script: list[str | int]) -> None:
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, Spool(Path(folder) / "s.db", MIN_BYTES) as spool:
        collector = Collector([])
        tally = Tally()
        link = link_to(collector, spool, clock, tally)
        made = 0
        for what in script:
            if isinstance(what, int):
                spool.put([LARGE] * what)  # large, so that the spool overflows at times
                made += what
            else:
                collector.script = [what]
                clock.now += link.step()
        collector.script = []
        run_until_empty(link, spool, clock)
        arrived = set(collector.stored) | set(collector.refused)
        assert len(collector.stored) == len(set(collector.stored))
        if "409" not in script:     # what is left for now lets others pass
            assert collector.stored == sorted(collector.stored)
        lost = sum(collector.lost.values())
        assert lost == spool.dropped_count
        # A record whose answer was lost may be displaced too, and is counted then although it arrived.
        assert made - lost <= len(arrived) <= made
        ranges = {n for first, last in collector.lost for n in range(first, last + 1)}
        assert set(range(1, made + 1)) - arrived <= ranges
        if not {"lost", "partial"} & set(script):
            assert len(arrived) == made - lost
        assert (tally["stored"] + tally["duplicate"] + tally["refused"]) == made - lost


def test_nothing_is_freed_by_anything_but_an_answer_for_that_record(spool: Spool) -> None:
    spool.put([b""] * 3)
    clock = Clock()
    for fault in ("down", "lost", "garbage", "empty", "foreign", "302", "400", "401", "403", "404", "409", "500",
                  "503"):
        link = link_to(Collector([fault]), spool, clock, wait_s=0.0)
        assert link.step() >= 1.0
        assert len(spool) == 3, fault
    collector = Collector(["partial"])
    link_to(collector, spool, clock, wait_s=0.0).step()
    assert [sequence for sequence, _ in spool.peek(9)] == [2]


def test_records_of_a_key_that_the_collector_does_not_have_wait_and_its_own_words_are_said(
        spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    spool.put([b""] * 3)
    clock, collector = Clock(), Collector(["409"])
    link = link_to(collector, spool, clock, wait_s=0.0)
    clock.now += link.step()
    assert "the collector takes none of these records for now (409: a page); correct" in caplog.text
    assert "; 3 records wait" in caplog.text
    run_until_empty(link, spool, clock)
    assert collector.stored == [1, 2, 3]


class Choosy(Collector):
    """Takes for now what is in none of some ranges."""

    def __init__(self, *later: range) -> None:
        super().__init__([])
        self.later = list(later)
        self.asked: list[list[int]] = []

    def post(self, body: bytes) -> Reply:
        batch = pb.Batch.FromString(body)
        self.asked.append([s.sequence for s in batch.sightings])
        now = [s for s in batch.sightings if not any(s.sequence in later for later in self.later)]
        if not now and not batch.gaps:
            return Reply(409, b"seen_at: of a time to come")
        return super().post(pb.Batch(sightings=now, gaps=batch.gaps).SerializeToString())


def run_for(link: Link, clock: Clock, seconds: float) -> None:
    end = clock.now + seconds
    while clock.now < end:
        clock.now += max(link.step(), 0.001)


@pytest.mark.parametrize("kind", ["disk", "memory-first"])
def test_what_the_collector_leaves_for_now_holds_up_nothing_behind_it_and_is_stored_once_it_takes_it(
        tmp_path: Path, kind: str, said: pytest.LogCaptureFixture) -> None:
    clock, collector = Clock(), Choosy(range(1, 131), range(151, 161))
    with (Spool(tmp_path / "s.db", MIN_BYTES) if kind == "disk"
          else MemoryFirst(tmp_path / "s.db", MIN_BYTES, window_s=30.0, most=50, clock=clock)) as spool:
        link = link_to(collector, spool, clock)
        for _ in range(10):
            spool.put([b""] * 17)
        run_for(link, clock, 300.0)
        assert collector.stored == [*range(131, 151), *range(161, 171)]
        spool.put([b""])
        run_for(link, clock, 2.0)       # the next one waits no longer than for company
        assert collector.stored[-1] == 171
        assert link.down_s is None
        collector.asked.clear()
        for _ in range(60):
            run_for(link, clock, 10.0)
            assert link.down_s is None      # so nothing that comes now would wait
        assert len(collector.asked) <= 11                                       # one batch a minute
        assert {n for asked in collector.asked for n in asked} == {*range(1, 131), *range(151, 161)}    # each in turn
        assert said.text.count("takes none of these records for now (409: seen_at: of a time to come)") <= 3
        del collector.later[1]          # not the first is the first to be taken
        run_for(link, clock, 200.0)
        assert set(range(131, 172)) == set(collector.stored)
        collector.later.clear()
        run_for(link, clock, 70.0)      # and then the rest at once
        assert sorted(collector.stored) == list(range(1, 172))
        assert len(spool) == 0
        spool.put([b""])
        run_for(link, clock, 2.0)
        assert collector.stored[-1] == 172


def test_records_that_were_left_are_asked_for_at_once_on_another_way(spool: Spool) -> None:
    clock, collector = Clock(), Choosy(range(1, 4))
    link = link_to(collector, spool, clock, wait_s=0.0)
    spool.put([b""] * 3)
    run_for(link, clock, 10.0)
    other = Collector([])
    link.adjust(LinkSettings(wait_s=0.0), other)
    link.step()
    assert other.stored == [1, 2, 3]


def test_an_answer_about_a_record_that_was_not_sent_frees_nothing(spool: Spool) -> None:
    spool.put([b""] * 600)
    link_to(Collector(["unasked"]), spool, Clock()).step()
    assert len(spool) == 600


def test_records_wait_for_company_but_not_for_long(spool: Spool) -> None:
    clock, collector = Clock(), Collector([])
    link = link_to(collector, spool, clock)
    link.step()
    spool.put([b""] * 10)
    assert link.step() == 1.0
    clock.now = 0.6
    assert link.step() == pytest.approx(0.4)
    spool.put([b""] * 54)
    assert link.step() == 0.0
    assert collector.requests == [64]
    spool.put([b""])
    link.step()
    clock.now += 1.0
    link.step()
    assert collector.requests == [64, 1]


def test_a_daemon_in_a_hurry_waits_for_nothing(spool: Spool) -> None:
    clock, collector = Clock(), Collector(["down"])
    link = link_to(collector, spool, clock)
    spool.put([b""] * 64)
    assert link.step() > 0
    link.hurry()
    assert link.step() == 0.0
    assert len(spool) == 0
    spool.put([b""])
    link.step()
    assert len(spool) == 0


def test_ten_minutes_without_a_collector_cost_patience_and_no_record(spool: Spool) -> None:
    clock, collector = Clock(), Collector(["down"] * 1000)
    link = link_to(collector, spool, clock)
    waits = []
    for _ in range(1000):
        if clock.now >= 600:
            break
        if len(spool) < 64:
            spool.put([b""] * 64)
        waits.append(link.step())
        clock.now += waits[-1]
    assert all(1.0 <= wait <= 60.0 for wait in waits)
    assert waits[0] < 2.0
    assert waits[-1] > 20.0
    assert len(waits) < 25
    collector.script = []
    run_until_empty(link, spool, clock)
    assert collector.stored == list(range(1, collector.stored[-1] + 1))
    assert link.down_s is None


def test_a_collector_that_cannot_store_is_left_alone_as_long_as_it_asks(spool: Spool) -> None:
    class Busy(Collector):
        def post(self, body: bytes) -> Reply:
            return Reply(503, b"", retry_after_s=7.0)

    spool.put([b""])
    assert link_to(Busy([]), spool, Clock(), wait_s=0.0).step() == 7.0


def test_a_batch_found_too_large_is_halved_until_it_passes(spool: Spool) -> None:
    clock, collector = Clock(), Collector(["413", "413"])
    link = link_to(collector, spool, clock)
    spool.put([b""] * 64)
    run_until_empty(link, spool, clock)
    assert collector.requests == [64, 32, 16, 16, 16, 16]


def test_a_wrong_token_is_said_once_and_frees_nothing(spool: Spool, said: pytest.LogCaptureFixture) -> None:
    clock, collector = Clock(), Collector(["401"] * 12)
    link = link_to(collector, spool, clock)
    spool.put([b""] * 64)
    for _ in range(8):
        clock.now += link.step()
    assert [record.levelname for record in said.records] == ["WARNING"]
    assert "does not know this device's token" in said.text
    assert len(spool) == 64
    run_until_empty(link, spool, clock)
    assert "answers again" in said.text


def test_a_refusal_is_shown_with_its_reason_and_counted(spool: Spool, said: pytest.LogCaptureFixture) -> None:
    clock, tally = Clock(), Tally()
    link = link_to(Collector(["refuse"]), spool, clock, tally)
    spool.put([b""] * 64)
    assert link.step() == 0.0
    assert said.text.count("refused record 1 for good: too old") == 1
    assert len(said.records) == 1
    assert (tally["refused"], len(spool)) == (64, 0)


# --- The connection itself, against a real server on loopback.


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


def transport(url: str, token: Path, tally: Tally | None = None, **changes: object) -> HttpTransport:
    return HttpTransport(url, token, LinkSettings(timeout_s=5.0, **changes), tally or Tally())


def test_one_connection_serves_many_batches_and_every_byte_is_counted(token: Path) -> None:
    tally = Tally()
    with Served(lambda body: (200, b"re:" + body)) as served:
        link = transport(f"http://127.0.0.1:{served.port}/behind/a/proxy", token, tally)
        assert [link.post(body).body for body in (b"one", b"two")] == [b"re:one", b"re:two"]
        link.close()
    assert served.connections == 1
    assert tally["sent_bytes"] == served.received
    assert served.heads[0]["path"] == "/behind/a/proxy/v1/sightings"
    assert served.heads[0]["authorization"] == f"Bearer {TOKEN}"
    assert set(served.heads[0]) == {"path", "host", "accept-encoding", "content-length", "content-type",
                                    "authorization", "user-agent"}


def test_a_kept_connection_that_was_closed_meanwhile_is_made_anew(token: Path) -> None:
    with Served(lambda body: (599 if body == b"bye" else 200, b"")) as served:
        link = transport(f"http://127.0.0.1:{served.port}", token)
        assert [link.post(body).status for body in (b"hi", b"bye", b"hi")] == [200, 599, 200]
        link.close()
    assert served.connections == 2


def test_a_status_and_its_patience_are_handed_on(token: Path) -> None:
    with Served(lambda _: (503, b"full")) as served:
        link = transport(f"http://127.0.0.1:{served.port}", token)
        assert link.post(b"") == Reply(503, b"full", 9.0)
        link.close()


def test_a_collector_that_is_not_there_is_a_link_down(token: Path) -> None:
    with Served(lambda _: (200, b"")) as served:
        port = served.port
    with pytest.raises(LinkDown, match=f"127.0.0.1:{port}: expected the collector, found Connection refused"):
        transport(f"http://127.0.0.1:{port}", token).post(b"")


def test_a_port_that_hangs_up_on_plain_http_may_be_one_of_tls(token: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        def hang_up() -> None:
            with server.accept()[0] as peer:
                peer.recv(1 << 16)

        thread = threading.Thread(target=hang_up)
        thread.start()
        link = transport(f"http://127.0.0.1:{server.getsockname()[1]}", token)
        with pytest.raises(LinkDown, match="that this is its port, and whether it is to be https or http"):
            link.post(b"")
        thread.join()


def test_something_that_is_no_web_server_is_a_link_down(token: Path) -> None:
    with Served(lambda _: (200, b"x" * (300 << 10))) as served:
        with pytest.raises(LinkDown, match="more than"):
            transport(f"http://127.0.0.1:{served.port}", token).post(b"")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                           "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "-", "-out", "-"],
                          capture_output=True, check=False)
    if made.returncode:
        pytest.skip("openssl cannot make a certificate here")
    path.write_bytes(made.stdout)
    return path


def test_https_trusts_the_authority_the_settings_name_and_no_other(token: Path, certificate: Path) -> None:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(certificate)
    with Served(lambda _: (200, b"")) as plain, Served(lambda _: (200, b"ok"), trust) as served:
        url = f"https://localhost:{served.port}"
        link = transport(url, token, certificate_authority=certificate)
        assert link.post(b"x").body == b"ok"
        link.close()
        with pytest.raises(LinkDown, match=r"a certificate that is not trusted .*name the authority that signed it in "
                                           r"link\.certificate_authority"):
            transport(url, token).post(b"x")
        with pytest.raises(LinkDown, match=r"not trusted .*write a name that the certificate has in 'collector'"):
            transport(f"https://127.0.0.1:{served.port}", token, certificate_authority=certificate).post(b"x")
        with pytest.raises(LinkDown):
            transport(f"https://localhost:{plain.port}", token).post(b"x")
    assert plain.heads == []
    with pytest.raises(ConfigError, match="expected certificates in PEM"):
        transport(url, token, certificate_authority=token)


@pytest.mark.parametrize(("url", "says"), [
    ("http://collector.example:8700", "plain http to collector.example"), ("http://10.0.0.5", "plain http"),
    ("http://0.0.0.0:1", "plain http"), ("http://localhost.example", "plain http"),
    ("ftp://127.0.0.1", "expected an address"), ("127.0.0.1:8700", "expected an address"), ("http://", "expected an"),
    ("http://127.0.0.1:port", "expected an address"), ("http://user:secret@127.0.0.1", "without user and password"),
    ("https://c.example/?token=1", "expected an address"),
])
def test_an_address_that_would_leak_or_is_none_is_refused(token: Path, url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        transport(url, token)
    assert "secret" not in str(raised.value)


def test_plain_http_is_taken_on_loopback_or_when_the_settings_say_so(token: Path) -> None:
    for url in ("http://127.0.0.1:1", "http://localhost", "http://[::1]:9", "https://collector.example"):
        transport(url, token)
    transport("http://collector.example", token, allow_plain_http_off_loopback=True)


def test_a_new_token_is_taken_without_a_restart_and_a_lost_one_is_waited_for(token: Path) -> None:
    with Served(lambda _: (200, b"")) as served:
        link = transport(f"http://127.0.0.1:{served.port}", token)
        token.write_text("cmnas_" + "n" * 40)
        link.post(b"")
        token.unlink()
        with pytest.raises(LinkDown, match="token"):
            link.post(b"")
        link.close()
    assert served.heads[0]["authorization"].endswith("nnn")


@pytest.mark.parametrize("text", ["short", "two words of a password", "a\r\nX-Header: 1234567890123456"])
def test_a_file_without_a_token_is_refused(token: Path, text: str) -> None:
    token.write_text(text)
    with pytest.raises(ConfigError, match="expected the token"):
        transport("http://127.0.0.1:1", token)
    token.chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0600"):
        transport("http://127.0.0.1:1", token)


def test_while_the_disk_is_full_each_record_is_sent_once_and_the_collector_counts_as_up(
        spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, collector, tally = Clock(), Collector(["down"]), Tally()
    link = link_to(collector, spool, clock, tally, batch=2, wait_s=0.0)
    spool.put([LARGE] * 5)
    settle = spool.settle

    def full(*_: object) -> int:
        raise DiskFull("spool.db: no room")

    monkeypatch.setattr(spool, "settle", full)
    monkeypatch.setattr(spool, "gaps", full)
    for _ in range(20):
        clock.now += link.step()
    assert link.down_s is None
    assert (collector.requests, collector.stored) == ([2, 2, 2, 1], [1, 2, 3, 4, 5])
    assert (tally["stored"], tally["duplicate"], link.answered_count, len(spool)) == (5, 0, 5, 5)
    monkeypatch.undo()
    assert spool.settle == settle
    link.step()
    assert (link.answered_count, len(spool)) == (0, 0)
