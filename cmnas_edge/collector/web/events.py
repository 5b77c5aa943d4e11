"""``/v1/events``: tells an open page that something changed, so that it asks again (server-sent events).

A stream says a version, which is another one whenever an answer may be; what changed is asked for by the routes that
say it. It ends with the session it was opened in, and with the collector; a page opens it again.
"""

from __future__ import annotations

import asyncio
import collections
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from cmnas_edge.collector.access.people import People
from cmnas_edge.collector.access.roles import Caller
from cmnas_edge.collector.access.sessions import Sessions
from cmnas_edge.errors import CmnasError

__all__ = ["BEAT_S", "MOST", "MOST_OF_ONE_PEER", "TICK_S", "Events"]

TICK_S = 0.5
BEAT_S = 10.0           # a page that heard nothing for thrice as long opens another stream
MOST = 200              # a connection each, of the thousand that uvicorn holds
MOST_OF_ONE_PEER = 24   # of its connections (`cmnas_edge.collector.receiving.connection`), so that others stay free


class Events:
    """Streams to open pages. Its methods run on the event loop.

    Args:
        version: Says what an answer would be of now.
        people: Whether anybody is enrolled.
        sessions: Whose session goes on.
        ending: Whether the collector is about to end.
        sleep: Waits so many seconds.
    """

    def __init__(self, version: Callable[[], str], people: People, sessions: Sessions, *,
                 ending: Callable[[], bool] = lambda: False,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._version = version
        self._people = people
        self._sessions = sessions
        self._ending = ending
        self._sleep = sleep
        self._open: collections.Counter[str] = collections.Counter()     # by peer

    async def serve(self, request: Request) -> Response:
        """Begin a stream, or say that there are too many."""
        peer = request.client.host if request.client else ""
        if self._open[peer] >= MOST_OF_ONE_PEER or self._open.total() >= MOST:
            return JSONResponse(
                {"error": f"events: expected at most {MOST_OF_ONE_PEER} open pages of one address and {MOST} of all, "
                          f"found {self._open[peer]} and {self._open.total()}; close some, or ask again later"},
                503, {"Retry-After": "30", "Cache-Control": "no-store"})
        return StreamingResponse(self.stream(request.state.caller, peer), media_type="text/event-stream",
                                 headers={"Cache-Control": "no-store"})

    async def stream(self, caller: Caller, peer: str) -> AsyncIterator[str]:
        """What one page is told: ``change`` with a version, ``beat``, and ``over`` where its session is."""
        self._open[peer] += 1
        try:
            yield "retry: 2000\n\n"
            told, quiet_s = "", 0.0
            while not self._ending():
                if (version := self._version()) != told:
                    told = version
                    yield _event("change", version)
                await self._sleep(TICK_S)
                quiet_s += TICK_S
                if quiet_s >= BEAT_S:
                    quiet_s = 0.0
                    if not await run_in_threadpool(self._goes_on, caller):
                        yield _event("over", told)
                        return
                    yield _event("beat", told)
        finally:
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]

    def _goes_on(self, caller: Caller) -> bool:
        try:
            if not caller.name:
                return not self._people.any()
            return self._sessions.caller(caller.token) is not None
        except CmnasError:
            return False


def _event(kind: str, version: str) -> str:
    return f"event: {kind}\ndata: {json.dumps({'version': version})}\n\n"
