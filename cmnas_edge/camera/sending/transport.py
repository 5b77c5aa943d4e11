"""One HTTP connection to the collector, kept open; every byte that leaves through it is counted.

The standard library's client: it follows no redirect, asks no proxy and sends four headers of
ours, so what can leave a camera is short to read.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import ssl
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import SplitResult, urlsplit

from cmnas_edge import __version__
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.config import read_secret
from cmnas_edge.errors import ConfigError, LinkDown

__all__ = ["HttpTransport", "Reply", "Transport", "read_token"]

_LARGEST_ANSWER = 256 << 10
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


class Reply(NamedTuple):
    """What came back: status, body, and how long the collector asks to be left alone."""

    status: int
    body: bytes
    retry_after_s: float = 0.0


class Transport(Protocol):
    """Takes a batch to the collector and brings back its reply."""

    def post(self, body: bytes) -> Reply:
        """Send; raises ``LinkDown`` when no reply came."""

    def close(self) -> None:
        """Let the connection go; again is harmless."""


class HttpTransport:
    """``POST /v1/sightings`` over one kept connection, with this device's token."""

    def __init__(self, url: str, token_path: Path, settings: LinkSettings, tally: Tally) -> None:
        """Check everything that can be checked without the collector.

        Args:
            url: Of the collector; a path in it is a prefix, as behind a reverse proxy.
            token_path: File with the token; read for every request, so a new one is taken at once.
            settings: Timeouts and trust.
            tally: Where bytes sent are counted.

        Raises:
            ConfigError: The address is none, would send the token in the clear, or names an
                authority that cannot be read; or there is no usable token.
        """
        parts = _checked(url, allow_plain=settings.allow_plain_http_off_loopback)
        self._where = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path.rstrip("/") + "/v1/sightings"
        self._token_path = token_path
        self._fresh = True
        self._connection = _connection(parts, settings, tally)
        read_token(token_path)

    def post(self, body: bytes) -> Reply:
        """Send one batch; a kept connection that the collector has closed meanwhile is made anew, once."""
        try:
            token = read_token(self._token_path)
        except ConfigError as error:
            raise LinkDown(str(error)) from None
        try:
            if not self._fresh:
                try:
                    return self._exchange(body, token)
                except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                    self.close()
            return self._exchange(body, token)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise LinkDown(f"{self._where}: expected the collector, found {_said(error)}; check that it runs and "
                           "that this network reaches it") from None

    def close(self) -> None:
        """Close the connection; the next `post` makes another."""
        self._fresh = True
        self._connection.close()

    def _exchange(self, body: bytes, token: str) -> Reply:
        self._connection.request("POST", self._path, body, {
            "Content-Type": "application/x-protobuf", "Authorization": f"Bearer {token}",
            "User-Agent": f"cmnas-edge/{__version__}"})
        response = self._connection.getresponse()
        answer = response.read(_LARGEST_ANSWER + 1)
        if len(answer) > _LARGEST_ANSWER:
            raise http.client.HTTPException(f"an answer of more than {_LARGEST_ANSWER} bytes")
        self._fresh = response.will_close
        after = response.getheader("Retry-After", "")
        return Reply(response.status, answer, float(after) if re.fullmatch(r"\d{1,6}", after) else 0.0)


def read_token(path: Path) -> str:
    """Read a device's token.

    Raises:
        ConfigError: The file is missing, readable by others, or holds no token.
    """
    token = read_secret(path)
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"{path}: expected the token that 'cmnas-edge collector enrol' printed, found other text; "
                          "write it again")
    return token


def _checked(url: str, *, allow_plain: bool) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ConfigError(f"collector: expected an address like https://collector.example:8700, found {url!r}; "
                          "correct it")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("collector: expected an address without user and password, found one with them; the token "
                          "file says who this device is")
    if parts.scheme == "http" and not allow_plain and not _is_loopback(host):
        raise ConfigError(f"collector: expected https, found plain http to {host}: everyone on the way could read "
                          "the token and the embeddings; use https, or set allow_plain_http_off_loopback = true in "
                          "[link]")
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _connection(parts: SplitResult, settings: LinkSettings, tally: Tally) -> http.client.HTTPConnection:
    assert parts.hostname is not None
    connection: _Counted
    if parts.scheme == "http":
        connection = _Counted(parts.hostname, parts.port, timeout=settings.timeout_s)
    else:
        connection = _CountedTls(parts.hostname, parts.port, timeout=settings.timeout_s, context=_trust(settings))
    connection.tally = tally
    return connection


def _trust(settings: LinkSettings) -> ssl.SSLContext:
    authority = settings.certificate_authority
    try:
        return ssl.create_default_context(cafile=None if authority is None else str(authority))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{authority}: expected certificates in PEM, found none ({error.strerror or error}); name "
                          "the file of the authority that signed the collector's certificate") from None


class _Counted(http.client.HTTPConnection):
    tally: Tally

    def send(self, data: Any) -> None:
        super().send(data)
        self.tally.add("sent_bytes", len(data))


class _CountedTls(http.client.HTTPSConnection, _Counted):
    """The same over TLS, counted before encryption."""


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"a certificate that is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.HTTPException):
        return f"something that does not speak HTTP as it should ({error or type(error).__name__})"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
