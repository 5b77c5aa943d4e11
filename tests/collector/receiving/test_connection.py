"""Who sends no request cannot keep others out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvicorn
from uvicorn.server import ServerState

from cmnas_edge.collector.receiving import connection
from cmnas_edge.collector.receiving.connection import Connection, prove
from cmnas_edge.collector.receiving.peer import peer_of
from tests.collector.house import House
from tests.collector.people import People
from tests.collector.process import Process

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _hello(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    if scope["path"] == "/mine":
        prove(scope["state"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def talk(conversation: Callable[[int], Awaitable[None]]) -> None:
    """Serve on a port of its own while a conversation with it lasts."""
    async def whole() -> None:
        config = uvicorn.Config(_hello, lifespan="off", log_config=None)
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(config, state, {}), "127.0.0.1", 0)
        async with server:
            await asyncio.wait_for(conversation(server.sockets[0].getsockname()[1]), 20)
            for open_one in list(state.connections):
                open_one.transport.abort()  # type: ignore[union-attr]

    asyncio.run(whole())


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the other side closes."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("said", [b"", b"G", HEAD[:-2], HEAD + b"G"])
def test_a_connection_without_a_whole_head_is_closed(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.05)

    async def conversation(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said[:len(HEAD)])
        if len(said) > len(HEAD):
            await reader.readuntil(b"ok")
            writer.write(said[len(HEAD):])
        await ended(reader)
        writer.close()

    talk(conversation)


def test_a_connection_between_two_requests_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.05)

    async def conversation(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(HEAD)
            await reader.readuntil(b"ok")
            # Another one that says nothing is closed meanwhile: so much time has passed.
            silent, other = await asyncio.open_connection("127.0.0.1", port)
            await ended(silent)
            other.close()
        writer.close()

    talk(conversation)


def test_one_more_of_a_peer_takes_the_place_of_the_one_that_waited_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_OF_ONE_PEER", 3)

    async def conversation(port: int) -> None:
        held = []
        for _ in range(3):
            held.append(await asyncio.open_connection("127.0.0.1", port))
            held[-1][1].write(HEAD)
            await held[-1][0].readuntil(b"ok")
        held[0][1].write(HEAD)
        await held[0][0].readuntil(b"ok")       # now the second has waited longest
        held.append(await asyncio.open_connection("127.0.0.1", port))
        await ended(held[1][0])
        for number in (0, 2, 3):
            held[number][1].write(HEAD)
            await held[number][0].readuntil(b"ok")
        for _, writer in held:
            writer.close()

    talk(conversation)


def test_of_too_many_a_strangers_goes_and_who_is_known_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST", 4)

    async def conversation(port: int) -> None:
        async def opened(peer: int, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{peer}", 0))
            writer.write(head)
            await reader.readuntil(b"ok")
            return reader, writer

        mine = [await opened(1, HEAD.replace(b"/", b"/mine", 1)) for _ in range(2)]
        strangers = [await opened(peer, HEAD) for peer in range(2, 8)]
        for reader, _ in strangers[:-2]:
            await ended(reader)
        for reader, writer in (*mine, *strangers[-2:]):     # ours waited longest
            writer.write(HEAD)
            await reader.readuntil(b"ok")
        for _, writer in (*mine, *strangers):
            writer.close()

    talk(conversation)


def test_of_one_peer_a_strangers_goes_before_a_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_OF_ONE_PEER", 2)

    async def conversation(port: int) -> None:
        held = []
        for head in (HEAD.replace(b"/", b"/mine", 1), HEAD, HEAD):
            held.append(await asyncio.open_connection("127.0.0.1", port))
            held[-1][1].write(head)
            await held[-1][0].readuntil(b"ok")
        await ended(held[1][0])
        held[0][1].write(HEAD)
        await held[0][0].readuntil(b"ok")
        for _, writer in held:
            writer.close()

    talk(conversation)


def test_addresses_of_one_network_are_one_peer() -> None:
    peer = peer_of
    assert peer("2001:db8::1") == peer("2001:db8::ffff") != peer("2001:db8:0:1::1")
    assert peer("192.0.2.1") == peer("::ffff:192.0.2.1") != peer("192.0.2.2")


def test_a_crowd_that_sends_one_byte_each_locks_no_device_out(collector: Process) -> None:
    token, people = collector.enrol(), People()
    collector.start()
    host, _, port = collector.url.rpartition("/")[2].partition(":")
    crowd = [socket.create_connection((host, int(port)), 10) for _ in range(100)]
    for each in crowd:
        each.sendall(b"P")
    (outcome,) = collector.send(token, [people.sighting(1, at=10)])
    assert outcome.result == "stored"
    for each in crowd[:100 - connection.MOST_OF_ONE_PEER]:
        with contextlib.suppress(ConnectionResetError):
            assert each.recv(1) == b""
    for each in crowd:
        each.close()
    collector.stop()
    assert collector.said.count("has more than 64 connections") == 1


def is_known_after(house: House, method: str, path: str, **headers: str) -> bool:
    """Whether a connection is somebody's once a request came by it."""
    ours = Connection.__new__(Connection)
    ours.is_known = False
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
             "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
             "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 8700),
             "headers": [(b"host", b"127.0.0.1:8700"),
                         *((name.lower().encode(), value.encode()) for name, value in headers.items())],
             "state": {"connection": ours, "certificate": ""}}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: object) -> None:
        return None

    asyncio.run(house.app(scope, receive, send))  # type: ignore[arg-type]
    return ours.is_known


def test_a_connection_is_known_by_a_token_or_a_session_and_by_nothing_less(house: House) -> None:
    cookie = house.cookie("viewer")
    assert is_known_after(house, "POST", "/v1/sightings", Authorization=f"Bearer {house.token()}")
    assert is_known_after(house, "GET", "/v1/health", **cookie)
    assert not is_known_after(house, "POST", "/v1/sightings", Authorization="Bearer cmnas_" + "x" * 43)
    assert not is_known_after(house, "GET", "/v1/health")
    assert not is_known_after(house, "GET", "/log-in")
