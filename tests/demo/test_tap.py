"""Every byte a camera sends is explained; a smuggled picture is not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from cmnas_edge import wire
from cmnas_edge.demo.tap import Tap
from cmnas_edge.embedding import unit
from cmnas_edge.outgoing.http import explained

TOKEN = "cmnas_" + "x" * 43


def sighting(sequence: int = 1, camera: str = "door") -> wire.Sighting:
    vector = unit(np.random.default_rng(sequence).normal(size=(1, 512)).astype(np.float32))[0]
    return wire.Sighting(
        device="gate", camera=camera, spool="0123456789abcdef", sequence=sequence, seen_from=1.7e9, seen_at=1.7e9 + 2,
        modality="infrared", tracklet=3, view_count=4, quality=0.5, box_width=40, box_height=110,
        fingerprint=bytes(range(32)), engine="onnxruntime", precision="fp32", transform=0, packing="fp16",
        vector=vector)


def request(body: bytes, extra: bytes = b"") -> bytes:
    return (b"POST /v1/sightings HTTP/1.1\r\nHost: 127.0.0.1:8700\r\nAccept-Encoding: identity\r\nContent-Length: "
            + str(len(body)).encode() + b"\r\nContent-Type: application/x-protobuf\r\nAuthorization: Bearer "
            + TOKEN.encode() + b"\r\n" + extra + b"\r\n" + body)


def crop() -> bytes:
    image = np.random.default_rng(0).integers(0, 255, (128, 64, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


def test_honest_requests_are_explained_to_the_last_byte() -> None:
    stream = b"".join(request(wire.encode_batch([sighting(n), sighting(n + 1)])) for n in range(3))
    assert explained(stream) == len(stream)


def hidden() -> Iterator[tuple[str, bytes, int]]:
    picture = crop()
    body = wire.encode_batch([sighting()])
    length = len(picture).to_bytes(3, "little")
    varint = bytes([length[0] & 0x7F | 0x80, (len(picture) >> 7) & 0x7F])
    assert len(picture) < 1 << 14
    yield "an unknown field of a batch", request(body + b"\x7a" + varint + picture), len(picture)
    inner = wire.encode_sighting(sighting()) + b"\xfa\x01" + varint + picture
    yield "an unknown field of a sighting", request(wire.encode_batch([inner])), len(picture)
    yield "a camera's name", request(wire.encode_batch([sighting(camera=picture.hex())])), len(picture)
    yield "a header", request(body, b"X-Note: " + picture.hex().encode() + b"\r\n"), 2 * len(picture)
    yield "behind the last request", request(body) + picture, len(picture)
    yield "no HTTP at all", picture, len(picture)


@pytest.mark.parametrize(("stream", "size"), [case[1:] for case in hidden()], ids=[case[0] for case in hidden()])
def test_a_smuggled_crop_stays_unexplained(stream: bytes, size: int) -> None:
    assert len(stream) - explained(stream) >= size


def test_bytes_are_counted_at_the_socket_and_relayed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as collector:
        collector.settimeout(10)
        got = bytearray()

        def serve() -> None:
            link, _ = collector.accept()
            with link:
                while chunk := link.recv(65536):
                    got.extend(chunk)
                link.sendall(b"done")

        server = threading.Thread(target=serve)
        server.start()
        sent = request(wire.encode_batch([sighting()])) + crop()
        with Tap(("127.0.0.1", collector.getsockname()[1])) as tap:
            with socket.create_connection(("127.0.0.1", tap.port), timeout=10) as camera:
                camera.sendall(sent)
                camera.shutdown(socket.SHUT_WR)
                assert camera.recv(16) == b"done"
            server.join(10)
            assert bytes(got) == sent
            assert tap.sent_bytes == len(sent)
            assert tap.pixel_bytes == len(crop())


def test_a_collector_that_is_down_ends_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Tap(("127.0.0.1", port)) as tap, socket.create_connection(("127.0.0.1", tap.port), timeout=10) as camera:
        assert camera.recv(1) == b""
