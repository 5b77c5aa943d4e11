"""Who is at the other end, as far as connections are counted."""

from __future__ import annotations

import ipaddress

__all__ = ["peer_of"]


def peer_of(host: str) -> object:
    """Who that is: an IPv4 address, or the network of an IPv6 one, whose owner has all of it."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv6Address):
        return found.ipv4_mapped or int(found) >> 64
    return found
