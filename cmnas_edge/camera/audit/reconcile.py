"""A connection in the log and in the recording, held against each other: byte by byte, or record by record.

TLS hides bytes and keeps their number: a record of TLS 1.3 is its content, one byte that says of
what kind it is, and a tag of 16 (RFC 8446, 5.2 and 5.3; OpenSSL pads nothing). So without keys each
write of the log must show as records of exactly its length plus 17, cut at 16 KiB, in the log's
order, and there must be no other record but those of the handshake, whose last has a length of 53
or 69 (4.4.4, after SHA-256 or SHA-384), and one that says good-bye. What passes unseen is what has
another content and the same length; keys rule that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cmnas_edge.camera.audit.sent import Connection
from cmnas_edge.camera.audit.tshark import Followed, Record

__all__ = ["Agreement", "Recorded", "compare", "differing"]

_HEAD = 5                           # of a record
_LARGEST = 16384                    # content of a record
# In 1.2 of AES-GCM with its nonce (RFC 5288) and of ChaCha20 (RFC 7905).
_TAGS = {"1.3": (17,), "1.2": (24, 16), "": (17, 24, 16)}
_FINISHED = (4 + 32 + 17, 4 + 48 + 17)
_NO_CERTIFICATE = 4 + 4 + 17        # what an end says that was asked for one and has none
_GOOD_BYE = 2 + 17
_CHANGE, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_LONGEST_GREETING = 8192            # all that is said in the clear, or by TLS 1.2, before the first data
_LONGEST_ALERT = 2 + 24             # encrypted by TLS 1.2
_ANCHOR = 64


class Recorded(NamedTuple):
    """What a recording shows of one end of a connection, from first to last packet.

    Attributes:
        followed: Its bytes.
        records: Of TLS.
        begins: Whether the recording has its beginning.
        ends: Whether it has its end.
    """

    followed: Followed
    records: Sequence[Record]
    begins: bool
    ends: bool


class Agreement(NamedTuple):
    """How log and recording agree.

    Attributes:
        seen: Bytes of the application in the recording.
        around: Bytes of TLS around them: handshake, heads and tags of records.
        extra: Bytes of ``seen`` (or, where they are of no record, beside them) that the log does not have.
        at: Where in the recording's bytes of the application they begin.
        unsent: Bytes of the log that the recording does not have, behind what it has.
        by: How they were compared: ``bytes``, or ``lengths``.
        is_late: Whether the recording began after the connection.
        complaints: Further reasons not to believe the recording complete or the connection honest.
        notes: What should be known, and is no fault.
    """

    seen: int
    around: int
    extra: int
    at: int
    unsent: int
    by: str
    is_late: bool
    complaints: tuple[str, ...]
    notes: tuple[str, ...]


def compare(connection: Connection, recorded: Recorded) -> Agreement:
    """Hold a connection's log against its recording."""
    followed, data = recorded.followed, bytes(connection.data)
    complaints: tuple[str, ...] = ()
    if followed.lost:
        complaints = (f"the recording lacks {followed.lost} bytes of it; record with a larger buffer (tcpdump -B)",)
    if followed.altered:
        complaints += (f"{followed.altered:,} bytes that TCP sent again are not those it sent at first",)
    if not connection.opened.is_tls:
        at, extra, unsent = differing(followed.data, data, from_start=recorded.begins)
        return Agreement(len(followed.data), 0, extra, at, unsent, "bytes", not recorded.begins,
                         complaints, ())
    agreed = _by_lengths(connection, recorded)
    open_data = max(followed.decrypted, key=lambda side: _common(side, data))
    if not any(followed.decrypted):
        return agreed._replace(complaints=complaints)
    at, extra, unsent = differing(open_data, data, from_start=recorded.begins)
    if extra == 0 and (agreed.extra or len(open_data) != agreed.seen):  # in records that no key opens, or in none
        return agreed._replace(complaints=complaints)
    return agreed._replace(seen=len(open_data), around=len(followed.data) - len(open_data), extra=extra, at=at,
                           unsent=unsent, by="bytes", complaints=complaints)


def differing(found: Sequence[int], expected: Sequence[int], *, from_start: bool = True) -> tuple[int, int, int]:
    """Say what of a stretch stands between what it shares with another at its front and at its back.

    Args:
        found: Bytes, or lengths.
        expected: What they should be, and may go on after them.
        from_start: Whether both begin at the same place; else the stretch may begin anywhere in the other.

    Returns:
        Where in ``found`` the difference begins, how many items it has, and how many of ``expected`` are left over.
    """
    start = 0 if from_start else _begin(found, expected)
    front = _common(found, expected[start:])
    if front == len(found):
        return front, 0, len(expected) - start - front
    left = len(expected) - start - front
    most = min(len(found) - front, left)
    back = _common(found[::-1][:most], expected[::-1][:most])
    return front, len(found) - front - back, left - back


def _begin(found: Sequence[int], expected: Sequence[int]) -> int:
    anchor = found[:_ANCHOR]
    if isinstance(expected, bytes):
        return max(0, expected.find(bytes(anchor)))
    return next((k for k in range(len(expected)) if expected[k:k + len(anchor)] == anchor), 0)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How long both are the same from the start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _by_lengths(connection: Connection, recorded: Recorded) -> Agreement:
    records, size = recorded.records, len(recorded.followed.data)
    notes: list[str] = []
    begins = recorded.begins or any(record.kind == _HANDSHAKE for record in records)
    is_13 = any(record.is_opaque for record in records)
    version = "1.3" if is_13 else "1.2" if begins else ""
    lengths = [record.length for record in records if record.kind == _DATA]
    starts = {_greeting(lengths, connection.opened.protocol)} if is_13 else {0}
    if not begins:      # perhaps in the middle of a handshake
        starts.add(0)
    tag, lengths, (at, extra, unsent), expected = min(
        ((tag, lengths[start:], differing(lengths[start:], wanted, from_start=begins), wanted)
         for tag in _TAGS[version] for wanted in [_expected(connection.writes, tag)] for start in sorted(starts)),
        key=lambda one: one[2][1])
    if extra and lengths[-1] == _GOOD_BYE and tag == _TAGS["1.3"][0]:
        farewell = differing(lengths[:-1], expected, from_start=begins)
        if farewell[1] < extra:
            lengths, (at, extra, unsent) = lengths[:-1], farewell
    unsent_bytes = sum(length - tag for length in expected[len(expected) - unsent:])
    content = [max(0, length - tag) for length in lengths]
    framed = sum(record.length + _HEAD for record in records)
    bare = size - framed
    # Where the recording begins or ends, so may a record.
    if 0 < bare <= (_LARGEST + 256 + _HEAD) * ((not begins) + (not recorded.ends)):
        notes.append(f"{bare} bytes are of records that it shows in part")
        bare = 0
    seen, foreign = sum(content), _foreign(records, is_13=is_13)
    return Agreement(seen, size - seen - foreign - max(0, bare), sum(content[at:at + extra]) + foreign + max(0, bare),
                     sum(content[:at]), unsent_bytes, "lengths",
                     not recorded.begins, (), tuple(notes))


def _greeting(lengths: Sequence[int], protocol: str) -> int:
    """How many encrypted records a handshake has: Finished, and before it a certificate and what proves it."""
    for count, length in enumerate(lengths[:3], 1):
        if length in _FINISHED and (count == 1 or protocol == "mqtt" or set(lengths[:count - 1]) == {_NO_CERTIFICATE}):
            return count
    return 0


def _foreign(records: Sequence[Record], *, is_13: bool) -> int:
    """Bytes of records beside data that no connection of ours has reason to send."""
    total = greeted = alerts = 0
    has_data = False
    for kind, length, _ in records:
        has_data |= kind == _DATA
        greeted += length * (kind == _HANDSHAKE)
        alerts += kind == _ALERT
        if not (kind == _DATA or (not has_data and kind == _HANDSHAKE and greeted <= _LONGEST_GREETING)
                or (not has_data and kind == _CHANGE and length == 1)
                or (kind == _ALERT and alerts == 1 and length <= (2 if is_13 else _LONGEST_ALERT))):
            total += length
    return total


def _expected(writes: Sequence[int], tag: int) -> list[int]:
    return [min(_LARGEST, size - at) + tag for size in writes for at in range(0, size, _LARGEST)]
