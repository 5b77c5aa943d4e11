"""An audit of real recordings: what left in good order is accounted for, and a hidden picture is found."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import pytest

from cmnas_edge import cli
from cmnas_edge.camera.sending import transport
from cmnas_edge.camera.sending.transport import HttpTransport
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.wire import encode_batch
from tests.camera.audit.network import audit, crop, mark_by, needs_recording, recorded, row, settings
from tests.camera.fakes import FPS, FRAME_HEIGHT, FRAME_WIDTH, film, write_boxes
from tests.collector.people import People
from tests.collector.process import Process
from tests.tiny_bundle import TINY
from tests.transport.broker import Authority, free_port, needs_mosquitto
from tests.transport.namespace import Cable
from tests.transport.ways import WAYS, Camera

pytestmark = needs_recording
Capsys = pytest.CaptureFixture[str]
FRAMES = 40
DAEMON = """
device = "gate"
collector = "{url}"
token = "gate.token"
bundle = "{bundle}"
trust = {{allow_unsigned_bundle = true}}
engine = {{name = "onnxruntime"}}
{link}
[[cameras]]
name = "north"
source = {{location = "walk.avi", pace = "fast"}}
detector = {{kind = "boxes", path = "boxes.jsonl"}}
spectrum = {{modality = "visible"}}
select = {{min_height = 20, period_s = 0.5, view_gap_s = 0.1}}
"""


class Middle:
    """A collector as a process, over HTTP or HTTPS."""

    def __init__(self, folder: Path, scheme: str) -> None:
        self.scheme = scheme
        self.authority = Authority(folder / "authority") if scheme == "https" else None
        lines = ""
        if self.authority is not None:
            papers = self.authority.issue("server", hosts=["127.0.0.1"])
            lines = f'tls_certificate = "{papers.certificate}"\ntls_key = "{papers.key}"\n'
        self.process = Process(folder / "collector", lines)
        text = self.process.config.read_text().replace('bundle = "bundle"', f'bundle = "{TINY}"')
        self.process.config.write_text(text)
        self.token = self.process.enrol()
        self.process.start()
        self.url = self.process.url
        self.port = int(self.url.rpartition(":")[2])

    def link(self, **link: object) -> LinkSettings:
        """How a device gets there."""
        return LinkSettings(**{"timeout_s": 10.0, "certificate_authority": self.authority and
                               self.authority.certificate, **link})


@pytest.fixture(scope="module")
def middles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Middle]]:
    made: dict[str, Middle] = {}

    def middle(scheme: str) -> Middle:
        if scheme not in made:
            made[scheme] = Middle(tmp_path_factory.mktemp(scheme), scheme)
        return made[scheme]

    yield middle
    for one in made.values():
        one.process.stop()


class Device:
    """The sending half of a device, with a log and keys; and what a stolen one may do."""

    def __init__(self, folder: Path, middle: Middle, capsys: Capsys, log: Path | None = None) -> None:
        self.folder, self.middle, self._capsys = folder, middle, capsys
        self.log, self.keys, self.capture = log or folder / "sent", folder / "keys", folder / "capture.pcap"
        token = folder / "gate.token"
        token.write_text(middle.token)
        token.chmod(0o600)
        settings = middle.link(sent_log=self.log, sent_log_tls_keys=self.keys)
        self.link = HttpTransport(middle.url, token, settings, Tally())
        self.ways = [[], ["--keys", str(self.keys)]][:1 + (middle.scheme == "https")]
        self._people = People(dimension=16)

    def batch(self, count: int = 2) -> bytes:
        """Sightings of the kind that any collector can read."""
        return encode_batch([self._people.sighting(number, at=1000.0) for number in range(count)])

    def socket(self) -> Any:
        """That of its connection."""
        assert self.link._connection.sock is not None
        return self.link._connection.sock

    def audited(self, *words: str) -> dict[str, Any]:
        """What an audit finds."""
        return audit(settings(self.folder), self.capture, "--log", str(self.log), *words, capsys=self._capsys)

    def unexplained(self, *words: str) -> dict[str, int]:
        """Bytes of each finding, by where."""
        return {finding["where"]: finding["unexplained_bytes"] for finding in self.audited(*words)["findings"]}


@pytest.fixture(params=["http", "https"])
def device(request: pytest.FixtureRequest, middles: Callable[[str], Middle], tmp_path: Path,
           capsys: Capsys) -> Iterator[Device]:
    made = Device(tmp_path, middles(request.param), capsys)
    yield made
    made.link.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_every_byte_of_a_daemon_is_accounted_for(
        middles: Callable[[str], Middle], tmp_path: Path, capsys: Capsys, scheme: str) -> None:
    middle = middles(scheme)
    writer = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), FPS,
                             (FRAME_WIDTH, FRAME_HEIGHT))
    for picture in film(FRAMES):
        writer.write(picture)
    writer.release()
    write_boxes(tmp_path / "boxes.jsonl", FRAMES)
    (tmp_path / "gate.token").write_text(middle.token)
    (tmp_path / "gate.token").chmod(0o600)
    config = tmp_path / "gate.toml"
    trust = f'certificate_authority = "{middle.authority.certificate}", ' if middle.authority else ""
    config.write_text(DAEMON.format(url=middle.url, bundle=TINY, link=(
        f'link = {{ {trust}wait_s = 0.1, sent_log = "sent.jsonl", sent_log_tls_keys = "sent.keys" }}')))
    with recorded(tmp_path / "capture.pcap", f"tcp port {middle.port}"):
        ran = subprocess.run([sys.executable, "-m", "cmnas_edge.cli", "camera", str(config)], capture_output=True,
                             text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    for words in ([], ["--keys", str(tmp_path / "sent.keys")])[:1 + (scheme == "https")]:
        found = audit(config, tmp_path / "capture.pcap", *words, capsys=capsys)
        assert found["is_accounted_for"]
        mine = row(found, f"127.0.0.1:{middle.port}", "collector, HTTP")
        assert mine["capture_bytes"] == mine["log_bytes"] == found["embedding_bytes"] + found["header_bytes"]
        assert found["embedding_bytes"] > 100
        assert (found["unexplained_bytes"], mine["unexplained_bytes"]) == (0, 0)
        by_lengths = [note for note in found["notes"] if "by the lengths of records" in note]
        assert bool(by_lengths) == (scheme == "https" and not words)
    assert cli.main(["audit", str(config), str(tmp_path / "capture.pcap")]) == 0
    assert "everything that left 127.0.0.1 is accounted for\n" in capsys.readouterr().out


@pytest.mark.parametrize(("device", "hidden"), [("https", "field"), ("http", "header")], indirect=["device"])
def test_a_picture_sent_as_if_it_were_protocol_is_found_where_it_stands(
        device: Device, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    picture = crop()
    length = bytes([len(picture) & 0x7F | 0x80, len(picture) >> 7])
    body = device.batch()
    with recorded(device.capture, f"tcp port {device.middle.port}"):
        device.link.post(device.batch())
        if hidden == "header":
            monkeypatch.setattr(transport, "__version__", picture.hex())
            device.link.post(device.batch())
        else:
            device.link.post(body + b"\x7a" + length + picture)
    found = device.audited()
    (finding,) = found["findings"]
    size = 2 * len(picture) if hidden == "header" else len(picture)
    assert size <= finding["unexplained_bytes"] <= size + 40
    assert finding["where"].endswith(f"127.0.0.1:{device.middle.port}")
    before = len(device.batch()) + 200  # the first request
    offset = int(finding["found"].partition("at offset ")[2].split()[0].replace(",", ""))
    assert before < offset < before + 400
    sentence = "expected every byte that left 'gate' accounted for, found {:,} that are not (1 findings); look at each"
    assert sentence.format(finding["unexplained_bytes"]) in found["said"]


@pytest.mark.parametrize(("device", "when"), [("http", "between"), ("http", "last"), ("https", "last")],
                         indirect=["device"])
def test_a_request_that_goes_past_the_account_is_found(device: Device, when: str) -> None:
    picture = crop()
    with recorded(device.capture, f"tcp port {device.middle.port}"):
        device.link.post(device.batch())
        made = device.socket()
        made.sendall(b"POST /v1/sightings HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" + picture)
        if when == "between":
            with suppress(Exception):   # the collector is right to be confused
                device.link.post(device.batch())
    for words in device.ways:
        (size,) = device.unexplained(*words).values()
        assert len(picture) <= size <= len(picture) + 1000      # where a request behind it broke off, that, too


def test_bytes_beside_the_data_of_tls_are_found(
        middles: Callable[[str], Middle], tmp_path: Path, capsys: Capsys) -> None:
    picture = crop()
    heads = {"none": b"", "data": b"\x17\x03\x03", "handshake": b"\x16\x03\x03", "alert": b"\x15\x03\x03"}
    middle, log, ends = middles("https"), tmp_path / "sent", {}
    with recorded(tmp_path / "capture.pcap", f"tcp port {middle.port}"):
        for name, head in heads.items():
            (tmp_path / name).mkdir()
            device = Device(tmp_path / name, middle, capsys, log)
            device.link.post(device.batch())
            ends[name] = f"127.0.0.1:{device.socket().getsockname()[1]} -> 127.0.0.1:{middle.port}"
            socket.socket.sendall(device.socket(), head + (len(picture).to_bytes(2, "big") if head else b"") + picture)
            device.link.close()
    for words in ([], ["--keys", str(tmp_path / "none" / "keys")]):
        found = audit(settings(tmp_path), tmp_path / "capture.pcap", "--log", str(log), *words, capsys=capsys)
        sizes = {finding["where"]: finding["unexplained_bytes"] for finding in found["findings"]}
        assert sizes.keys() == {*ends.values()}
        for name, where in ends.items():
            assert len(picture) - 20 <= sizes[where] <= len(picture) + 20, name


@pytest.mark.parametrize("device", ["http"], indirect=True)
def test_a_picture_that_goes_another_way_is_found_with_its_way(device: Device) -> None:
    picture = crop()
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(type=socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind(("127.0.0.2", 0))
        ports = [device.middle.port, listening.getsockname()[1], elsewhere.getsockname()[1], 53, port]
        with recorded(device.capture, f"src host 127.0.0.1 and ({' or '.join(f'port {one}' for one in ports)})"):
            device.link.post(device.batch())
            with socket.create_connection(listening.getsockname()) as other, listening.accept()[0]:
                other.sendall(picture)
            with socket.create_connection(("127.0.0.1", device.middle.port)) as past:   # no line of the log
                past.sendall(picture)
            with socket.socket(type=socket.SOCK_DGRAM) as datagram:
                datagram.bind(("127.0.0.1", 0))
                datagram.sendto(picture, elsewhere.getsockname())
                datagram.sendto(picture[:400], ("127.0.0.2", 53))      # no question to a name server
            with socket.socket() as knock, suppress(OSError):
                knock.connect(("127.0.0.1", port))                     # nobody is there
            device.link.close()
    # On loopback the collector's answer to who came past comes from an address of the device, too.
    assert device.unexplained().items() >= {
        f"127.0.0.1:{ports[1]}": len(picture), f"127.0.0.1:{ports[0]}": len(picture),
        f"127.0.0.2:{ports[2]}": len(picture), "127.0.0.2:53": 400, f"127.0.0.1:{port}": 0}.items()
    # What was declared is no finding any more, and is named with its bytes; the rest stays one.
    found = device.audited("--expect", "127.0.0.2")
    assert not [finding for finding in found["findings"] if finding["where"].startswith("127.0.0.2")]
    assert f"127.0.0.1:{ports[1]}" in {finding["where"] for finding in found["findings"]}
    assert (f"{len(picture) + 400:,} bytes that went to 127.0.0.2 were declared with --expect; nobody looked into them"
            in found["notes"])


@pytest.mark.parametrize(("words", "says"), [
    (["--expect", "127.0.0.1"], "--expect: expected somebody else than the collector, found 127.0.0.1"),
    (["--expect", "gate"], "--expect: expected a numeric address")])
@pytest.mark.parametrize("device", ["http"], indirect=True)
def test_nobody_declares_away_what_an_audit_is_for(device: Device, words: list[str], says: str, capsys: Capsys) -> None:
    with recorded(device.capture, f"src host 127.0.0.1 and port {device.middle.port}"):
        device.link.post(device.batch())
    where = [str(settings(device.folder)), str(device.capture), "--log", str(device.log)]
    assert cli.main(["audit", *where, *words]) == 78
    assert says in capsys.readouterr().err


def test_a_recording_that_begins_late_or_ends_early_is_said_and_no_fault(device: Device, tmp_path: Path) -> None:
    with recorded(device.capture, f"tcp port {device.middle.port}"):
        for _ in range(3):
            device.link.post(device.batch())
        device.link.close()
    whole = device.audited()
    assert not any("began before" in note or "ended before" in note for note in whole["notes"])
    late, early = tmp_path / "late.pcap", tmp_path / "early.pcap"
    requests = _packets(device, f"tcp.dstport=={device.middle.port} && tcp.len>0")
    answers = _packets(device, f"tcp.srcport=={device.middle.port} && tcp.len>0")
    # With an answer, so that the collector is whom the recording shows first.
    subprocess.run(["editcap", "-r", device.capture, late, f"{answers[-3]}-{requests[-1] + 99}"], check=True)
    subprocess.run(["editcap", "-r", device.capture, early, f"1-{requests[-3]}"], check=True)
    for part, word in ((late, "of the log began before the recording"), (early, "at the end of the log are not in")):
        device.capture = part
        found = device.audited()
        assert found["findings"] == []
        assert any(word in note for note in found["notes"]), found["notes"]
        mine = row(found, f"127.0.0.1:{device.middle.port}", "collector")
        assert 0 < mine["capture_bytes"] < mine["log_bytes"] == whole["rows"][0]["log_bytes"]


@pytest.mark.parametrize("device", ["http"], indirect=True)
def test_a_recording_that_shows_other_packets_than_the_devices_is_found(device: Device, tmp_path: Path) -> None:
    device.link.post(device.batch())
    device.link.close()
    with recorded(tmp_path / "other.pcap", "udp port 9"):
        pass
    device.capture = tmp_path / "other.pcap"
    (finding,) = device.audited()["findings"]
    assert "shows no packet of 127.0.0.1; record on the interface that leads to the collector" in finding["found"]
    for name, shift in (("before", "-60"), ("after", "60")):
        subprocess.run(["editcap", "-t", shift, device.capture, tmp_path / name], check=True)
    device.capture = tmp_path / "around.pcap"
    subprocess.run(["mergecap", "-w", device.capture, tmp_path / "before", tmp_path / "after"], check=True)
    _, absent = device.audited()["findings"]
    assert absent["where"].endswith(f"-> 127.0.0.1:{device.middle.port}")
    assert "is in the log and not in the recording of that time" in absent["found"]


def _packets(device: Device, which: str, field: str = "frame.number") -> list[int]:
    said = subprocess.run(["tshark", "-n", "-r", device.capture, "-Y", which, "-T", "fields", "-e", field],
                          capture_output=True, text=True, check=True).stdout
    return [int(number) for number in said.split()]


@pytest.mark.parametrize("device", ["http"], indirect=True)
def test_what_tcp_sends_again_is_counted_once(device: Device, tmp_path: Path) -> None:
    picture = crop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        where = listening.getsockname()
        with recorded(device.capture, f"tcp port {device.middle.port} or tcp dst port {where[1]}"):
            device.link.post(device.batch())
            with socket.create_connection(where) as other, listening.accept()[0]:
                other.sendall(picture)
            device.link.close()
    once = device.audited()
    subprocess.run(["mergecap", "-w", tmp_path / "twice.pcap", device.capture, device.capture], check=True)
    device.capture = tmp_path / "twice.pcap"
    twice = device.audited()
    mine = f"127.0.0.1:{device.middle.port}"
    assert row(twice, mine, "collector") == row(once, mine, "collector")
    assert [finding["unexplained_bytes"] for finding in twice["findings"]] == [len(picture)]
    sent = row(once, mine, "collector")["capture_bytes"] + len(picture)
    again = next(note for note in twice["notes"] if "bytes were sent again by TCP, and are counted once" in note)
    assert int(again.split()[0].replace(",", "")) >= sent   # and answers, which on loopback are the device's, too


def test_ipv6_is_audited_as_ipv4_is(tmp_path: Path, capsys: Capsys) -> None:
    token, log, whole, late = (tmp_path / name for name in ("token", "sent", "whole.pcap", "late.pcap"))
    token.write_text("cmnas_" + "s" * 40)
    token.chmod(0o600)
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error.strerror}")

    def answer() -> None:
        with listening.accept()[0] as peer:
            while got := peer.recv(65536):
                if got.endswith(b"end"):
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with listening:
        port = listening.getsockname()[1]
        threading.Thread(target=answer, daemon=True).start()
        link = HttpTransport(f"http://[::1]:{port}", token, LinkSettings(timeout_s=10.0, sent_log=log), Tally())
        with recorded(whole, f"tcp port {port}"):
            for _ in range(2):
                link.post(b"end")
            link.close()
    numbers = subprocess.run(["tshark", "-n", "-r", whole, "-Y", f"tcp.srcport=={port} && tcp.len>0", "-T", "fields",
                              "-e", "frame.number"], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["editcap", "-r", whole, late, f"{numbers[0]}-999"], check=True)
    for capture, count in ((whole, 2), (late, 1)):
        found = audit(settings(tmp_path), capture, "--log", str(log), capsys=capsys)
        assert [finding["unexplained_bytes"] for finding in found["findings"]] == [3, 3], "no batches, but in the log"
        mine = row(found, f"[::1]:{port}", "collector")
        assert mine["capture_bytes"] * 2 == mine["log_bytes"] * count


def test_a_picture_in_place_of_what_was_sent_before_is_found(device: Device, tmp_path: Path) -> None:
    with recorded(device.capture, f"tcp port {device.middle.port}"):
        device.link.post(device.batch(9))
        device.link.close()
    whole = device.capture.read_bytes()
    at, records = 24, []        # a head of 24 bytes; before each packet 16, of which the third four say how long it is
    while at < len(whole):
        size = int.from_bytes(whole[at + 8:at + 12], "little")
        records.append(whole[at:at + 16 + size])
        at += 16 + size
    body = next(one for one in records if len(one) > 1000)
    device.capture = tmp_path / "again.pcap"
    device.capture.write_bytes(whole + body[:-900] + crop()[:900])
    (finding,) = device.audited()["findings"]
    count = int(finding["found"].split()[0].replace(",", ""))
    assert finding["found"].endswith("bytes that TCP sent again are not those it sent at first")
    assert 800 < count <= 900
    device.capture.write_bytes(whole + body)
    assert device.audited()["findings"] == []


@pytest.mark.parametrize("device", ["http"], indirect=True)
def test_packets_that_are_missing_or_cut_are_found(device: Device, tmp_path: Path) -> None:
    with recorded(device.capture, f"tcp port {device.middle.port}"):
        for _ in range(3):
            device.link.post(device.batch())
        device.link.close()
    whole = device.capture
    sent = f"tcp.dstport=={device.middle.port} && tcp.len>0"
    middle = sorted(set(_packets(device, sent, "tcp.seq")))[-3]
    every = _packets(device, f"{sent} && tcp.seq=={middle}")     # on a busy machine TCP may have sent it again
    subprocess.run(["editcap", whole, tmp_path / "hole.pcap", *map(str, every)], check=True)
    subprocess.run(["editcap", "-s", "100", whole, tmp_path / "cut.pcap"], check=True)
    device.capture = tmp_path / "hole.pcap"
    found = device.audited()["findings"]
    assert any("the recording lacks" in finding["found"] for finding in found), found
    device.capture = tmp_path / "cut.pcap"
    assert any("packets of the device in part" in finding["found"] for finding in device.audited()["findings"])


@pytest.mark.parametrize("name", ["http", pytest.param("mqtt", marks=needs_mosquitto)])
def test_on_a_network_what_it_needs_is_shown_and_a_bare_frame_is_found(
        tmp_path: Path, capsys: Capsys, name: str) -> None:
    cable = Cable()
    way = WAYS[name](tmp_path / "way", host=cable.host, within=cable.within)
    log, keys, capture, picture = tmp_path / "sent", tmp_path / "keys", tmp_path / "capture.pcap", crop()
    try:
        way.start()
        camera = Camera(way, tmp_path, sent_log=log, sent_log_tls_keys=keys)
        with recorded(capture, "", cable._mine, end=lambda: mark_by(cable._mine)):
            subprocess.run(["ip", "neigh", "flush", "dev", cable._mine], check=True)
            camera.see(70)
            camera.deliver()
            with socket.socket(type=socket.SOCK_DGRAM) as asks:
                asks.sendto(bytes.fromhex("1a2b01000001000000000000046e6f64650000010001"), (cable.host, 53))
                asks.sendto(b"\x23" + bytes(47), (cable.host, 123))
            with socket.socket() as watches, suppress(OSError):
                watches.connect((cable.host, 8554))
            camera.transport.close()
        config = settings(tmp_path, cameras=[f"rtsp://user:pass@{cable.host}:8554/one"])
        for words in ([], ["--keys", str(keys)])[name == "http":]:   # the other is tried on loopback
            found = audit(config, capture, "--log", str(log), *words, capsys=capsys)
            assert found["is_accounted_for"], found["findings"]
            mine = row(found, way._url().partition("://")[2], f"collector, {name.upper()} over TLS")
            assert mine["capture_bytes"] == mine["log_bytes"] > found["embedding_bytes"] > 70 * 100
            assert row(found, f"{cable.host}:53", "DNS")["capture_bytes"] == 22
            assert row(found, f"{cable.host}:123", "NTP")["capture_bytes"] == 48
            assert row(found, f"{cable.host}:8554", "camera")["capture_bytes"] == 0
            assert row(found, "the local network", "ARP")["capture_bytes"] > 0
        with recorded(tmp_path / "more.pcap", "", cable._mine, end=lambda: mark_by(cable._mine)):
            camera.see(1)
            camera.deliver()
            camera.close()
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as bare:
                bare.bind((cable._mine, 0))
                bare.send(b"\xff" * 6 + bare.getsockname()[4] + b"\x88\xb5" + picture[:1400])
        found = audit(config, tmp_path / "more.pcap", "--log", str(log), capsys=capsys)
        (finding,) = found["findings"]
        assert "no IP" in finding["found"]
        assert finding["unexplained_bytes"] == 1414
        assert any("1 connection of the log outside of the time" in note for note in found["notes"])
    finally:
        way.close()
        cable.close()
