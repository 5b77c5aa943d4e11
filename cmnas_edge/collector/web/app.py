"""The collector as an ASGI app: devices post sightings, people look and decide.

Who may come in at all is `cmnas_edge.collector.web.guard`'s; what each role may ask stands in `ROUTES`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from cmnas_edge.collector import views
from cmnas_edge.collector.receiving.receive import Receiver
from cmnas_edge.collector.web import answering, condition, pages
from cmnas_edge.collector.web.api import Api
from cmnas_edge.collector.web.document import openapi
from cmnas_edge.collector.web.events import Events
from cmnas_edge.collector.web.guard import Guard
from cmnas_edge.collector.web.log_in import LogIn
from cmnas_edge.collector.web.routes import ROUTES
from cmnas_edge.wording import shortened

__all__ = ["build"]


def build(receiver: Receiver, api: Api, log_in: LogIn, *, ending: Callable[[], bool] = lambda: False) -> Starlette:
    """Put the routes together; ``ending`` says when pages are no longer told what changes."""
    events = Events(lambda: api.tag().strip('"'), log_in.people, log_in.sessions, ending=ending)
    routes = [Route("/v1/sightings", receiver.serve, methods=["POST"])]
    routes += [Route(route.path, _answers(answering.serve, api, route), methods=[route.method]) for route in ROUTES]
    routes.append(Route(condition.PATH, api.condition.serve, methods=["GET"]))
    routes.append(Route("/v1/events", events.serve, methods=["GET"]))
    routes += log_in.routes()
    document = msgspec.json.encode(openapi())
    routes.append(Route("/openapi.json", _gives(document, "application/json"), methods=["GET"]))
    routes += [Route(file.path, _gives(file.content, file.kind), methods=["GET"]) for file in pages.files()]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, log_in.people, log_in.sessions)],
                    exception_handlers={404: _unknown, 405: _unknown})
    app.router.redirect_slashes = False     # it would send people on to whatever Host a request claims
    return app


async def _unknown(request: Request, error: Exception) -> Response:
    """Say that nothing is there, or that it is asked for in another way."""
    del error
    there = [route for route in request.app.routes if route.matches(request.scope)[0] != Match.NONE]
    methods = sorted({method for route in there for method in route.methods} - {"HEAD"})
    expected = f"{' or '.join(methods)} here" if methods else "a page or a path of the API"
    found = request.method if methods else shortened(request.url.path)
    said = views.Problem(f"collector: expected {expected}, found {found}; look it up in /openapi.json")
    return Response(msgspec.json.encode(said), 405 if methods else 404, media_type="application/json",
                    headers={"Allow": ", ".join(methods)} if methods else {})


def _answers(serve: Callable[..., Awaitable[Response]], *given: object) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await serve(*given, request)

    return endpoint


def _gives(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        del request
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return endpoint
