"""A connection's packets (MQTT 5), as a daemon has reason to write them to a broker.

Each kind of packet has one form here; the standard's sections are named. A property, flag or
text beyond that form makes all of its packet unexplained, less a batch in it that is legal.
"""

from __future__ import annotations

import re

from cmnas_edge.outgoing import NOTHING, Sent, Vocabulary, payload
from cmnas_edge.outgoing.vocabulary import Word
from cmnas_edge.sighting import is_name

__all__ = ["Packets"]

_TOPIC = re.compile(r"cmnas/v1/[A-Za-z0-9][A-Za-z0-9._-]{0,63}/([^/]{1,64})/(batch|answer)")
_ORDERS = "/modality/+"     # read, never written: a topic that is published to holds no wildcard
_CONNECT, _PUBLISH, _PUBACK, _SUBSCRIBE, _PINGREQ, _DISCONNECT = 0x10, 0x32, 0x40, 0x82, 0xC0, 0xE0
_AGAIN = 0x08           # a PUBLISH sent a second time (3.3.1.1)
_EXPIRES, _CORRELATION = 0x02, 0x09


class Packets:
    """Judges the bytes of one connection, in the order they were written and however they were cut."""

    def __init__(self, words: Vocabulary | None = None) -> None:
        """Begin; with a vocabulary, topics and names beyond it explain nothing."""
        self._words = words
        self._held = bytearray()

    def add(self, data: bytes) -> Sent:
        """Take what was written next; returns what can be judged now."""
        self._held += data
        judged = NOTHING
        while len(self._held) >= 2:
            length, at = 0, 1
            for at in range(1, min(5, len(self._held))):    # 1.5.5, a number of at most four bytes
                length |= (self._held[at] & 127) << 7 * (at - 1)
                if self._held[at] < 128:
                    break
            else:
                return judged + (self.end() if len(self._held) >= 5 else NOTHING)
            end = at + 1 + length
            if len(self._held) < end:
                return judged
            padded = at > 1 and self._held[at] == 0
            judged += self._packet(self._held[0], bytes(self._held[at + 1:end]), at + 1, padded=padded)
            del self._held[:end]
        return judged

    def end(self) -> Sent:
        """The connection is over; what broke off in the middle of a packet is explained by nothing."""
        rest = len(self._held)
        self._held.clear()
        return Sent(0, 0, rest)

    def _packet(self, kind: int, body: bytes, head: int, *, padded: bool) -> Sent:
        word: tuple[Word, str] | None = None
        if kind & ~_AGAIN == _PUBLISH and (at := _published(body)) is not None and not padded:
            around = head + at
            known = self._takes("topic", _text(body)[0] or "")
            return Sent(0, around * known, around * (not known)) + payload(body[at:], self._words)
        if kind == _CONNECT:
            word = ("client", name) if (name := _connects(body)) else None
        elif kind == _SUBSCRIBE:
            word = ("topic", topic) if (topic := _subscribes(body)) else None
        known = self._takes(*word) if word else (
            (kind == _PUBACK and len(body) in (2, 3, 4) and not any(body[2:])) or (kind == _PINGREQ and not body)
            or (kind == _DISCONNECT and body in (b"", b"\0", b"\0\0")))
        return Sent(0, head + len(body), 0) if known and not padded else Sent(0, 0, head + len(body))

    def _takes(self, kind: Word, word: str) -> bool:
        return self._words is None or self._words.takes(kind, word.encode())


def _connects(body: bytes) -> str:
    """3.1: version 5, a keep-alive, properties that are numbers, and a device's name; no will, user or password.

    Returns that name; nothing if it is another packet.
    """
    if body[:7] != b"\0\4MQTT\5" or body[7] & ~0x02:
        return ""
    size = body[10]
    properties, rest = body[11:11 + size], body[11 + size:]
    while properties:
        width = {0x11: 4, 0x21: 2, 0x22: 2, 0x27: 4, 0x17: 1, 0x19: 1}.get(properties[0])
        if width is None or len(properties) < 1 + width:
            return ""
        properties = properties[1 + width:]
    name, rest = _text(rest)
    return name if name is not None and is_name(name) and not rest else ""


def _subscribes(body: bytes) -> str:
    """3.8: a number, no properties, one filter of ours, its options. Returns the filter, or nothing."""
    if body[2:3] != b"\0":
        return ""
    topic, rest = _text(body[3:])
    return topic if topic is not None and _ours(topic.replace(_ORDERS, "/answer")) and len(rest) == 1 else ""


def _published(body: bytes) -> int | None:
    """3.3: where the payload begins, after a topic of ours, a number, a time it expires after, and 16 bytes."""
    topic, rest = _text(body)
    if topic is None or not _ours(topic) or len(rest) < 3:
        return None
    size, seen = rest[2], set()
    properties = rest[3:3 + size]
    while properties:
        kind = properties[0]
        width = {_EXPIRES: 4, _CORRELATION: 2 + 16}.get(kind)
        if width is None or kind in seen or len(properties) < 1 + width or (
                kind == _CORRELATION and properties[1:3] != b"\0\x10"):
            return None
        seen.add(kind)
        properties = properties[1 + width:]
    return len(body) - len(rest) + 3 + size


def _ours(topic: str) -> bool:
    match = _TOPIC.fullmatch(topic)
    return match is not None and is_name(match[1])


def _text(data: bytes) -> tuple[str | None, bytes]:
    """1.5.4: a length of two bytes and as much UTF-8; None where there is none."""
    size = int.from_bytes(data[:2], "big")
    if len(data) < 2 + size:
        return None, b""
    try:
        return data[2:2 + size].decode(), data[2 + size:]
    except UnicodeDecodeError:
        return None, b""
