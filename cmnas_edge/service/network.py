"""Which addresses a service may exchange packets with: those behind its settings' hosts when it was printed."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["allowed", "host_of"]

_RESOLVERS = Path("/etc/resolv.conf")


def host_of(url: str) -> str | None:
    """The host in a URL; None where there is none."""
    try:
        return urlsplit(url).hostname if "://" in url else None
    except ValueError:
        return None


def allowed(hosts: Iterable[str], *, loopback: bool = False, resolvers: Path = _RESOLVERS,
            resolve: Callable[[str], Sequence[str]] | None = None) -> list[str]:
    """Lines of a unit that shut out every address but some.

    Args:
        hosts: Names or addresses. What a name stands for today is let in, and a comment says that it was a name.
        loopback: Let this machine itself in, too.
        resolvers: Where the name servers stand, which are let in if there is a name to ask them for.
        resolve: Finds the addresses of a name; raises ``OSError``.
    """
    lines = ["# Everybody else is shut out by the kernel, whatever the program tries.", "IPAddressDeny=any"]
    if loopback:
        lines.append("IPAddressAllow=localhost")
    named = False
    for host in dict.fromkeys(hosts):
        if (address := _address(host)) is not None:
            lines.append(f"IPAddressAllow={address}")
            continue
        if host == "localhost":
            lines.append("IPAddressAllow=localhost")
            continue
        named = True
        try:
            found = list((resolve or _resolve)(host))
        except OSError:
            found = []
        lines.append(f"# {_shown(host)} is a name and cannot be pinned: " + (
            "this is where it led when this was printed; print anew when it leads elsewhere" if found else
            "it led nowhere when this was printed, so it is shut out; print anew when it leads somewhere"))
        lines += [f"IPAddressAllow={address}" for address in found]
    if named:
        lines.append("# Whoever is asked where names lead: packets to a name server are not fenced by what they ask.")
        lines += [f"IPAddressAllow={address}" for address in _servers(resolvers)]
    return list(dict.fromkeys(lines))


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _resolve(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]).partition("%")[0] for entry in found})


def _servers(resolvers: Path) -> list[str]:
    try:
        lines = resolvers.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines]
    found = [_address(line[1]) for line in words if len(line) > 1 and line[0] == "nameserver"]
    return [address for address in found if address] or ["localhost"]


def _shown(host: str) -> str:
    return ascii(host)[1:-1][:80]
