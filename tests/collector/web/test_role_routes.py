"""Every route by every role: who may is answered, who may not is refused, and no route stands outside the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmnas_edge.collector import views
from cmnas_edge.collector.access.roles import ROLES, allows
from cmnas_edge.collector.web import guard
from cmnas_edge.collector.web.api import Api
from cmnas_edge.collector.web.routes import ROUTES, Route
from tests.collector.house import House
from tests.collector.people import People
from tests.collector.web.test_api import QUESTIONS

OPEN = {"/healthz", "/log-in", "/log-in/{token}", "/log-in.css", "/dashboard.css", "/icon.svg"}
SECURE = "https://collector.example:8700"


def ask(house: House, route: Route, **given: Any) -> Any:
    url, question = QUESTIONS[route.name]
    house.devices.enrol("gate", rotate=True)    # which an earlier question may have revoked
    given["headers"] = {**question.get("headers", {}), **given.get("headers", {})}
    return house.ask(route.method, given.pop("base", "") + url, **{**question, **given})


@pytest.fixture
def seen(house: House) -> House:
    """A collector that saw one person."""
    house.send(People().sighting(1, at=1990))
    house.settle()
    return house


@pytest.mark.parametrize("role", [*ROLES, "unheard-of"])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_route_answers_the_roles_that_the_table_names_and_refuses_the_others(
        seen: House, route: Route, role: str) -> None:
    seen.people.add("somebody", "viewer", "")
    if role in ROLES:
        here, there = seen.cookie(role), seen.cookie(role, secure=True)
    else:   # as by a newer version, or a hand in the file
        with seen.access.writing() as db:
            db.execute("INSERT INTO person VALUES ('some-unheard-of', ?, '', 0, 0)", (role,))
        here, there = seen.cookie(role), seen.cookie(role, secure=True)
    for answer in (ask(seen, route, headers=here),
                   ask(seen, route, headers=there, base=SECURE, client="192.0.2.7")):
        if allows(role, route.role):
            assert answer.status_code == 200, answer.text
        elif role not in ROLES:
            assert answer.status_code == 401
        else:
            assert answer.status_code == 403
            assert f"expected the role {route.role}" in answer.json()["error"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_nobody_logged_in_gets_nothing_once_somebody_is_enrolled(seen: House, route: Route) -> None:
    seen.people.add("somebody", "viewer", "")
    for given in ({}, {"base": SECURE, "client": "192.0.2.7"}, {"headers": {"Cookie": "cmnas-session-8700=cmnas_x"}}):
        assert ask(seen, route, **given).status_code == 401


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_where_nobody_is_enrolled_this_machine_may_look_and_change_nothing(seen: House, route: Route) -> None:
    answer = ask(seen, route)
    if route.changes or route.role in ("admin", "privacy"):
        assert answer.status_code == 403
        assert "person add NAME" in answer.json()["error"]
    else:
        assert answer.status_code == 200


def test_every_path_that_is_served_is_a_route_of_the_table_or_asks_for_a_log_in_or_is_open_by_name(
        house: House) -> None:
    house.people.add("somebody", "viewer", "")
    listed = {(route.method, route.path) for route in ROUTES}
    served = [(method, route.path) for route in house.app.routes for method in route.methods]  # type: ignore[attr-defined]
    assert listed < set(served)
    for method, path in served:
        if (method, path) in listed or path in OPEN:
            continue
        if (method, path) == guard.DEVICES:
            assert house.ask(method, path).status_code == 401
            continue
        assert house.ask(method, path).status_code == 401, (method, path)
    for path in ("/nothing", "/v1/", "/log-in/a/b", "/log-in/../v1/health", "/log-in%2f..%2fopenapi.json", "//"):
        assert house.ask("GET", path).status_code == 401, path


def test_a_route_that_changes_something_takes_the_name_of_who_does_and_is_noted() -> None:
    for route in ROUTES:
        if route.changes:
            assert route.audit is not None, route.name
            assert "person" in getattr(Api, route.name).__annotations__, route.name
        assert route.method == "GET" or route.audit is not None, route.name
    assert Route("POST", "/v1/x", "x", views.Nothing, views.Nothing, "viewer").changes
    assert Route("DELETE", "/v1/x", "x", views.Nothing, views.Nothing, "viewer").changes


def test_a_file_of_people_that_cannot_be_read_lets_nobody_in(house: House, tmp_path: Path) -> None:
    cookie = house.cookie("admin")
    assert house.ask("GET", "/v1/health", headers=cookie).status_code == 200
    with house.access.writing() as db:
        db.execute("DROP TABLE person")
    for headers in (cookie, {}):
        answer = house.ask("GET", "/v1/health", headers=headers)
        assert answer.status_code == 503
        assert "nobody is let in" in answer.json()["error"]
