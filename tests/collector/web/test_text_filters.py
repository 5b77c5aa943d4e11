"""Text that the API filters by is compared with names, and never read as anything else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cmnas_edge.collector.access.roles import ROLES
from cmnas_edge.collector.web.routes import ROUTES, Route
from tests.collector.house import House
from tests.collector.people import People
from tests.collector.web.test_api import QUESTIONS

TRICKS = ["' OR '1'='1", "north' OR 1=1 --", "north'; DROP TABLE sighting; --",
          "x' UNION SELECT name FROM sqlite_master --", '" OR ""="', "north\0", "nor%", "_orth", "n*", "[a-z]*",
          "../north", "gate/north' --", "1 OR 1=1"]
# What an answer found: nothing, where nobody is called that.
FOUND: dict[str, Callable[[httpx.Response], Any]] = {
    "sightings": lambda answer: answer.json()["sightings"], "identities": lambda answer: answer.json()["identities"],
    "search": lambda answer: answer.json()["matches"], "export": lambda answer: answer.text.splitlines()[1:],
    "erase": lambda answer: answer.json()["sightings"]}


def filters() -> Iterator[tuple[Route, str, bool]]:
    """Every field of a question that takes text, and whether it takes a list of it; what a reason says is no filter."""
    for route in ROUTES:
        for field in msgspec.inspect.type_info(route.asks).fields:      # type: ignore[union-attr]
            kinds = getattr(field.type, "types", [field.type])
            for kind in [getattr(each, "type", each) for each in kinds]:
                each = getattr(kind, "item_type", kind)
                if field.name != "reason" and isinstance(getattr(each, "type", each), (
                        msgspec.inspect.StrType, msgspec.inspect.LiteralType)):
                    yield route, field.name, each is not kind


FILTERS = list(filters())


def kept(house: House) -> dict[str, list[str]]:
    """All that is stored, but for who has a session and which erasures there were."""
    found = {}
    for path in ("journal.sqlite", "access.sqlite"):
        with sqlite3.connect(f"file:{house.folder / path}?mode=ro", uri=True) as db:
            found[path] = [line for line in db.iterdump()
                           if not line.startswith(('INSERT INTO "session"', 'INSERT INTO "erased"'))]
        db.close()
    found["devices"] = [device.name for device in house.devices.known()]
    return found


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[House]:
    """One person before a camera."""
    house = House(tmp_path / "data")
    house.send(People().sighting(1, at=1990), People().sighting(2, at=1990, camera="south", sequence=2))
    house.settle()
    for role in ROLES:
        house.cookie(role)
    yield house
    house.close()


def ask(house: House, route: Route, name: str, value: Any) -> httpx.Response:
    url, given = QUESTIONS[route.name]
    headers = house.cookie(route.role)
    if route.method == "GET":
        return house.ask("GET", url.partition("?")[0], params={name: value}, headers=headers)
    asked = given["json"] if route.name != "erase" else {"device": "gate"} if name == "camera" else {}
    return house.ask(route.method, url, json={"reason": "a letter", **asked, name: value} if "decisions" in url
                     or route.name == "erase" else {**asked, name: value}, headers=headers)


def test_the_filters_are_those_that_are_known() -> None:
    assert {f"{route.name} {name}" for route, name, _ in FILTERS} == {
        "sightings camera", "sightings modality", "identities camera", "identities modality", "decide kind",
        "moved pair", "search bundle", "search cameras", "search modality", "search vector_modality",
        "end_sessions name", "revoke name", "export camera", "export modality", "erase device", "erase camera"}


@pytest.mark.parametrize(("route", "name", "many"), FILTERS, ids=[f"{route.name}-{name}" for route, name, _ in FILTERS])
def test_sql_and_wildcards_in_a_filter_find_nothing_and_leave_the_journal_as_it_was(
        seen: House, route: Route, name: str, many: bool) -> None:
    named = name in ("camera", "cameras", "device")
    before = kept(seen)
    for trick in TRICKS:
        answer = ask(seen, route, name, [trick] if many else trick)
        if answer.status_code == 200:
            assert not FOUND[route.name](answer), trick
        else:
            assert answer.status_code in (400, 404), answer.text
        seen.settle()
        assert kept(seen) == before, trick
    if named:       # and who is called that is found
        right = "gate" if name == "device" else "south"
        assert FOUND[route.name](ask(seen, route, name, [right] if many else right))
