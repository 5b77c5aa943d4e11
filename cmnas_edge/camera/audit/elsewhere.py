"""What leaves a device beside its logged connections: what a network needs to work, its cameras, and the rest."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from cmnas_edge.camera.audit.tshark import Packet
from cmnas_edge.camera.settings import CameraSettings

__all__ = ["LONGEST_TRAILER", "Kind", "Neighbours", "cameras_of", "classed", "is_loopback"]

_DNS = 53
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_LONGEST_ARP = 60       # a frame of Ethernet, padded
_LONGEST_NTP = 512      # with the cookies of NTS
_LONGEST_DHCP = 590     # with a hardware's and a vendor's name
_LONGEST_ECHO = 128     # frame of a ping as everybody sends it, 56 bytes in it
_LONGEST_ICMP = {"icmp": 14 + 4 + 576, "icmpv6": 14 + 4 + 1280}     # a frame of an error that quotes (RFC 1812, 4443)
_ECHOES = {"icmp": (0, 8), "icmpv6": (128, 129)}
_BESIDE_NAMES = 128     # of a question to DNS: its head, kinds, and what EDNS adds
LONGEST_TRAILER = 8    # behind a packet: a checksum of Ethernet, or a tag of a redundant ring
# UDP by the port it goes to: what it is, tshark's names for it, and its longest payload that is no finding.
_SERVICES = {_DNS: ("DNS", {"dns"}, 512), 5353: ("DNS", {"mdns", "dns"}, 1472), 123: ("NTP", {"ntp"}, _LONGEST_NTP),
             67: ("DHCP", {"dhcp", "bootp"}, _LONGEST_DHCP), 547: ("DHCP", {"dhcpv6"}, _LONGEST_DHCP)}
_TRANSPORTS = ("tcp", "udp", "icmp", "icmpv6", "igmp")


class Neighbours(NamedTuple):
    """Whom a device has reason to talk to.

    Attributes:
        cameras: Address and TCP port of each.
        collector_port: A connection there that was not let in carries nothing.
        is_loopback_judged: Whether the log itself goes by way of loopback, so that what goes there counts as leaving.
    """

    cameras: frozenset[tuple[str, int]]
    collector_port: int
    is_loopback_judged: bool


class Kind(NamedTuple):
    """What a packet is.

    Attributes:
        what: In words.
        destination: Whom it goes to.
        is_known: Whether a device has reason to send it.
        size: Bytes it carries.
    """

    what: str
    destination: str
    is_known: bool
    size: int


def cameras_of(cameras: Iterable[CameraSettings]) -> frozenset[tuple[str, int]]:
    """Address and port of each camera on a network; one whose name means nothing here is left out."""
    found = set()
    for camera in cameras:
        try:
            parts = urlsplit(camera.source.location)
            port = parts.port or _PORTS.get(parts.scheme, 0)
            if parts.scheme and parts.hostname and port:
                found |= {(str(one[4][0]), port) for one in socket.getaddrinfo(parts.hostname, port)}
        except (OSError, ValueError):
            continue
    return frozenset(found)


def classed(packet: Packet, near: Neighbours) -> Kind:
    """Say what a packet is that belongs to no logged connection."""
    names = packet.protocols
    if not packet.source:
        is_arp = "arp" in names and packet.size <= _LONGEST_ARP and not packet.is_malformed
        return Kind("ARP" if "arp" in names else f"no IP ({names[-1]})", "the local network", is_arp, packet.size)
    transport = next((name for name in names if name in _TRANSPORTS), "")
    inner = next((name for name in names[_place(names):] if not name.startswith("ipv6")), "")
    where = packet.destination
    if is_loopback(where) and not near.is_loopback_judged:
        return Kind("loopback, which is no leaving", where, True, packet.payload)
    if packet.behind > LONGEST_TRAILER:
        return Kind("packet with bytes behind it", where, False, packet.behind)
    if transport != inner:
        return Kind(f"IP that carries {inner or 'nothing'}", where, False, packet.size)
    if transport in ("icmp", "icmpv6", "igmp"):
        most = _LONGEST_ECHO if packet.message in _ECHOES.get(transport, ()) else _LONGEST_ICMP.get(transport, 1514)
        return Kind({"icmpv6": "ICMP"}.get(transport, transport.upper()), where,
                    not packet.is_malformed and packet.size <= most, packet.size)
    to = f"[{where}]:{packet.port}" if ":" in where else f"{where}:{packet.port}"
    if transport == "udp":
        what, meant, most = _SERVICES.get(packet.port, ("UDP", set[str](), 0))
        if packet.port == _DNS:     # what it asks for, and little more
            most = min(most, _BESIDE_NAMES + sum(map(len, packet.asked)))
        is_known = bool(meant & {*names}) and not packet.is_malformed and packet.payload <= most
        if not is_known and where in {address for address, _ in near.cameras}:   # RTP is answered for by RTCP
            return Kind("camera, UDP", where, True, packet.payload)
        return Kind(what, to, is_known, packet.payload)
    if (where, packet.port) in near.cameras:
        return Kind("camera", to, True, packet.payload)
    if packet.payload == 0 and (not packet.is_syn or packet.port == near.collector_port):
        return Kind("TCP without data", where, True, 0)
    return Kind("TCP", to, False, packet.payload)


def is_loopback(address: str) -> bool:
    """Whether an address is that of this machine to itself."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _place(names: tuple[str, ...]) -> int:
    return next((place + 1 for place, name in enumerate(names) if name in ("ip", "ipv6")), len(names))
