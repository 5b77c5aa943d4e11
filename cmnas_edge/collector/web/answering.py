"""One question of the API answered: who asks and whether they may, what is asked, and first of all that it is noted."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from cmnas_edge.collector import views
from cmnas_edge.collector.access.roles import Caller
from cmnas_edge.collector.receiving.body import BODY_S, read_body
from cmnas_edge.collector.web.api import Api
from cmnas_edge.collector.web.exports import Table
from cmnas_edge.collector.web.routes import Route
from cmnas_edge.errors import CmnasError
from cmnas_edge.wording import fault, shortened, unknown_key

__all__ = ["MAX_QUERY_BYTES", "serve"]

MAX_QUERY_BYTES = 256 * 1024


async def serve(api: Api, route: Route, request: Request) -> Response:
    """Answer one request; the work is done on a thread of its own."""
    caller: Caller = request.state.caller
    try:
        if not caller.may(route.role, changes=route.changes):
            raise views.Unanswerable(403, _forbidden(route, caller))
        asked = await _asked(route, request)
        headers = {"Cache-Control": "no-store"}
        if route.returns is views.IdentityList:
            headers["ETag"] = api.tag()
            if request.headers.get("if-none-match") == headers["ETag"]:
                return Response(status_code=304, headers=headers)
        answer = await run_in_threadpool(_answer, api, route, asked, caller,
                                         request.client.host if request.client else "")
    except views.Unanswerable as error:
        return _json(views.Problem(str(error)), error.status)
    except CmnasError as error:
        return _json(views.Problem(str(error)), 503)
    if isinstance(answer, Table):
        headers["Content-Disposition"] = f'attachment; filename="{answer.name}"'
        return StreamingResponse(answer.pieces, media_type="text/csv", headers=headers)
    return _json(answer, headers=headers)


def _answer(api: Api, route: Route, asked: msgspec.Struct, caller: Caller, origin: str) -> msgspec.Struct | Table:
    if route.audit is not None:
        reason = " ".join(str(getattr(asked, "reason", "")).split())
        if route.audit in api.reasons and not reason:
            raise views.Unanswerable(400, f"{route.name}: expected a reason, found none; say why")
        api.noted.add(route.audit, who=caller.name, role=caller.role, origin=origin, reason=reason,
                      asked={"route": route.name, **_noted(asked)})
    method = getattr(api, route.name)
    given = {"person": caller.name, "caller": caller}
    answer: msgspec.Struct | Table = method(asked, **{name: given[name] for name in _wants(method.__func__)})
    return answer


@functools.cache
def _wants(method: Callable[..., Any]) -> tuple[str, ...]:
    """Which of ``person`` and ``caller`` a method takes."""
    return tuple(name for name in ("person", "caller") if name in inspect.signature(method).parameters)


def _noted(asked: msgspec.Struct) -> dict[str, Any]:
    """What is asked, as the audit log keeps it: no vector, only that there was one, and nothing that was left out."""
    told: dict[str, Any] = msgspec.to_builtins(asked)
    if told.get("vector") is not None:
        told["vector"] = f"of {len(told['vector'])} entries"
    left_out = {field.name: field.default for field in msgspec.structs.fields(asked)}
    return {name: value for name, value in told.items()
            if name != "reason" and value is not None and value != [] and value != left_out[name]}


def _forbidden(route: Route, caller: Caller) -> str:
    if not caller.name:
        return (f"{route.name}: expected somebody who is logged in, and nobody is enrolled; enrol somebody with: "
                "cmnas-edge collector person add NAME --role ROLE --config CONFIG.toml")
    return f"{route.name}: expected the role {route.role}, found {caller.role}; ask an admin of this collector"


async def _asked(route: Route, request: Request) -> msgspec.Struct:
    """Read what is asked from the path, the query or the body.

    Raises:
        Unanswerable: It is not what the route takes.
    """
    try:
        if route.method == "POST":
            if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                found = request.headers.get("content-type")
                raise views.Unanswerable(400, f"{route.name}: expected content-type application/json, found "
                                              f"{shortened(found) if found else 'none'}; send JSON, and say so")
            try:
                body = await read_body(request, MAX_QUERY_BYTES)
            except (asyncio.TimeoutError, ClientDisconnect):    # the same only from Python 3.11
                raise views.Unanswerable(408, f"{route.name}: expected the body within {BODY_S:.0f} s, found it "
                                         "unfinished; send it again") from None
            if body is None:
                raise views.Unanswerable(400, f"{route.name}: expected at most {MAX_QUERY_BYTES} bytes, found more; "
                                              "ask for less at once")
            return _read(route, body)
        given = {**request.query_params, **request.path_params}
        return msgspec.convert(given, route.asks, strict=False)
    except msgspec.ValidationError as error:
        raise views.Unanswerable(400, f"{route.name}: {_wrong(route, given, error, quoted=True)}") from None


def _read(route: Route, body: bytes) -> msgspec.Struct:
    """Read what is asked from a body.

    Raises:
        Unanswerable: It is not what the route takes.
    """
    try:
        try:
            asked: msgspec.Struct = msgspec.json.decode(body, type=route.asks)
            return asked
        except msgspec.ValidationError as error:
            said = _wrong(route, msgspec.json.decode(body), error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = f"expected JSON, found something else ({error}); correct it"
    except RecursionError:
        said = "expected JSON, found brackets nested without end; remove them"
    raise views.Unanswerable(400, f"{route.name}: {said}")


def _wrong(route: Route, given: Any, error: msgspec.ValidationError, *, quoted: bool = False) -> str:
    """Say what is wrong with a question as a settings file is told: expected, found, what to do."""
    _, said = unknown_key(given, route.asks) or fault(error, given, route.asks, table="an object", quoted=quoted)
    return said


def _json(answer: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(answer), status, headers, media_type="application/json")
