"""Who else somebody may be is a search: for those who may search, and noted like one."""

from __future__ import annotations

from pathlib import Path

from tests.collector.house import House
from tests.collector.people import People

URL = "/v1/identities/1/suggestions"


def seen(house: House) -> None:
    """One person, and another."""
    people = People()
    house.send(people.sighting(1, at=1000), people.sighting(2, at=1100, camera="south"))
    house.settle()


def test_who_asks_who_else_somebody_may_be_is_noted_before_the_answer(house: House) -> None:
    seen(house)
    answer = house.ask("GET", URL, headers=house.cookie("operator"))
    assert answer.status_code == 200
    (entry,) = [each for each in house.audit_log.page(limit=9) if each.kind == "search"]
    assert (entry.who, entry.role) == ("some-operator", "operator")
    assert entry.asked == {"route": "suggestions", "identity": 1}


def test_a_viewer_is_not_told_and_the_refusal_says_whom_to_ask(house: House) -> None:
    seen(house)
    answer = house.ask("GET", URL, headers=house.cookie("viewer"))
    assert (answer.status_code, answer.json()["error"]) == (
        403, "suggestions: expected the role operator, found viewer; ask an admin of this collector")
    assert house.ask("GET", "/v1/identities/1", headers=house.cookie("viewer")).status_code == 200


def test_where_searches_need_a_reason_so_does_this(tmp_path: Path) -> None:
    house = House(tmp_path / "data", reasons=("search",))
    seen(house)
    operator = house.cookie("operator")
    refused = house.ask("GET", URL, headers=operator)
    assert (refused.status_code, refused.json()["error"]) == (
        400, "suggestions: expected a reason, found none; say why")
    assert house.ask("GET", f"{URL}?reason=a+lost+child", headers=operator).status_code == 200
    assert house.audit_log.page(limit=1)[0].reason == "a lost child"
    house.close()
