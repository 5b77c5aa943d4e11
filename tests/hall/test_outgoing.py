"""What left is split into sightings, what carries them, and the rest, wherever the stream was cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge import wire
from cmnas_edge.embedding import unit
from cmnas_edge.outgoing import NOTHING, Sent, Vocabulary, payload
from cmnas_edge.outgoing.http import Requests
from cmnas_edge.outgoing.mqtt import Packets

VECTOR = unit(np.random.default_rng(1).normal(size=(1, 64)).astype(np.float32))[0]
CROP = bytes(np.random.default_rng(0).integers(0, 256, 3000, np.uint8))


def batch(count: int = 2, extra: bytes = b"", device: str = "gate") -> bytes:
    return wire.encode_batch(wire.Sighting(
        device=device, camera="door", spool="0123456789abcdef", sequence=number + 1, seen_from=1.7e9, seen_at=1.7e9 + 2,
        modality="infrared", tracklet=3, view_count=4, quality=0.5, box_width=40, box_height=110,
        fingerprint=bytes(range(32)), engine="onnxruntime", precision="fp32", transform=0, packing="fp16",
        vector=VECTOR) for number in range(count)) + extra


def request(body: bytes, extra: bytes = b"", path: bytes = b"/v1/sightings") -> bytes:
    return (b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1:8700\r\nContent-Length: " + str(len(body)).encode()
            + b"\r\n" + extra + b"\r\n" + body)


def number(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def packet(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + number(len(body)) + body


def published(body: bytes, topic: str = "cmnas/v1/site/gate/batch", properties: bytes = b"", kind: int = 0x32) -> bytes:
    properties = properties or b"\x02\0\0\0\x0b\x09\0\x10" + bytes(16)
    return packet(kind, text(topic) + b"\0\1" + number(len(properties)) + properties + body)


CONNECT = packet(0x10, b"\0\4MQTT\5\2\0\x1e\0" + text("gate"))
SUBSCRIBE = packet(0x82, b"\0\1\0" + text("cmnas/v1/site/gate/answer") + b"\1")
ORDERS = packet(0x82, b"\0\2\0" + text("cmnas/v1/site/gate/modality/+") + b"\1")
QUIET = CONNECT + SUBSCRIBE + ORDERS + packet(0xC0, b"") + packet(0x40, b"\0\1") + packet(0x40, b"\0\1\0\0")
STREAMS = {"http": (Requests, request(batch()) + request(batch(3)), len(batch()) + len(batch(3))),
           "mqtt": (Packets, QUIET + published(batch()) + published(batch(3), kind=0x3A) + packet(0xE0, b""),
                    len(batch()) + len(batch(3)))}


@pytest.mark.parametrize("way", STREAMS)
@given(data=st.data())
def test_an_honest_stream_is_explained_however_it_is_cut(way: str, data: st.DataObject) -> None:
    begin, stream, embedding = STREAMS[way]
    judge, total, at = begin(), NOTHING, 0
    while at < len(stream):
        size = data.draw(st.integers(1, 700))
        total += judge.add(stream[at:at + size])
        at += size
    assert total + judge.end() == Sent(embedding, len(stream) - embedding, 0)


@pytest.mark.parametrize("way", STREAMS)
@given(cut=st.integers(0, 1200))
def test_no_byte_is_forgotten_or_counted_twice_where_a_connection_breaks(way: str, cut: int) -> None:
    begin, stream, _ = STREAMS[way]
    judge = begin()
    assert sum(judge.add(stream[:cut]) + judge.end()) == min(cut, len(stream))
    assert judge.add(b"") + judge.end() == NOTHING, "what was judged is not judged again"


@pytest.mark.parametrize("stream", [
    request(batch(extra=b"\x7a" + number(len(CROP)) + CROP)),
    request(batch(), b"X-Note: " + CROP.hex().encode() + b"\r\n"),
    request(batch()) + CROP, CROP, request(batch(), path=b"/v1/sightings?" + CROP.hex().encode()),
    request(batch(), b"Host: " + CROP.hex().encode() + b"\r\n"),
], ids=["field", "header", "behind", "alone", "query", "twice"])
def test_a_crop_in_http_is_not_explained(stream: bytes) -> None:
    judge = Requests()
    found = judge.add(stream) + judge.end()
    assert found.unexplained >= len(CROP)
    assert sum(found) == len(stream)


@pytest.mark.parametrize("stream", [
    published(batch(extra=b"\x7a" + number(len(CROP)) + CROP)),
    published(batch(), topic="cmnas/v1/site/gate/" + CROP.hex()), published(batch(), topic="pictures/gate/batch/"),
    published(batch(), properties=b"\x26" + text("k") + text("x" * 100)),
    published(batch(), properties=b"\x09\0\x40" + CROP[:64]),
    packet(0x10, b"\0\4MQTT\5\x06\0\x1e\0" + text("gate") + b"\0" + text("will") + text("x" * 3000)),
    packet(0x10, b"\0\4MQTT\5\2\0\x1e\0" + text(CROP[:100].hex())),
    packet(0x82, b"\0\1\0" + text(CROP.hex()) + b"\1"), packet(0xC0, CROP), packet(0x40, CROP), packet(0xF0, CROP),
    b"\x32\x80\x80\x80\x80" + CROP, b"\xc0\x80\0" + CROP, CROP,
], ids=["field", "topic", "foreign", "user", "correlation", "will", "name", "filter", "ping", "ack", "auth", "length",
        "padded", "alone"])
def test_a_crop_in_mqtt_is_not_explained(stream: bytes) -> None:
    judge = Packets()
    found = judge.add(stream) + judge.end()
    assert found.unexplained > 0
    assert sum(found) == len(stream)
    if CROP in stream:
        assert found.unexplained >= len(CROP)


def test_a_head_that_never_ends_is_not_kept() -> None:
    judge = Requests()
    assert sum(sum(judge.add(b"x" * 10_000)) for _ in range(7)) == 70_000


def test_what_is_legal_once_is_not_twice() -> None:
    again = b"Accept-Encoding: identity\r\n"
    once, twice = (sum_of(Requests(), request(batch(), again * count)) for count in (1, 2))
    assert once.unexplained == 0
    assert twice.unexplained == len(again) - 2


@pytest.mark.parametrize("behind", [b"", b"\0", b"\x0a\xff"], ids=["whole", "no field", "cut short"])
def test_words_that_come_too_late_explain_nothing_though_the_batch_cannot_be_read_to_its_end(behind: bytes) -> None:
    words = Vocabulary()
    found = sum((payload(batch(1, device=f"gate{number:03}") + behind, words) for number in range(100)), NOTHING)
    assert found.unexplained == 96 * (2 + len("gate000")) + 100 * len(behind)      # a device has few names


@pytest.mark.parametrize("odd", [
    b"\xc0\x80\0", packet(0x10, b"\0\4MQTT\5\x82\0\x1e\0" + text("gate")),
    published(b"", properties=b"\x02\0\0\0\x0b" * 2), published(b"", kind=0x33),
    packet(0x82, b"\0\1\0" + text("#") + b"\1"),
], ids=["a padded length", "a flag", "a property twice", "a retained message", "another filter"])
def test_a_packet_of_another_form_is_unexplained_from_its_first_byte_to_its_last(odd: bytes) -> None:
    assert sum_of(Packets(), QUIET + odd).unexplained == len(odd)


def sum_of(judge: Requests | Packets, stream: bytes) -> Sent:
    return judge.add(stream) + judge.end()
