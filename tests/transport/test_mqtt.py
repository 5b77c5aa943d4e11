"""A broker carries batches, knows who is who, reads no vector, and is believed for nothing else."""

from __future__ import annotations

import itertools
import os
import re
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec.structs import replace

from cmnas_edge import cli
from cmnas_edge.camera.sending.mqtt import MqttTransport
from cmnas_edge.camera.sending.transport import Reply
from cmnas_edge.camera.sending.ways import open_transport
from cmnas_edge.camera.settings import CameraSettings, DeviceSettings, LinkSettings, SourceSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.collector.receiving.mqtt import MqttReceiver, acl
from cmnas_edge.collector.settings import CollectorSettings, MqttSettings
from cmnas_edge.embedding import pack
from cmnas_edge.errors import ConfigError, DeviceError, DiskFull, LinkDown
from cmnas_edge.mqtt import Connection, Credentials, Message, address, answer_topic, batch_topic
from cmnas_edge.sealing import Opener, Sealer
from cmnas_edge.wire import MAX_BATCH_BYTES, decode_answer, decode_batch, encode_batch, encode_sighting
from tests.collector.house import House
from tests.collector.people import FINGERPRINT, People
from tests.transport.broker import SITE, Authority, Broker, Papers, free_port, needs_mosquitto

KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))
people = People()
_clients = itertools.count(1)


class Site:
    """A broker for the whole file, and who may come to it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "authority")
        self.papers = {name: self.authority.issue(name) for name in ("collector", "gate", "yard", "spare")}
        port, mine = free_port(), self.papers["collector"]
        self.settings = MqttSettings(
            broker=f"mqtts://127.0.0.1:{port}", certificate=mine.certificate, certificate_key=mine.key,
            certificate_authority=self.authority.certificate, site=SITE)
        self.broker = Broker(folder / "broker", self.authority, acl(self.settings), port=port)

    def link(self, name: str = "gate", **changes: object) -> LinkSettings:
        papers = self.papers[name]
        return LinkSettings(**{"timeout_s": 5.0, "site": SITE, "certificate": papers.certificate, "certificate_key":
                               papers.key, "certificate_authority": self.authority.certificate, **changes})

    def device(self, name: str = "gate", tally: Tally | None = None, **changes: object) -> MqttTransport:
        return MqttTransport(self.broker.url, name, self.link(name, **changes), tally or Tally())

    def connect(self, name: str, reads: str, take: Callable[[Message], None] = lambda _: None) -> Connection:
        papers = self.papers[name]
        made = Connection(address(self.broker.url, ""), Credentials(*papers, self.authority.certificate),
                          name=f"{name} {next(_clients)}", reads=reads, take=take, timeout_s=5.0, largest=1 << 20)
        made.wait_ready(time.monotonic() + 5)
        return made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    made.broker.start()
    yield made
    made.broker.close()


@pytest.fixture
def many_files() -> Iterator[int]:
    """The number of an open file that no select can look at."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"this machine lets a process open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048 if soft == resource.RLIM_INFINITY else max(soft, 2048), hard))
    held = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)]
    try:
        while held[-1] < 1024:
            held.append(os.dup(held[0]))
        yield held[-1]
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def home(site: Site, tmp_path: Path) -> Iterator[House]:
    """A collector in this process that reads from the broker."""
    house = House(tmp_path / "data", opener=Opener([KEY]))
    for name in ("gate", "yard"):
        house.token(name)
    reader = MqttReceiver(site.settings, house.receiver, house.devices)
    reader.start()
    while reader._connection is None or not reader._connection._ready:
        time.sleep(0.005)
    yield house
    reader.stop()
    house.close()


def batch(*numbers: int, device: str = "gate") -> bytes:
    return encode_batch([encode_sighting(people.sighting(number, at=10, sequence=number, device=device),
                                         Sealer(KEY.public_key().public_bytes_raw())) for number in numbers])


def result(reply: Reply) -> list[str]:
    assert reply.status == 200, reply
    return [outcome.result for outcome in decode_answer(reply.body)]


@needs_mosquitto
def test_a_batch_is_answered_after_the_commit_as_over_http(site: Site, home: House) -> None:
    tally = Tally()
    device = site.device(tally=tally)
    assert result(device.post(batch(1, 2))) == ["stored", "stored"]
    assert home.journal.count() == 2
    before = tally["sent_bytes"]
    assert result(device.post(batch(2, 3))) == ["duplicate", "stored"]
    assert 0 < tally["sent_bytes"] - before - len(batch(2, 3)) < 100    # topic, correlation, length
    foreign = encode_batch([replace(people.sighting(4, at=10), device="yard")])
    assert result(device.post(foreign)) == ["refused"]
    device.close()


@needs_mosquitto
def test_every_trouble_has_the_status_it_has_over_http(
        site: Site, home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    device = site.device()
    assert device.post(b"\xff")[:2] == (400, home.post(b"\xff").content.rstrip())
    long = bytes(MAX_BATCH_BYTES + 1)
    assert device.post(long).status == home.post(long).status_code == 413
    lost = encode_batch([encode_sighting(people.sighting(1, at=10), Sealer(
        X25519PrivateKey.generate().public_key().public_bytes_raw()))])
    assert device.post(lost)[:2] == (409, home.post(lost).content.rstrip())

    def full(*_: object) -> None:
        raise DiskFull("journal: no room (test)")

    monkeypatch.setattr(home.journal, "append", full)
    reply, answer = device.post(batch(9)), home.post(batch(9))
    assert (reply.status, reply.retry_after_s) == (answer.status_code, float(answer.headers["retry-after"])) == (503, 5)
    device.close()


@needs_mosquitto
def test_a_certificate_that_is_not_enrolled_is_answered_so_and_stores_nothing(
        site: Site, home: House, caplog: pytest.LogCaptureFixture) -> None:
    device = site.device("spare")
    reply = device.post(batch(1, device="spare"))
    assert (reply.status, b"enrol it on the collector" in reply.body) == (403, True)
    assert "'spare': has a certificate, and is not enrolled" in caplog.text
    assert home.journal.count() == 0
    device.close()


@needs_mosquitto
def test_a_device_reaches_its_own_topics_and_no_others(site: Site, home: House) -> None:
    overheard: list[Message] = []
    topics = (answer_topic(SITE, "gate"), batch_topic(SITE, "gate"), batch_topic(SITE, "+"), "#", "$SYS/#")
    spies = [site.connect("yard", reads, overheard.append) for reads in topics]
    for topic in topics[:2]:
        number = spies[0].publish(Message(topic, batch(1), bytes(16), {"status": "200"}), expires_s=5)
        with pytest.raises(LinkDown, match="does not let this certificate"):
            spies[0].wait_until(lambda: False, time.monotonic() + 5, about=number)
    assert home.journal.count() == 0
    device = site.device()
    assert result(device.post(batch(1))) == ["stored"]
    other = site.device("yard")
    assert result(other.post(batch(1, device="yard"))) == ["stored"]
    for spy in spies:   # what the broker had for it would come before the broker's word for this
        number = spy.publish(Message(batch_topic(SITE, "yard"), b"", b"", {}), expires_s=5)
        spy.wait_until(lambda spy=spy, number=number: spy.verdict(number) is not None, time.monotonic() + 5, about=0)
    assert [message.topic for message in overheard] == [answer_topic(SITE, "yard")]    # to the one that reads "#"
    for one in (*spies, device, other):
        one.close()


@needs_mosquitto
def test_whoever_reads_along_at_the_broker_sees_no_vector(site: Site, home: House) -> None:
    seen: list[Message] = []
    spy = site.connect("collector", batch_topic(SITE, "+"), seen.append)
    device = site.device()
    assert result(device.post(batch(7))) == ["stored"]
    spy.wait_until(lambda: bool(seen), time.monotonic() + 5, about=0)
    ((_, vector),) = home.journal.sightings(FINGERPRINT, 16, since=0, most=1)
    stored = pack(vector[None], "fp16")[0]
    assert stored not in seen[0].body
    (item,) = decode_batch(seen[0].body, dimension=16, device="gate", fingerprint=FINGERPRINT, opener=Opener([KEY]))
    assert pack(item.vector[None], "fp16")[0] == stored  # type: ignore[union-attr]
    spy.close()
    device.close()


@needs_mosquitto
def test_what_is_larger_than_any_batch_the_broker_keeps_from_the_collector(site: Site, home: House) -> None:
    device = site.device(timeout_s=0.5)
    with pytest.raises(LinkDown):
        device.post(bytes(MAX_BATCH_BYTES + 8192))
    assert result(device.post(batch(1))) == ["stored"]
    device.close()


@needs_mosquitto
def test_many_devices_at_once_are_each_answered(site: Site, home: House) -> None:
    names = [f"many {number}" for number in range(6)]
    for name in names:
        site.papers[name] = site.authority.issue(name)
        home.token(name)
    seen: dict[str, list[str]] = {name: [] for name in names}

    def send(name: str) -> None:
        device = site.device(name)
        for number in range(1, 26):
            seen[name] += result(device.post(batch(number, number + 1, device=name)))
        device.close()

    threads = [threading.Thread(target=send, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == {name: ["stored", "stored", *["duplicate", "stored"] * 24] for name in names}
    assert home.journal.count() == 26 * len(names)


@needs_mosquitto
def test_a_process_with_more_open_files_than_select_could_look_at_is_answered_as_any(
        many_files: int, site: Site, home: House) -> None:
    device = site.device()
    for number in range(1, 6):
        assert result(device.post(batch(number))) == ["stored"]
    assert device._connection is not None
    assert device._connection._client.socket().fileno() > many_files
    device.close()


@needs_mosquitto
def test_whoever_publishes_holds_nothing_that_the_client_needs_to_tell_us(site: Site) -> None:
    connection = site.connect("gate", answer_topic(SITE, "gate"))
    message = Message(batch_topic(SITE, "gate"), b"", b"", {})
    # The client calls back about what was published while it holds this, and publishing takes it too.
    with connection._client._out_message_mutex:
        thread = threading.Thread(target=connection.publish, args=(message,), kwargs={"expires_s": 5}, daemon=True)
        thread.start()
        for _ in range(50):
            assert connection._changed.acquire(timeout=5)
            connection._changed.release()
            thread.join(0.002)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()
    connection.close()


@needs_mosquitto
def test_only_the_answer_to_the_question_asked_is_taken(site: Site) -> None:
    asked: list[Message] = []
    reading = site.connect("collector", batch_topic(SITE, "+"), asked.append)
    device, replies = site.device(), []
    thread = threading.Thread(target=lambda: replies.append(device.post(b"what of this?")), daemon=True)
    thread.start()
    reading.wait_until(lambda: bool(asked), time.monotonic() + 5, about=0)
    for correlation, body in ((bytes(16), b"of another"), (b"", b"of none"), (asked[0].correlation, b"of this"),
                              (asked[0].correlation, b"of this, too late")):
        reading.publish(Message(answer_topic(SITE, "gate"), body, correlation, {"status": "200"}), expires_s=5)
    thread.join(10)
    assert replies == [Reply(200, b"of this")]
    for nonsense in ({}, {"status": "fine"}, {"status": "2000"}):
        asked.clear()
        failed: list[str] = []

        def post(into: list[str] = failed) -> None:
            try:
                device.post(b"?")
            except LinkDown as error:
                into.append(str(error))

        thread = threading.Thread(target=post, daemon=True)
        thread.start()
        reading.wait_until(lambda: bool(asked), time.monotonic() + 5, about=0)
        reading.publish(Message(answer_topic(SITE, "gate"), b"", asked[0].correlation, nonsense), expires_s=5)
        thread.join(10)
        assert "expected the collector's answer, found something else" in failed[0]
    reading.close()
    device.close()


@needs_mosquitto
def test_a_broker_without_a_collector_says_so_at_once(site: Site) -> None:
    device, began = site.device(timeout_s=60.0), time.monotonic()
    with pytest.raises(LinkDown, match="expected the collector there, found nobody who reads"):
        device.post(batch(1))
    assert time.monotonic() - began < 20
    with pytest.raises(LinkDown, match="'site' the collector's"):
        site.device(site="elsewhere").post(batch(1))
    device.close()


@needs_mosquitto
def test_closing_ends_a_post_that_waits_in_another_thread(site: Site) -> None:
    asked: list[Message] = []
    reading = site.connect("collector", batch_topic(SITE, "+"), asked.append)
    device, failures = site.device(timeout_s=60.0), []

    def post() -> None:
        try:
            device.post(b"x")
        except LinkDown as error:
            failures.append(str(error))

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    reading.wait_until(lambda: bool(asked), time.monotonic() + 5, about=0)
    device.close()
    thread.join(10)
    assert not thread.is_alive()
    assert failures == ["closed"]
    reading.close()


@needs_mosquitto
def test_failing_over_and_over_leaves_no_thread_and_no_socket_behind(site: Site) -> None:
    expired, nobody = site.authority.issue("gate", days=-1), free_port()

    def ways() -> list[MqttTransport]:
        late = site.link(certificate=expired.certificate, certificate_key=expired.key)
        return [site.device(), MqttTransport(site.broker.url, "gate", late, Tally()),
                MqttTransport(f"mqtts://127.0.0.1:{nobody}", "gate", site.link(), Tally())]

    def fail(count: int) -> tuple[set[threading.Thread], int]:
        for device in ways():
            for _ in range(count):
                with pytest.raises(LinkDown):
                    device.post(b"x")
            device.close()
        return set(threading.enumerate()), len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    threads, files = fail(1)
    after = fail(30)
    assert (after[0] - threads, after[1]) == (set(), files)


@needs_mosquitto
def test_a_message_that_no_camera_of_ours_would_send_is_not_answered(site: Site, home: House) -> None:
    heard: list[Message] = []
    listening = site.connect("gate", answer_topic(SITE, "gate"), heard.append)
    for correlation in (b"", b"short", bytes(17), bytes(16)):
        listening.publish(Message(batch_topic(SITE, "gate"), batch(1), correlation, {}), expires_s=5)
    listening.wait_until(lambda: bool(heard), time.monotonic() + 5, about=0)
    assert [message.correlation for message in heard] == [bytes(16)]
    assert home.journal.count() == 1
    listening.close()


@needs_mosquitto
def test_no_log_shows_a_vector_a_key_or_a_certificate(
        site: Site, home: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    device = site.device()
    device.post(batch(1))
    device.post(b"\xff")
    device.close()
    with suppress(LinkDown):
        site.device(site="elsewhere").post(batch(1))
    broker_log = site.broker.log.read_text("utf-8")
    private = re.sub(r"-----.*?-----|\s", "", site.papers["gate"].key.read_text())
    for text in (caplog.text, broker_log):
        assert private[40:80] not in text
        assert f"{people.vector(1)[0]:.3f}" not in text
        assert KEY.private_bytes_raw().hex() not in text


@pytest.mark.parametrize("crowded", [False, True], ids=["few files", "many files"])
def test_a_handshake_that_only_drips_ends_at_the_timeout(
        tmp_path: Path, request: pytest.FixtureRequest, crowded: bool) -> None:
    if crowded:
        request.getfixturevalue("many_files")
    over = threading.Event()
    papers = Authority(tmp_path).issue("gate")

    def drip() -> None:
        peer, _ = listening.accept()
        with peer, suppress(OSError):
            peer.recv(65536)
            for byte in b"\x16\x03\x03\x40\x00" + bytes(500):
                peer.sendall(bytes([byte]))
                if over.wait(0.02):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        device = MqttTransport(f"mqtts://127.0.0.1:{listening.getsockname()[1]}", "gate", LinkSettings(
            timeout_s=0.3, certificate=papers.certificate, certificate_key=papers.key), Tally())
        began = time.monotonic()
        with pytest.raises(LinkDown, match="no answer in time"):
            device.post(b"x")
        assert time.monotonic() - began < 5
        for connecting in [one for one in threading.enumerate() if one.name == "mqtt"]:
            connecting.join(5)
            assert not connecting.is_alive()    # a thread a try would be left behind
        over.set()
        thread.join(10)
        device.close()


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Authority(tmp_path_factory.mktemp("authority")).issue("gate")


@pytest.mark.parametrize(("url", "changes", "says"), [
    ("mqtt://broker.example", {}, "expected a broker like mqtts://"),
    ("mqtts://user:secret@broker.example", {}, "expected a broker like mqtts://"),
    ("mqtts://broker.example/topic", {}, "expected a broker like mqtts://"),
    ("mqtts://broker.example:port", {}, "expected a broker like mqtts://"),
    ("mqtts://broker..example", {}, "expected a broker like mqtts://"),
    ("mqtts://b", {"certificate": None}, "expected certificate and certificate_key in .link."),
    ("mqtts://b", {"certificate_key": None}, "expected certificate and certificate_key in .link."),
    ("mqtts://b", {"certificate": Path("/nowhere.pem")}, "/nowhere.pem: expected a certificate in PEM, found No such"),
    ("mqtts://b", {"certificate_key": Path("/nowhere.key")}, "/nowhere.key: expected a file with a secret"),
    ("mqtts://b", {"certificate_authority": Path("/nowhere.pem")}, "/nowhere.pem: expected certificates in PEM"),
    ("https://c", {}, "token: expected the file with the token")])
def test_what_cannot_work_is_one_sentence_before_anything_is_sent(
        papers: Papers, url: str, changes: dict[str, object], says: str) -> None:
    link = LinkSettings(**{"certificate": papers.certificate, "certificate_key": papers.key, **changes})
    cameras = (CameraSettings(name="north", source=SourceSettings(location="none")),)
    with pytest.raises(ConfigError, match=says) as raised:
        open_transport(DeviceSettings(device="gate", collector=url, cameras=cameras, link=link), Tally())
    assert "secret@" not in str(raised.value)


def test_anothers_certificate_or_key_or_one_that_others_read_is_refused(papers: Papers, tmp_path: Path) -> None:
    other = Authority(tmp_path / "authority").issue("yard")
    for device, link, says in (
            ("roof", LinkSettings(certificate=papers.certificate, certificate_key=papers.key),
             "expected the certificate of device 'roof', found that of 'gate'"),
            ("gate", LinkSettings(certificate=papers.certificate, certificate_key=other.key), "expected the key of"),
            ("gate", LinkSettings(certificate=papers.key, certificate_key=papers.key), "expected a certificate in")):
        with pytest.raises(ConfigError, match=says):
            MqttTransport("mqtts://b", device, link, Tally())
    other.key.chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0600"):
        MqttTransport("mqtts://b", "yard", LinkSettings(certificate=other.certificate, certificate_key=other.key),
                      Tally())


def test_no_device_may_be_called_as_the_collector_is_at_the_broker(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority, config = Authority(tmp_path), tmp_path / "collector.toml"

    def collector(*words: str, name: str) -> tuple[int, str, str]:
        papers = authority.issue(name)
        config.write_text(f'data = "data"\n[mqtt]\nbroker = "mqtts://b"\ncertificate = "{papers.certificate}"\n'
                          f'certificate_key = "{papers.key}"\n', "utf-8")
        code = cli.main(["collector", *words, "--config", str(config)])
        return code, *capsys.readouterr()

    code, out, said = collector("enrol", "hub", name="hub")
    assert (code, out, "'hub' is the collector's own at the broker" in said) == (78, "", True)
    assert collector("enrol", "gate", name="hub")[0] == 0
    code, out, _ = collector("mqtt-acl", name="the hub")
    assert (code, "\nuser the hub\n" in out) == (0, True)
    for name in ("hub#", "hub\ntopic read #", "höb", "+"):
        code, out, said = collector("mqtt-acl", name=name)
        assert (code, out, "expected a common name of 1 to 64 letters" in said) == (78, "", True)


def test_without_the_package_the_sentence_says_which(papers: Papers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "paho"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "paho", None)
    with pytest.raises(DeviceError, match=r"pip install 'cmnas-edge\[mqtt\]'"):
        MqttTransport("mqtts://b", "gate", LinkSettings(certificate=papers.certificate, certificate_key=papers.key),
                      Tally())


@pytest.mark.parametrize("kind", [CollectorSettings, MqttSettings])
def test_every_setting_of_a_collector_is_documented(kind: type[msgspec.Struct]) -> None:
    documented = set(re.findall(r"^        (\w+): ", kind.__doc__ or "", re.MULTILINE))
    assert documented == {field.name for field in msgspec.structs.fields(kind)}
