"""The collector as an ASGI app: devices may post from anywhere, people look from this machine.

Nobody can log in yet, so everything but ``POST /v1/sightings`` answers only to a browser or
program on the collector's own machine: the peer is a loopback address, the request came
through no proxy, and it names this machine (a page elsewhere cannot make a name of its own
point here and read along).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable
from importlib import resources

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmnas_edge.collector import views
from cmnas_edge.collector.receiving.receive import Receiver
from cmnas_edge.collector.web.api import ROUTES, Api, openapi

__all__ = ["build"]

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    # The page brings all it needs; nothing is fetched from, or shown inside, anything else.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
                               "form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]*))(?::[0-9]*)?")     # RFC 3986, authority
_PROXIED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def build(receiver: Receiver, api: Api) -> Starlette:
    """Put the routes together."""
    routes = [Route("/v1/sightings", receiver.serve, methods=["POST"])]
    routes += [Route(route.path, _answers(api.serve, route), methods=[route.method]) for route in ROUTES]
    document = msgspec.json.encode(openapi())
    routes.append(Route("/openapi.json", _gives(document, "application/json"), methods=["GET"]))
    for page in (resources.files("cmnas_edge.collector.web") / "dashboard").iterdir():
        path = "/" if page.name == "index.html" else f"/{page.name}"
        kind = _KINDS["." + page.name.rpartition(".")[2]]
        routes.append(Route(path, _gives(page.read_bytes(), kind), methods=["GET"]))
    return Starlette(routes=routes, middleware=[Middleware(LoopbackOnly)])


class LoopbackOnly:
    """Refuses, in one sentence, whoever is not on this machine; adds the headers of a careful page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (scope["method"], scope["path"]) != ("POST", "/v1/sightings") and (reason := _foreign(scope)):
            refusal = Response(msgspec.json.encode(views.Problem(reason)), 403, media_type="application/json")
            await refusal(scope, receive, send)
            return

        async def send_careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()),
                                      *((k.lower().encode(), v.encode()) for k, v in _HEADERS.items())]
            await send(message)

        await self._app(scope, receive, send_careful)


def _foreign(scope: Scope) -> str:
    """Say why a request does not come from this machine, or nothing."""
    client = scope.get("client")
    if client is None or not _loopback(client[0]):
        return ("collector: pages and the read API answer only on the collector's own machine, for nobody can log "
                "in yet; open them there, or through an SSH tunnel")
    headers = Headers(scope=scope)
    if any(name in headers for name in _PROXIED):
        return ("collector: this request came through a proxy, and nobody can log in yet; open the page on the "
                "collector's own machine, or through an SSH tunnel")
    called = _HOST.fullmatch(headers.get("host", ""))
    host = (called[1] or called[2]) if called else headers.get("host", "")
    if host.lower().removesuffix(".") != "localhost" and not _loopback(host):
        return f"collector: expected to be called localhost or 127.0.0.1, found {host[:80]!a}"
    return ""


def _loopback(host: str) -> bool:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _answers(serve: Callable[..., Awaitable[Response]], *given: object) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await serve(*given, request)

    return endpoint


def _gives(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        del request
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return endpoint
