"""Who may reach the collector's pages and API, before anything is asked.

While nobody is enrolled, only a browser or program on the collector's own machine: the peer is a
loopback address, the request came through no proxy, and it names this machine (a page elsewhere
cannot make a name of its own point here and read along). Once people are enrolled, everybody logs
in, there and, over TLS, from other machines.

A page of another site, or of another port of this host, cannot act in somebody's name: the cookie is
``SameSite=Strict``, and a request that says it comes from elsewhere (``Sec-Fetch-Site``, ``Origin``) is refused.
Every browser that is still looked after says one of them with whatever it posts, no page can forge either,
and what says neither is no browser, and has nobody's cookie. A token in forms would add nothing to that.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmnas_edge.collector import views
from cmnas_edge.collector.access.people import People
from cmnas_edge.collector.access.roles import Caller
from cmnas_edge.collector.access.sessions import Sessions
from cmnas_edge.collector.receiving.connection import prove
from cmnas_edge.collector.web import condition
from cmnas_edge.errors import CmnasError

__all__ = ["ANYBODY", "DEVICES", "OPEN", "Guard", "cookie_name", "cookies"]

# Devices show a token, which its receiver asks for; anybody may hear the one word that is said of the collector.
DEVICES = ("POST", "/v1/sightings")
ANYBODY = (("GET", condition.PATH), ("HEAD", condition.PATH))
# What whoever may reach the collector sees before they log in.
OPEN = re.compile(r"/log-in(/[A-Za-z0-9_-]*)?|/log-in\.css|/dashboard\.css|/icon\.svg")
_HEADERS = {
    # The page brings all it needs; nothing is fetched from, or shown inside, anything else.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
                               "form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",   # with no-referrer a browser would hide a form's origin from us, too
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]*))(?::[0-9]*)?")     # RFC 3986, authority
_PROXIED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
_LOOKS = ("GET", "HEAD")


class Guard:
    """Refuses, in one sentence, whoever may not come in; says of the others who they are; adds careful headers.

    Requests that pass carry a `Caller` as ``request.state.caller``, or None where a page is open to all.
    """

    def __init__(self, app: ASGIApp, people: People, sessions: Sessions) -> None:
        self._app = app
        self._people = people
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()),
                                      *((k.lower().encode(), v.encode()) for k, v in _HEADERS.items())]
            await send(message)

        if (scope["method"], scope["path"]) not in (DEVICES, *ANYBODY):
            refusal = await self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send_careful)
                return
        await self._app(scope, receive, send_careful)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        token = cookies(headers).get(cookie_name(scope), "")
        try:
            anybody, caller = await run_in_threadpool(self._look, token)
        except CmnasError as error:     # a file that cannot be read lets nobody in
            return _problem(503, str(error))
        if reason := _foreign(scope, headers, anybody=anybody):
            return _problem(403, reason)
        if reason := _forged(scope, headers):
            return _problem(403, reason)
        if not anybody:
            caller = Caller()
        scope.setdefault("state", {})["caller"] = caller
        if caller is not None:
            prove(scope["state"])
        if caller is not None or OPEN.fullmatch(scope["path"]):
            return None
        if scope["method"] not in _LOOKS or "text/html" not in headers.get("accept", ""):
            return _problem(401, "log-in: expected somebody who is logged in, found nobody; open /log-in")
        if headers.get("sec-fetch-site") == "cross-site":
            # A link on another site: the browser kept the cookie back, and sends it once this page asks by itself.
            return Response('<!doctype html><meta http-equiv="refresh" content="0"><title>cmnas-edge</title>',
                            media_type="text/html", headers={"Cache-Control": "no-store"})
        return Response(status_code=303, headers={"Location": "/log-in", "Cache-Control": "no-store"})

    def _look(self, token: str) -> tuple[bool, Caller | None]:
        caller = self._sessions.caller(token) if token else None
        return caller is not None or self._people.any(), caller


def cookie_name(scope: Scope, what: str = "session") -> str:
    """Name a cookie of this collector: cookies know no ports, and two collectors may share a host.

    With TLS its name begins with ``__Host-``: no other host, and nobody on plain HTTP, can put one there.
    """
    port = (scope.get("server") or ("", 0))[1]
    return f"{'__Host-' if scope.get('scheme') == 'https' else ''}cmnas-{what}-{port}"


def cookies(headers: Mapping[str, str]) -> dict[str, str]:
    """The cookies of a request."""
    found: dict[str, str] = cookie_parser(headers.get("cookie", ""))
    return found


def _foreign(scope: Scope, headers: Headers, *, anybody: bool) -> str:
    """Say why a request may not come from where it does, or nothing."""
    if any(name in headers for name in _PROXIED):
        return ("collector: expected a browser's own request, found one that came through a proxy, which could say "
                "anything of where it is from; reach the collector itself, or by an SSH tunnel")
    client = scope.get("client")
    secure = scope.get("scheme") == "https"
    if client is None or not _loopback(client[0]):
        if not anybody:
            return ("collector: pages and the read API answer only on the collector's own machine while nobody is "
                    "enrolled who could log in; open them there, or through an SSH tunnel, or enrol somebody with: "
                    "cmnas-edge collector person add NAME --role ROLE --config CONFIG.toml")
        if not secure:
            return ("collector: expected TLS from another machine, found plain HTTP, which carries passwords readable; "
                    "set tls_certificate and tls_key, or come through an SSH tunnel")
        return ""
    if anybody and secure:
        return ""       # a page elsewhere has neither the certificate nor a cookie for a name that points here
    called = _HOST.fullmatch(headers.get("host", ""))
    host = (called[1] or called[2]) if called else headers.get("host", "")
    if host.lower().removesuffix(".") != "localhost" and not _loopback(host):
        return f"collector: expected to be called localhost or 127.0.0.1, found {host[:80]!a}; open it by that name"
    return ""


def _forged(scope: Scope, headers: Headers) -> str:
    """Say why a page elsewhere may have sent this, or nothing."""
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
    looks = scope["method"] in _LOOKS
    # Following a link to a page here is harmless; asking the API from elsewhere is not.
    if site and site not in ("same-origin", "none") and not (looks and not scope["path"].startswith("/v1/")):
        return f"collector: expected a request of its own pages, found one of another ({site[:20]!a}); ask there"
    if origin and (not looks or scope["path"].startswith("/v1/")):
        try:
            named = urlsplit(origin)
            same = (named.scheme, named.netloc.lower()) == (scope.get("scheme"), headers.get("host", "").lower())
        except ValueError:
            same = False
        if not same:
            return f"collector: expected a request of its own pages, found one of {origin[:80]!a}; ask there"
    return ""


def _loopback(host: str) -> bool:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _problem(status: int, sentence: str) -> Response:
    body: Any = msgspec.json.encode(views.Problem(sentence))
    return Response(body, status, {"Cache-Control": "no-store"}, media_type="application/json")
