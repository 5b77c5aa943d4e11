"""An open page is told what changes while its session and the collector go on, and cannot crowd others out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.requests import Request

from cmnas_edge.collector.access.roles import Caller
from cmnas_edge.collector.web.events import BEAT_S, MOST_OF_ONE_PEER, TICK_S, Events
from tests.collector.house import House


async def at_once(_: float) -> None:
    """No waiting: a stream's seconds are counted, not slept."""


def events(house: House, **given: Any) -> Events:
    return Events(given.pop("version", lambda: "v0"), house.people, house.sessions, sleep=at_once, **given)


async def told(stream: AsyncIterator[str], count: int) -> list[tuple[str, str]]:
    """The next things said, as kind and version."""
    heard: list[tuple[str, str]] = []
    async for text in stream:
        if text.startswith("event: "):
            kind, data = text.removeprefix("event: ").removesuffix("\n\n").split("\ndata: ")
            heard.append((kind, json.loads(data)["version"]))
        if len(heard) == count:
            break
    return heard


def test_a_stream_says_the_version_at_once_and_again_when_it_moves_and_beats_in_between(house: House) -> None:
    async def listen() -> None:
        version = ["v0"]
        stream = events(house, version=lambda: version[0]).stream(Caller(), "127.0.0.1")
        assert await told(stream, 1) == [("change", "v0")]
        assert await told(stream, 2) == [("beat", "v0")] * 2
        version[0] = "v1"
        assert await told(stream, 1) == [("change", "v1")]

    asyncio.run(listen())
    assert BEAT_S / TICK_S > 2


def test_a_stream_ends_with_the_session_it_was_opened_in(house: House) -> None:
    house.people.add("ada", "viewer", "")
    token = house.cookie("viewer")["Cookie"].partition("=")[2]
    caller = house.sessions.caller(token)
    assert caller is not None

    async def listen() -> list[tuple[str, str]]:
        stream = events(house).stream(caller, "127.0.0.1")
        heard = await told(stream, 2)
        house.sessions.end(token)
        return heard + await told(stream, 9)

    assert asyncio.run(listen()) == [("change", "v0"), ("beat", "v0"), ("over", "v0")]


def test_who_looked_on_without_a_name_is_sent_away_once_somebody_is_enrolled(house: House) -> None:
    async def listen() -> list[tuple[str, str]]:
        stream = events(house).stream(Caller(), "127.0.0.1")
        heard = await told(stream, 2)
        house.people.add("ada", "viewer", "")
        return heard + await told(stream, 9)

    assert asyncio.run(listen()) == [("change", "v0"), ("beat", "v0"), ("over", "v0")]


def test_a_stream_ends_with_the_collector(house: House) -> None:
    over: list[bool] = []

    async def listen() -> list[tuple[str, str]]:
        stream = events(house, ending=lambda: bool(over)).stream(Caller(), "127.0.0.1")
        heard = await told(stream, 1)
        over.append(True)
        return heard + await told(stream, 9)

    assert asyncio.run(listen()) == [("change", "v0")]


def test_pages_of_one_peer_take_only_so_many_streams_and_a_closed_one_makes_room(house: House) -> None:
    async def crowd() -> None:
        service = events(house)
        streams = [service.stream(Caller(), "192.0.2.7") for _ in range(MOST_OF_ONE_PEER)]
        for stream in streams:
            await told(stream, 1)
        refused = await service.serve(request("192.0.2.7"))
        assert (refused.status_code, json.loads(bytes(refused.body))) == (503, {
            "error": "events: expected at most 24 open pages of one address and 200 of all, found 24 and 24; close "
                     "some, or ask again later"})
        assert (await service.serve(request("192.0.2.8"))).status_code == 200
        await streams[0].aclose()  # type: ignore[attr-defined]
        assert (await service.serve(request("192.0.2.7"))).status_code == 200

    asyncio.run(crowd())


def request(peer: str) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/v1/events", "headers": [], "client": (peer, 1),
                    "state": {"caller": Caller()}})


def test_a_stream_is_refused_to_whoever_may_not_come_in(house: House, tmp_path: Path) -> None:
    del tmp_path
    assert house.ask("GET", "/v1/events", client="192.0.2.7").status_code == 403
    house.people.add("ada", "viewer", "")
    assert house.ask("GET", "/v1/events").status_code == 401
