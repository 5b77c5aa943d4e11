"""One HTTP connection to the collector, kept open; every byte that leaves through it is counted.

The standard library's client: it follows no redirect, asks no proxy and sends four headers of
ours, so what can leave a camera is short to read.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import re
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable
from urllib.parse import SplitResult, urlsplit

from cmnas_edge import __version__
from cmnas_edge.camera.sending.account import Account
from cmnas_edge.camera.sending.sent_log import SentLog, keep_keys
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.errors import ConfigError, LinkDown
from cmnas_edge.outgoing.http import Requests
from cmnas_edge.private import handed, read_secret
from cmnas_edge.until import Until, left_s
from cmnas_edge.wire import MAX_REASON

__all__ = ["LARGEST_ANSWER", "HttpTransport", "Reply", "StandsBy", "Transport", "read_token"]

LARGEST_ANSWER = 256 << 10
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_PATH = re.compile(r"([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
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


@runtime_checkable
class StandsBy(Protocol):
    """A transport by which this device is told things, too, even while it has nothing to send."""

    def stand_by(self) -> None:
        """See to it that there is a connection, without waiting for it; called about once a second."""


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
        self._timeout_s = settings.timeout_s
        self._tally = tally
        self._connection = _connection(parts, settings, tally)
        read_token(token_path)

    def post(self, body: bytes) -> Reply:
        """Send one batch; a kept connection that the collector has closed meanwhile is made anew, once."""
        try:
            token = read_token(self._token_path)
        except ConfigError as error:
            raise LinkDown(str(error)) from None
        self._connection.deadline = time.monotonic() + self._timeout_s
        try:
            if not self._fresh:
                try:
                    return self._exchange(body, token)
                except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError,
                        ssl.SSLZeroReturnError):
                    self.close()
            return self._exchange(body, token)
        except (OSError, http.client.HTTPException, ValueError) as error:   # the last of a chunk of a size below 0
            self.close()
            raise LinkDown(f"{self._where}: expected the collector, found {_said(error)}; {_to_do(error)}"
                           ) from None

    def close(self) -> None:
        """Close the connection; the next `post` makes another. One that waits in another thread ends."""
        self._fresh = True
        if (open_socket := self._connection.sock) is not None:
            with contextlib.suppress(OSError):  # the peer may have gone
                # The plain socket's, since TLS keeps its state for the thread that reads.
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)
        self._connection.close()

    def _exchange(self, body: bytes, token: str) -> Reply:
        asked_at = time.time()
        self._connection.request("POST", self._path, body, {
            "Content-Type": "application/x-protobuf", "Authorization": f"Bearer {token}",
            "User-Agent": f"cmnas-edge/{__version__}"})
        response = self._connection.getresponse()
        answer = response.read(LARGEST_ANSWER + 1)
        if len(answer) > LARGEST_ANSWER:
            raise http.client.HTTPException(f"an answer of more than {LARGEST_ANSWER} bytes")
        self._fresh = response.will_close
        self._tally.clock_offset_s = _offset_s(response.getheader("Date", ""), asked_at, time.time())
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
        raise ConfigError("collector: expected an address like https://collector.example:8700, found another form; "
                          "correct it")
    if not _is_host(host) or not _PATH.fullmatch(parts.path):
        raise ConfigError("collector: expected a host and path in plain ASCII (a name's parts of 1 to 63 letters, "
                          "digits and hyphens; other signs in a path as %XX), found others; correct it")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("collector: expected an address without user and password, found one with them; the token "
                          "file says who this device is")
    if parts.scheme == "http" and not allow_plain and not _is_loopback(host):
        raise ConfigError(f"collector: expected https, found plain http to {host}: everyone on the way could read "
                          "the token and the embeddings; use https, or set allow_plain_http_off_loopback = true in "
                          "[link]")
    return parts


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            return ipaddress.ip_address(host).version == 6
        except ValueError:
            return False
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _connection(parts: SplitResult, settings: LinkSettings, tally: Tally) -> _Counted:
    assert parts.hostname is not None
    connection: _Counted
    if parts.scheme == "http":
        connection = _Counted(parts.hostname, parts.port, timeout=settings.timeout_s)
    else:
        connection = _CountedTls(parts.hostname, parts.port, timeout=settings.timeout_s, context=_trust(settings))
    connection.account = Account(tally, Requests, None if settings.sent_log is None else SentLog(
        settings.sent_log, settings.sent_log_mib << 20, "http"))
    return connection


def _trust(settings: LinkSettings) -> ssl.SSLContext:
    authority = settings.certificate_authority
    try:
        trust = ssl.create_default_context(cafile=None if authority is None else str(authority))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{authority}: expected certificates in PEM, found none ({error.strerror or error}); name "
                          "the file of the authority that signed the collector's certificate") from None
    if settings.certificate is not None and settings.certificate_key is not None:
        read_secret(settings.certificate_key)
        try:
            trust.load_cert_chain(settings.certificate, handed(settings.certificate_key), "")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{settings.certificate}: expected a PEM certificate and its key, unencrypted, found "
                              f"something else ({error.strerror or error}); correct certificate and certificate_key "
                              "in [link]") from None
    trust.keylog_filename = None    # type: ignore[assignment]  # Python takes one from the environment, unasked
    keep_keys(trust, settings.sent_log_tls_keys)
    return trust


def _offset_s(date: str, asked_at: float, answered_at: float) -> float | None:
    """The other end's clock less ours, to within two seconds: its answer's date is a second that has begun, or kept."""
    try:
        told = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return told + 0.5 - (asked_at + answered_at) / 2


class _Answer(http.client.HTTPResponse):
    """One that has come by a deadline, whole, or fails."""

    def __init__(self, deadline: float, sock: socket.socket, *rest: Any, **named: Any) -> None:
        super().__init__(sock, *rest, **named)
        self.fp.close()
        self.fp = io.BufferedReader(Until(sock, deadline))


class _Counted(http.client.HTTPConnection):
    """Accounts for what it sends, and has all of an exchange done by a deadline, however slowly the peer drips."""

    account: Account
    is_tls = False
    deadline = 0.0

    def connect(self) -> None:
        self.account.connected()
        self.timeout = left_s(self.deadline)
        super().connect()
        self.account.opened(self.sock, is_tls=self.is_tls)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(left_s(self.deadline))
        self.account.sent(bytes(data))      # first: of a write that fails, too, some may have left
        super().send(data)

    def getresponse(self) -> http.client.HTTPResponse:
        self.response_class = partial(_Answer, self.deadline)   # type: ignore[assignment]
        return super().getresponse()


class _CountedTls(http.client.HTTPSConnection, _Counted):
    """The same over TLS, counted before encryption."""

    is_tls = True


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"a certificate that is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    said = "".join(c if c.isprintable() else " " for c in str(error)).strip() or type(error).__name__   # a peer's words
    if isinstance(error, http.client.HTTPException | ValueError) and not isinstance(error, OSError):
        return f"something that does not speak HTTP as it should ({said[:MAX_REASON]})"
    return getattr(error, "strerror", None) or said


def _to_do(error: Exception) -> str:
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0      # as OpenSSL counts them
    if code in (9, 10):
        return "check this device's clock, and renew the collector's certificate if it is right (docs/people.md)"
    if code in (62, 64):
        return "write a name that the certificate has in 'collector', or certify this one (docs/people.md)"
    if code:
        return "name the authority that signed it in link.certificate_authority (docs/people.md)"
    if isinstance(error, http.client.RemoteDisconnected):
        return "check that it runs, that this is its port, and whether it is to be https or http"
    return "check that it runs and that this network reaches it"
