"""Who asks on this machine how a daemon is: ``/metrics``, ``/healthz`` and ``/readyz``, on loopback.

The standard library's server, one request at a time, each with little time: nobody who asks can
hold a camera up. A page of a foreign site cannot read it through a browser that runs here, since
a name that leads to loopback is not an address.
"""

from __future__ import annotations

import io
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import NamedTuple

from cmnas_edge import config
from cmnas_edge.errors import ConfigError, unheard
from cmnas_edge.until import Until

__all__ = ["Address", "Health", "Verdict", "check"]

Address = tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]
_PATIENCE_S = 1.0


def check(setting: str, where: str, *, anywhere: bool) -> Address:
    """Read where pages shall be, on this machine alone unless others may ask, too.

    Raises:
        ConfigError: It is no address, or another machine's to ask at, and ``anywhere`` does not say so.
    """
    host, port = config.address(setting, where)
    if not (host.is_loopback or anywhere):
        raise ConfigError(f"{where}: expected an address of this machine alone, since nobody is asked who they are "
                          f"there, found {setting}; write 127.0.0.1, or allow_health_off_loopback = true")
    return host, port


class Verdict(NamedTuple):
    """Whether it is well, and why not: one line a reason."""

    well: bool
    reasons: tuple[str, ...] = ()


class Health:
    """Serves three pages until it is closed."""

    def __init__(self, address: Address, *,
                 metrics: Callable[[], bytes], alive: Callable[[], Verdict], ready: Callable[[], Verdict]) -> None:
        """Listen; nobody is answered before the context is entered.

        Args:
            address: Where; port 0 takes a free one.
            metrics: Makes the page that Prometheus scrapes.
            alive: ``/healthz``: does the process work?
            ready: ``/readyz``: does it do its work?

        Raises:
            Transient: The address is another's, or not this machine's yet.
            ConfigError: Nobody may listen there.
        """
        host, port = address
        pages: dict[str, Callable[[], tuple[int, bytes]]] = {
            "/metrics": lambda: (200, metrics()), "/healthz": lambda: _told(alive()), "/readyz": lambda: _told(ready())}

        class Server(HTTPServer):
            address_family = socket.AF_INET6 if host.version == 6 else socket.AF_INET
            request_queue_size = 16

            def server_bind(self) -> None:  # the base class asks the resolver for a name
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.socket.bind(self.server_address)
                self.server_address = self.socket.getsockname()
                self.server_name, self.server_port = str(host), self.server_address[1]

            def handle_error(self, *_: object) -> None:
                """Whoever hung up is nobody's trouble."""

        class Answer(BaseHTTPRequestHandler):
            timeout = _PATIENCE_S
            server_version, sys_version = "cmnas-edge", ""

            def setup(self) -> None:    # all of a question has to come in time, not each byte of it
                super().setup()
                self.rfile.close()
                self.rfile = io.BufferedReader(Until(self.connection, time.monotonic() + _PATIENCE_S))

            def do_GET(self) -> None:
                """Answer for one of three pages."""
                page = pages.get(self.path.partition("?")[0])
                status, body = (404, b"expected /metrics, /healthz or /readyz\n") if page is None else page()
                if not _is_address(self.headers.get("Host", "")):
                    status, body = 403, b"expected to be asked by address, found a name\n"
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.connection.settimeout(_PATIENCE_S)
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Being asked is no event."""

        try:
            self._server = Server((str(host), port), Answer)
        except OSError as error:
            raise unheard("health", f"{host}:{port}", error) from None
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05},
                                        name="health", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def __enter__(self) -> Health:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def _told(verdict: Verdict) -> tuple[int, bytes]:
    lines = verdict.reasons or ("ok" if verdict.well else "not well",)
    return (200 if verdict.well else 503), "".join(f"{line}\n" for line in lines).encode()


def _is_address(host: str) -> bool:
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
