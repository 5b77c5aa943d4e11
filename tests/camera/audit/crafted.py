"""Recordings made by hand, packet by packet, for what no well-behaved system would send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from cmnas_edge.camera.sending.sent_log import End, Opened, Written

__all__ = ["COLLECTOR", "DEVICE", "Capture", "dns", "icmp", "tcp", "udp"]

DEVICE, COLLECTOR, PORT = "10.0.0.5", "10.0.0.2", 8700
_SYN, _ACK, _PUSH, _FIN = 2, 16, 8, 1
_MAKERS = {DEVICE: bytes.fromhex("020000000005")}
_OTHERS = bytes.fromhex("020000000002")


def _sum(data: bytes) -> int:
    even = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def _ip(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, socket.inet_aton(source),
                       socket.inet_aton(destination))
    return head[:10] + struct.pack("!H", _sum(head)) + head[12:] + payload


def tcp(source: str, destination: str, ports: tuple[int, int], number: int, answers: int, flags: int,
        payload: bytes = b"") -> bytes:
    """A segment."""
    head = struct.pack("!HHIIBBHHH", *ports, number, answers, 5 << 4, flags, 65535, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!BBH", 0, 6, 20 + len(payload))
    checked = struct.pack("!H", _sum(pseudo + head + payload))
    return _ip(source, destination, 6, head[:16] + checked + head[18:] + payload)


def udp(destination: str, port: int, payload: bytes, own: int = 40000) -> bytes:
    """A datagram of the device's."""
    return _ip(DEVICE, destination, 17, struct.pack("!HHHH", own, port, 8 + len(payload), 0) + payload)


def icmp(destination: str, kind: int, payload: bytes) -> bytes:
    """A message of the device's."""
    head = struct.pack("!BBHHH", kind, 0, 0, 1, 1)
    return _ip(DEVICE, destination, 1, head[:2] + struct.pack("!H", _sum(head + payload)) + head[4:] + payload)


def dns(name: str) -> bytes:
    """A question for an address."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return udp("10.0.0.1", 53, struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1")


class Capture:
    """A recording, and the log that belongs to it."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0
        self.lines: list[Opened | Written] = []
        self._frames: list[tuple[float, bytes]] = []

    def add(self, packet: bytes, source: str = DEVICE, *, behind: bytes = b"") -> None:
        """Record a packet of IPv4."""
        self.at += 0.001
        maker = _MAKERS.get(source, _OTHERS)
        self._frames.append((self.at, _OTHERS + maker + b"\x08\0" + packet + behind))

    def connection(self, own: int, writes: Sequence[bytes], beside: Callable[[int, int], None] | None = None) -> None:
        """Record and log one of the device's to the collector.

        Args:
            own: Its port.
            writes: What is sent, each answered.
            beside: Adds what it likes before the connection is closed, knowing the numbers that TCP would use next.
        """
        there, back = (own, PORT), (PORT, own)
        number, answers = 1001, 5001
        self.lines.append(Opened(f"connection {own}", self.at, "http", End(DEVICE, own), End(COLLECTOR, PORT), False))
        self.add(tcp(DEVICE, COLLECTOR, there, number - 1, 0, _SYN))
        self.add(tcp(COLLECTOR, DEVICE, back, answers - 1, number, _SYN | _ACK), COLLECTOR)
        self.add(tcp(DEVICE, COLLECTOR, there, number, answers, _ACK))
        for data in writes:
            self.lines.append(Written(f"connection {own}", self.at, number - 1001, data))
            for at in range(0, len(data), 1400):
                part = data[at:at + 1400]
                self.add(tcp(DEVICE, COLLECTOR, there, number, answers, _ACK | _PUSH, part))
                number += len(part)
                self.add(tcp(COLLECTOR, DEVICE, back, answers, number, _ACK), COLLECTOR)
        if beside is not None:
            beside(number, answers)
        self.add(tcp(DEVICE, COLLECTOR, there, number, answers, _ACK | _FIN))
        self.add(tcp(COLLECTOR, DEVICE, back, answers, number + 1, _ACK | _FIN), COLLECTOR)
        self.add(tcp(DEVICE, COLLECTOR, there, number + 1, answers + 1, _ACK))

    def write(self, path: Path) -> None:
        """Write it as tcpdump would."""
        path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1) + b"".join(
            struct.pack("<IIII", int(at), round(at % 1 * 1e6), len(frame), len(frame)) + frame
            for at, frame in self._frames))
