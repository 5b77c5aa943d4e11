"""A picture in small pieces, in places that each are as they may be: together they are found, and nothing else is."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cmnas_edge.outgoing.http import Requests
from cmnas_edge.outgoing.mqtt import Packets
from cmnas_edge.outgoing.vocabulary import Vocabulary
from cmnas_edge.wire import Sighting, encode_batch
from tests.camera.audit.crafted import COLLECTOR, DEVICE, PORT, Capture, dns, icmp, tcp, udp
from tests.camera.audit.network import audit, crop, needs_tshark, settings
from tests.hall.test_outgoing import CONNECT, SUBSCRIBE, published

PICTURE = crop()
WORDS = base64.b32encode(PICTURE).decode().lower().rstrip("=")
ACK, PUSH, RESET = 16, 8, 4
VECTOR = np.eye(1, 16, dtype=np.float32)[0]
DHCP = b"\1\1\6\0" + bytes(24) + b"\2\0\0\0\0\5" + bytes(202) + bytes.fromhex("63825363") + b"\x35\1\1"


def body(camera: str = "camera0", device: str = "gate") -> bytes:
    return encode_batch([Sighting(
        device=device, camera=camera, spool="0123456789abcdef", sequence=1, seen_from=1.7e9, seen_at=1.7e9 + 2,
        modality="infrared", tracklet=3, view_count=4, quality=0.5, box_width=40, box_height=110, fingerprint=bytes(32),
        engine="onnxruntime", precision="fp32", transform=0, packing="fp16", vector=VECTOR)])


def request(body: bytes, path: str = "/v1/sightings", token: str = "A" * 43) -> bytes:
    return (f"POST {path} HTTP/1.1\r\nHost: {COLLECTOR}:{PORT}\r\nContent-Length: {len(body)}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n").encode() + body


def piece(row: int, size: int = 60) -> str:
    return WORDS[row * size:row * size + size]


def found(capture: Capture, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """Bytes that an audit finds, by where."""
    capture.write(folder / "capture.pcap")
    (folder / "sent").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in capture.lines))
    config = settings(folder, cameras=("rtsp://10.0.0.9/live",))
    told = audit(config, folder / "capture.pcap", "--log", str(folder / "sent"), capsys=capsys)
    sums: dict[str, int] = {}
    for finding in told["findings"]:
        sums[finding["where"]] = sums.get(finding["where"], 0) + finding["unexplained_bytes"]
    return sums


@needs_tshark
def test_pieces_of_a_picture_beside_what_is_logged_are_found(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = Capture()
    port = 41000

    def beside(flags: int, part: bytes, back: int = 0) -> Callable[[int, int], None]:
        return lambda number, answers: capture.add(
            tcp(DEVICE, COLLECTOR, (port, PORT), number - back, answers, flags, part))

    def behind(number: int, answers: int) -> None:
        capture.add(tcp(DEVICE, COLLECTOR, (port, PORT), number, answers, ACK), behind=PICTURE[:1000])

    wanted: dict[str, int] = {}
    for deed, least in ((beside(RESET | ACK, PICTURE[:1000], back=-9000), 1000), (behind, 900),
                        (beside(PUSH | ACK, PICTURE[:100], back=100), 0)):
        port += 1
        capture.connection(port, [request(body())], deed)
        wanted[f"{DEVICE}:{port} -> {COLLECTOR}:{PORT}"] = least
    capture.add(icmp("8.8.8.1", 8, PICTURE[:1400]))
    capture.add(icmp("8.8.8.2", 0, PICTURE[:1400]))
    capture.add(icmp("8.8.8.3", 3, bytes(20) + PICTURE[:1200]))
    capture.add(udp("8.8.8.4", 67, DHCP + b"".join(b"\xe0\xfa" + PICTURE[at:at + 250] for at in range(0, 1000, 250))))
    capture.add(udp("8.8.8.5", 53, struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 1) + b"\1a\0\0\1\0\1" + b"\0\0\x29\4\0"
                    + bytes(4) + struct.pack("!HHH", 404, 65001, 400) + PICTURE[:400]))
    for row in range(40):
        capture.add(dns(f"{piece(row)}.example"))
    wanted |= {"8.8.8.1": 1400, "8.8.8.2": 1400, "8.8.8.3": 1200, "8.8.8.4:67": 1000, "8.8.8.5:53": 400, "DNS": 2400}
    bytes_of = found(capture, tmp_path, capsys)
    assert bytes_of.keys() == wanted.keys()
    for where, least in wanted.items():
        assert bytes_of[where] >= least, where


@needs_tshark
def test_bytes_that_keep_a_connection_alive_are_those_sent_before(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = Capture()

    def alive(number: int, answers: int) -> None:
        for byte in PICTURE[:200]:
            capture.add(tcp(DEVICE, COLLECTOR, (41001, PORT), number - 1, answers, ACK, bytes([byte])))

    capture.connection(41001, [request(body())], alive)
    assert found(capture, tmp_path, capsys).keys() == {f"{DEVICE}:41001 -> {COLLECTOR}:{PORT}"}


@needs_tshark
def test_pieces_of_a_picture_in_words_of_legal_form_are_found(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = Capture()
    capture.connection(41001, [request(body(), path=f"/{piece(row)}/v1/sightings") for row in range(20)])
    capture.connection(41002, [request(body(camera=piece(row))) for row in range(20)])
    capture.connection(41003, [request(body(), token=piece(row, 43)) for row in range(20)])
    bytes_of = found(capture, tmp_path, capsys)
    for port, least in ((41001, 16 * 60), (41002, 12 * 60), (41003, 16 * 43)):
        assert bytes_of[f"{DEVICE}:{port} -> {COLLECTOR}:{PORT}"] >= least


@needs_tshark
def test_what_an_honest_device_and_its_system_send_is_no_finding(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = Capture()
    for port, token in ((41001, "A" * 43), (41002, "B" * 43)):      # enrolled anew between the two

        def alive(number: int, answers: int, port: int = port) -> None:
            capture.add(tcp(DEVICE, COLLECTOR, (port, PORT), number - 1, answers, ACK))
            capture.add(tcp(DEVICE, COLLECTOR, (port, PORT), number, answers, ACK), behind=bytes(4))

        capture.connection(port, [request(body(camera), token=token) for camera in ("camera0", "yard", "north")], alive)
    capture.add(tcp(DEVICE, COLLECTOR, (41002, PORT), 9000, 0, RESET))
    capture.add(icmp("10.0.0.1", 8, bytes(56)))
    capture.add(icmp("10.0.0.1", 3, bytes(500)))
    capture.add(udp("255.255.255.255", 67, DHCP + b"\x0c\x04gate\xff", own=68))
    for name in ("collector.example", "0.debian.pool.ntp.org", "1.debian.pool.ntp.org", "camera.example"):
        for _ in range(50):
            capture.add(dns(name))
    assert found(capture, tmp_path, capsys) == {}


def test_a_broker_is_told_few_names() -> None:
    def unexplained(*packets: bytes) -> int:
        judge = Packets(Vocabulary())
        return sum((judge.add(packet).unexplained for packet in packets), 0)

    assert unexplained(CONNECT, SUBSCRIBE, *[published(body())] * 50) == 0
    topics = [published(body(), topic=f"cmnas/v1/site/{piece(row)}/batch") for row in range(20)]
    assert unexplained(*topics) >= 12 * 60
    clients = [CONNECT.replace(b"\0\4gate", b"\0\4" + f"{row:04}".encode()) for row in range(20)]
    assert unexplained(*clients) == 16 * len(CONNECT)


def test_each_daemon_has_words_of_its_own() -> None:
    heads = [request(body(), token=f"{row:043}") for row in range(8)]
    for count, rest in ((1, 4), (2, 0)):
        judge = Requests(Vocabulary(daemon_count=count))
        assert sum(judge.add(head).unexplained > 0 for head in heads) == rest
