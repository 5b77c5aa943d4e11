"""A connection's requests, as a daemon has reason to send them: one kind, with few headers of known form."""

from __future__ import annotations

import re

from cmnas_edge.outgoing import NOTHING, Sent, Vocabulary, payload

__all__ = ["Requests", "explained"]

_REQUEST = re.compile(rb"POST (/[\w.~!$&'()*+,;=:@%-]{1,64}){0,4}/v1/sightings HTTP/1\.1")
# Header values a daemon has reason to send, each with the only form that explains it.
_HEADERS = {
    b"host": re.compile(rb"[\w.\-\[\]:]{1,80}"),
    b"accept-encoding": re.compile(rb"identity"),
    b"content-length": re.compile(rb"\d{1,7}"),
    b"content-type": re.compile(rb"application/x-protobuf"),
    b"authorization": re.compile(rb"Bearer [\w\-]{20,64}"),
    b"user-agent": re.compile(rb"cmnas-edge/[\w.]{1,16}"),
    b"connection": re.compile(rb"keep-alive|close"),
}
_LENGTH = re.compile(rb"(?i)(?<=\r\ncontent-length: )\d+")    # the one thing in a head that changes
_LONGEST_HEAD = 1 << 16     # no head is so long; what does not end is not one


class Requests:
    """Judges the bytes of one connection, in the order they were sent and however they were cut."""

    def __init__(self, words: Vocabulary | None = None) -> None:
        """Begin; with a vocabulary, heads and names beyond it explain nothing."""
        self._words = words
        self._held = bytearray()
        self._body_left: int | None = None      # None: a head comes next

    def add(self, data: bytes) -> Sent:
        """Take what was sent next; returns what can be judged now."""
        self._held += data
        judged = NOTHING
        while True:
            if self._body_left is None:
                end = self._held.find(b"\r\n\r\n")
                if end < 0:
                    return judged + (self.end() if len(self._held) > _LONGEST_HEAD else NOTHING)
                found, self._body_left = _head(head := bytes(self._held[:end]))
                if self._words is not None and not self._words.takes("head", _LENGTH.sub(b"", head)):
                    found = 0
                judged += Sent(0, found, end + 4 - found)
                del self._held[:end + 4]
            if len(self._held) < self._body_left:
                return judged
            judged += payload(bytes(self._held[:self._body_left]), self._words)
            del self._held[:self._body_left]
            self._body_left = None

    def end(self) -> Sent:
        """The connection is over; returns what is left to judge: a body that broke off, or what never became a head."""
        rest = bytes(self._held)
        judged = Sent(0, 0, len(rest)) if self._body_left is None else payload(rest, self._words)
        self._held.clear()
        self._body_left = None
        return judged


def explained(stream: bytes) -> int:
    """Count the bytes of one connection's requests that are accounted for.

    Args:
        stream: All bytes a camera sent over one connection.

    Returns:
        At most ``len(stream)``; the difference is unexplained.
    """
    requests = Requests()
    sent = requests.add(stream) + requests.end()
    return sent.embedding + sent.header


def _head(text: bytes) -> tuple[int, int]:
    """How many bytes of a head, with its blank line, are explained; and how long a body it announces."""
    first, *lines = text.split(b"\r\n")
    total = 4 + 2 * len(lines)  # line ends and the blank line
    total += len(first) if _REQUEST.fullmatch(first) else 0
    length, seen = 0, set()
    for line in lines:
        name, _, value = line.partition(b": ")
        known = _HEADERS.get(name.lower())
        if known and known.fullmatch(value) and name.lower() not in seen:
            total += len(line)
            length = int(value) if name.lower() == b"content-length" else length
        seen.add(name.lower())
    return total, length
