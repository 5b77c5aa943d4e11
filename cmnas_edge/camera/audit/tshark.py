"""A recording of a network, dissected by Wireshark's ``tshark``: packets as rows, connections as bytes.

No packet is taken apart here. What tshark is asked for are its documented fields, and what it
prints of a connection it follows: retransmitted and reordered segments are put together by it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cmnas_edge.errors import ConfigError, DeviceError

__all__ = ["Followed", "Packet", "Record", "followed", "packets"]

_FIELDS = (
    "frame.time_epoch", "frame.cap_len", "frame.len", "frame.protocols", "eth.src", "ip.src", "ip.dst", "ipv6.src",
    "ipv6.dst", "tcp.stream", "tcp.srcport", "tcp.dstport", "tcp.len", "tcp.flags", "tcp.analysis.retransmission",
    "udp.srcport", "udp.dstport", "udp.length", "ip.reassembled_in", "ipv6.reassembled.in", "_ws.malformed",
    "tcp.analysis.keep_alive", "eth.trailer", "sll.trailer", "icmp.type", "icmpv6.type", "dns.qry.name",
    "tls.record.length", "tls.record.content_type", "tls.record.opaque_type")
_SYN, _ACK, _RESET, _END = 0x02, 0x10, 0x04, 0x01 | 0x04   # bits of tcp.flags
_UDP_HEAD = 8
_MISSING = re.compile(rb"\[(\d+) bytes missing in capture file\]\0?")   # tshark's words among the bytes
_NODE = re.compile(r"Node (\d): (.*):(\d+)$")
_SHORT = "cut short in the middle of a packet"


class Record(NamedTuple):
    """A record of TLS, as it can be seen from outside.

    Attributes:
        kind: 20 a change of cipher, 21 an alert, 22 a handshake, 23 data (in TLS 1.3 anything that is encrypted).
        length: Of what follows its head of five bytes.
        is_opaque: Whether tshark knows it for an encrypted one of TLS 1.3.
    """

    kind: int
    length: int
    is_opaque: bool


class Packet(NamedTuple):
    """One frame.

    Attributes:
        at: Epoch seconds.
        is_cut: Whether the recording holds less of it than there was.
        size: Bytes of the frame.
        protocols: tshark's names, from the outermost.
        maker: Ethernet address it came from; empty where there is none.
        source: Numeric address; empty if it is no IP.
        destination: The same.
        stream: tshark's number of the TCP connection.
        source_port: Of TCP or UDP, else 0.
        port: Where it goes.
        payload: Bytes that TCP or UDP carries in it.
        is_syn: Begins a connection.
        is_end: Ends one.
        is_again: Was sent before, or is a byte of before that keeps a connection alive.
        is_part: Of a datagram that is put together in a later frame.
        is_malformed: Not what its protocol says.
        records: Of TLS, that end in it.
        is_reset: Breaks a connection off.
        behind: Bytes behind the packet that the frame carries.
        message: Number of what ICMP says; None if it is none.
        asked: Names that DNS is asked for.
    """

    at: float
    is_cut: bool
    size: int
    protocols: tuple[str, ...]
    maker: str
    source: str
    destination: str
    stream: int | None
    source_port: int
    port: int
    payload: int
    is_syn: bool
    is_end: bool
    is_again: bool
    is_part: bool
    is_malformed: bool
    records: tuple[Record, ...]
    is_reset: bool = False
    behind: int = 0
    message: int | None = None
    asked: tuple[str, ...] = ()


class Followed(NamedTuple):
    """What one end of a connection sent.

    Attributes:
        data: In order, each byte once.
        lost: Bytes that were sent and are not in the recording.
        decrypted: With keys: the data of TLS in either direction; which is which tshark does not say reliably.
        altered: Bytes that were sent again as others than at first; None where that was not looked at, since the
            recording does not have the connection's beginning.
    """

    data: bytes
    lost: int
    decrypted: tuple[bytes, bytes]
    altered: int | None = 0


def packets(capture: Path, tls_ports: Iterable[int], notes: list[str]) -> Iterator[Packet]:
    """Dissect a recording.

    Args:
        capture: In any of Wireshark's formats.
        tls_ports: TCP ports on which TLS is spoken.
        notes: Is told if the recording ends in the middle of a packet.

    Raises:
        ConfigError: It is no recording.
        DeviceError: There is no tshark here, or it is too old.
    """
    words = [*_decoding(tls_ports), "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,"]
    for line in _told(capture, [*words, *(word for field in _FIELDS for word in ("-e", field))], notes):
        yield _packet(line.rstrip("\n").split("\t"))


def followed(capture: Path, streams: dict[int, tuple[str, int]], tls_ports: Iterable[int], keys: Path | None,
             begun: Container[int] = (), *, is_again: bool = False) -> dict[int, Followed]:
    """Put together what was sent on connections.

    Args:
        capture: As above.
        streams: tshark's numbers of connections, and the address and port of the end whose bytes are wanted.
        tls_ports: TCP ports on which TLS is spoken.
        keys: Of TLS sessions, as a browser's ``SSLKEYLOGFILE``; None decrypts nothing.
        begun: Streams whose beginning is in the recording.
        is_again: Whether anything was sent again, which is then held against what was sent at first.
    """
    if not streams:
        return {}
    words = [*_decoding(tls_ports), "-q"]
    if keys is not None:
        words += ["-o", f"tls.keylog_file:{keys}"]
    for stream in streams:
        words += ["-z", f"follow,tcp,raw,{stream}"]
        words += ["-z", f"follow,tls,raw,{stream}"] if keys is not None else []
    found = {stream: Followed(b"", 0, (b"", b"")) for stream in streams}
    kind, stream, here = "", -1, 0
    for line in _told(capture, words, []):
        if line.startswith("Follow: "):
            kind, parts = line[8:11], (bytearray(), bytearray())
        elif line.startswith("Filter: tcp.stream eq "):
            stream = int(line.rpartition(" ")[2])
        elif match := _NODE.match(line):
            if (match[2].strip("[]"), int(match[3])) == streams.get(stream):
                here = int(match[1])
        elif line.startswith("===") and kind:
            if kind == "tcp":
                lost = sum(int(count) for count in _MISSING.findall(parts[here]))
                found[stream] = found[stream]._replace(data=_MISSING.sub(b"", bytes(parts[here])), lost=lost)
            else:
                found[stream] = found[stream]._replace(decrypted=(bytes(parts[0]), bytes(parts[1])))
            kind = ""
        elif kind and line.strip():
            parts[line.startswith("\t")].extend(bytes.fromhex(line.strip()))
    for stream, place, data in _again(capture, streams) if is_again else ():
        first = found[stream].data[place:place + len(data)]
        differing = sum(one != other for one, other in zip(first, data, strict=False)) + len(data) - len(first)
        if stream not in begun:     # places are counted from the first byte seen, whichever that was
            found[stream] = found[stream]._replace(altered=None)
        elif differing and not found[stream].lost:
            found[stream] = found[stream]._replace(altered=(found[stream].altered or 0) + differing)
    return found


def _again(capture: Path, streams: dict[int, tuple[str, int]]) -> Iterator[tuple[int, int, bytes]]:
    """What was sent again: on which connection, from which byte on, and as what."""
    fields = ("tcp.stream", "ip.src", "ipv6.src", "tcp.srcport", "tcp.seq", "tcp.payload")
    words = ["-Y", "(tcp.analysis.retransmission || tcp.analysis.keep_alive) && tcp.len > 0", "-T", "fields",
             "-E", "separator=/t", "-E", "occurrence=f", *(word for field in fields for word in ("-e", field))]
    for line in _told(capture, words, []):
        stream, source, source6, port, number, data = line.rstrip("\n").split("\t")
        if streams.get(int(stream)) == (source or source6, int(port)):
            yield int(stream), int(number) - 1, bytes.fromhex(data)


def _decoding(tls_ports: Iterable[int]) -> list[str]:
    return [word for port in sorted(set(tls_ports)) for word in ("-d", f"tcp.port=={port},tls")]


def _told(capture: Path, words: Sequence[str], notes: list[str]) -> Iterator[str]:
    program = shutil.which("tshark")
    if program is None:
        raise DeviceError("tshark: expected Wireshark's dissector, found none; install it: apt install tshark")
    if not capture.is_file():
        raise ConfigError(f"{capture}: expected a recording of the network, found no file; name the one that tcpdump "
                          "wrote")
    command = [program, "-n", "-r", str(capture.resolve()), "-o", "tcp.reassemble_out_of_order:TRUE", *words]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8",
                              errors="replace") as process:
            assert process.stdout is not None
            yield from process.stdout
        errors.seek(0)
        said = [line for line in errors.read().splitlines() if not line.startswith("Running as user")]
    code = process.returncode
    if code == 0:
        return
    last = said[-1].removeprefix("tshark: ") if said else f"nothing (exit code {code})"
    if _SHORT in last:
        notes.append(f"{capture}: ends in the middle of a packet, which is left out")
    elif code == 2:
        raise ConfigError(f"{capture}: expected a recording of the network, found another file ({last}); name the one "
                          "that tcpdump wrote")
    else:
        raise DeviceError(f"tshark: expected version 3.6 or newer, found one that says: {last}; install a newer one")


def _packet(row: list[str]) -> Packet:
    # Of several, as in an error that quotes a packet, the outermost.
    of = {name: value.partition(",")[0] for name, value in zip(_FIELDS, row, strict=True)}
    plain, opaque = (row[_FIELDS.index(f"tls.record.{name}")] for name in ("content_type", "opaque_type"))
    # Before the first record that is encrypted all are plain, and none after it.
    kinds = [(int(kind), False) for kind in plain.split(",") if kind] + [
        (int(kind), True) for kind in opaque.split(",") if kind]
    lengths = [int(length) for length in row[_FIELDS.index("tls.record.length")].split(",") if length]
    is_tcp = bool(of["tcp.stream"])
    flags = int(of["tcp.flags"] or "0", 16)
    return Packet(
        at=float(of["frame.time_epoch"]), is_cut=int(of["frame.cap_len"]) < int(of["frame.len"]),
        size=int(of["frame.len"]), protocols=tuple(of["frame.protocols"].split(":")), maker=of["eth.src"],
        source=of["ip.src"] or of["ipv6.src"], destination=of["ip.dst"] or of["ipv6.dst"],
        stream=int(of["tcp.stream"]) if is_tcp else None,
        source_port=int(of["tcp.srcport"] or of["udp.srcport"] or 0),
        port=int(of["tcp.dstport"] or of["udp.dstport"] or 0),
        payload=int(of["tcp.len"] or 0) if is_tcp else max(0, int(of["udp.length"] or _UDP_HEAD) - _UDP_HEAD),
        is_syn=flags & (_SYN | _ACK) == _SYN, is_end=bool(flags & _END),
        is_reset=bool(flags & _RESET),
        is_again=bool(of["tcp.analysis.retransmission"] or of["tcp.analysis.keep_alive"]),
        is_part=bool(of["ip.reassembled_in"] or of["ipv6.reassembled.in"]), is_malformed=bool(of["_ws.malformed"]),
        records=tuple(Record(kind, length, is_opaque)
                      for (kind, is_opaque), length in zip(kinds, lengths, strict=False)),
        behind=len((of["eth.trailer"] or of["sll.trailer"]).replace(":", "")) // 2,
        message=int(message, 0) if (message := of["icmp.type"] or of["icmpv6.type"]) else None,
        asked=tuple(name for name in row[_FIELDS.index("dns.qry.name")].split(",") if name))
