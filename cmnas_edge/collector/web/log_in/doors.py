"""Logging in with a password or a link, and logging out: plain forms, which need no JavaScript.

Passwords are compared on threads of their own (`cmnas_edge.collector.access.passwords`), names that nobody has as
slowly as others, and every answer to a wrong one is the same.
"""

from __future__ import annotations

import asyncio
import html
import ipaddress
import logging
import re
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.access.passwords import MOST, Passwords
from cmnas_edge.collector.access.people import NAME, People, Person
from cmnas_edge.collector.access.sessions import Sessions
from cmnas_edge.collector.access.throttle import Throttle
from cmnas_edge.collector.receiving.body import read_body
from cmnas_edge.collector.web.guard import cookie_name, cookies
from cmnas_edge.errors import CmnasError
from cmnas_edge.log import Repeats

__all__ = ["LogIn"]

_log = logging.getLogger("cmnas.collector")
_MOST_BYTES = 4 * MOST
_BROWSER_S = 180 * 86400
_WRONG = "Name or password is wrong."
_SPENT = "This link was used already, or it is too old. Log in with your password, or have another link made."


class LogIn:
    """Lets enrolled people in and out. Its methods run on the event loop."""

    def __init__(self, people: People, sessions: Sessions, passwords: Passwords, audit_log: AuditLog, *,
                 throttle: Throttle | None = None) -> None:
        self.people = people
        self.sessions = sessions
        self._passwords = passwords
        self._audit_log = audit_log
        self._throttle = throttle or Throttle()
        self._repeats = Repeats()
        folder = resources.files("cmnas_edge.collector.web") / "log_in"
        self._page = (folder / "log_in.html").read_text("utf-8")
        self._style = (folder / "log_in.css").read_bytes()

    def routes(self) -> list[Route]:
        """What to serve."""
        return [Route("/log-in", self.ask, methods=["GET"]), Route("/log-in", self.enter, methods=["POST"]),
                Route("/log-in/{token}", self.enter_by_link, methods=["GET"]),
                Route("/log-out", self.leave, methods=["POST"]), Route("/log-in.css", self.style, methods=["GET"])]

    async def style(self, request: Request) -> Response:
        """Give the page's style."""
        del request
        return Response(self._style, media_type="text/css", headers={"Cache-Control": "no-cache"})

    async def ask(self, request: Request) -> Response:
        """Show the page; whoever is in already, or where nobody is enrolled, goes on."""
        if request.state.caller is not None:
            return _go("/")
        return self._show()

    async def enter(self, request: Request) -> Response:
        """Take a name and a password."""
        try:
            form = await _form(request)
            if form is None:
                return self._show("Expected a name and a password.", status=400)
            return await self._try(request, *form)
        except CmnasError as error:
            if self._repeats.admit(type(error).__name__) is not None:
                _log.warning("nobody can log in: %s", error)
            return self._show("The collector cannot let anybody in at this moment; its log says why. Try again.",
                              status=503)

    async def enter_by_link(self, request: Request) -> Response:
        """Take a link that lets somebody in once."""
        # A browser that looks ahead, or a program that previews, must not use it up.
        if request.method != "GET" or "prefetch" in request.headers.get("sec-purpose", ""):
            return Response(status_code=204, headers={"Cache-Control": "no-store"})
        try:
            name = await run_in_threadpool(self.sessions.take_link, request.path_params["token"])
            found = await run_in_threadpool(self.people.find, name) if name else None
            if found is None:
                return self._show(_SPENT, status=410)
            return await self._open(request, found[0], "link")
        except CmnasError as error:
            _log.warning("nobody can log in: %s", error)
            return self._show("The collector cannot let anybody in at this moment; its log says why.", status=503)

    async def leave(self, request: Request) -> Response:
        """End the session."""
        caller = request.state.caller
        answer = _go("/log-in")
        if caller.token:
            try:
                await run_in_threadpool(self.sessions.end, caller.token)
                await run_in_threadpool(self._note, "log-out", caller.name, caller.role, request, {})
            except CmnasError as error:
                _log.warning("a log-out cannot be kept: %s", error)
            answer.delete_cookie(cookie_name(request.scope), path="/", httponly=True, samesite="strict",
                                 secure=_secure(request))
        return answer

    async def _try(self, request: Request, name: str, password: str) -> Response:
        known = NAME.fullmatch(name) is not None and await run_in_threadpool(
            self.sessions.remembers, cookies(request.headers).get(cookie_name(request.scope, "browser"), ""), name)
        lanes = [("browser", name.lower())] if known else [("name", name[:64].lower()),
                                                           ("address", _network(request))]
        if wait_s := self._throttle.wait_s(lanes):
            if self._repeats.admit("throttled") is not None:
                await run_in_threadpool(self._note, "log-in refused", "", "", request, {"why": "too many tries"})
            return self._show(f"Too many tries. Wait {_words(wait_s)}, then try again.", name, status=429,
                              retry_s=int(wait_s) + 1)
        found = await run_in_threadpool(self.people.find, name) if NAME.fullmatch(name) else None
        try:
            right = await asyncio.wrap_future(self._passwords.check(found[1] if found else "", password))
        except CmnasError:
            self._throttle.give_back(lanes)     # it was not even looked at
            raise
        if found is None or not right:
            # A name that nobody has may be a password in the wrong field: it is not written down.
            await run_in_threadpool(self._note, "log-in refused", found[0].name if found else "", "", request,
                                    {"why": "password" if found else "name"})
            return self._show(_WRONG, name, status=401)
        self._throttle.give_back(lanes)
        person, kept = found
        if self._passwords.is_old(kept):
            await run_in_threadpool(lambda: self.people.rehash(person.name, kept, self._passwords.hash(password)))
        return await self._open(request, person, "password")

    async def _open(self, request: Request, person: Person, way: str) -> Response:
        """Begin a session that is new, whatever cookie came along, and end the one that did."""
        jar = cookies(request.headers)
        await run_in_threadpool(self._note, "log-in", person.name, person.role, request, {"by": way})
        if old := jar.get(cookie_name(request.scope), ""):
            await run_in_threadpool(self.sessions.end, old)
        token = await run_in_threadpool(self.sessions.open, person.name, person.changed_at)
        answer = _go("/")
        safe: dict[str, Any] = {"path": "/", "httponly": True, "samesite": "strict", "secure": _secure(request)}
        answer.set_cookie(cookie_name(request.scope), token, **safe)
        browser = cookie_name(request.scope, "browser")
        if not await run_in_threadpool(self.sessions.remembers, jar.get(browser, ""), person.name):
            answer.set_cookie(browser, await run_in_threadpool(self.sessions.remember, person.name),
                              max_age=_BROWSER_S, **safe)
        return answer

    def _note(self, kind: Any, name: str, role: str, request: Request, asked: dict[str, Any]) -> None:
        self._audit_log.add(kind, who=name, role=role, origin=request.client.host if request.client else "",
                            asked=asked)

    def _show(self, notice: str = "", name: str = "", *, status: int = 200, retry_s: int = 0) -> Response:
        marks = {"notice": f'<p class="wrong" role="alert">{html.escape(notice)}</p>' if notice else "",
                 "name": html.escape(name[:64]), "focus_name": "" if name else "autofocus",
                 "focus_password": "autofocus" if name else ""}
        page = re.sub(r"{{(\w+)}}", lambda mark: marks[mark[1]], self._page)   # in one pass: a name may be a mark
        headers = {"Cache-Control": "no-store", **({"Retry-After": str(retry_s)} if retry_s else {})}
        return Response(page, status, headers, media_type="text/html")


async def _form(request: Request) -> tuple[str, str] | None:
    """Read name and password, or None if they did not come, or as something else."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    try:
        body = await read_body(request, _MOST_BYTES)
        if body is None:
            return None
        fields = parse_qs(body.decode("ascii"), max_num_fields=8)
    except (asyncio.TimeoutError, ClientDisconnect, ValueError):    # not ASCII is a ValueError, too
        return None
    name, password = (fields.get(key, [""])[0] for key in ("name", "password"))
    return (name.strip(), password) if name and password else None


def _go(where: str) -> Response:
    return Response(status_code=303, headers={"Location": where, "Cache-Control": "no-store"})


def _secure(request: Request) -> bool:
    return bool(request.scope.get("scheme") == "https")


def _network(request: Request) -> str:
    """Whose tries are counted together: an IPv4 address, or the network of an IPv6 one."""
    host = request.client.host if request.client else ""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return host


def _words(seconds: float) -> str:
    return f"{int(seconds) + 1} seconds" if seconds < 90 else f"{round(seconds / 60)} minutes"
