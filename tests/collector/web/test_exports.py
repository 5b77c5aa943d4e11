"""What is taken away, and what is noted of questions: all of it but vectors, with who asked and why."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cmnas_edge.collector.web.exports import COLUMNS, safe
from tests.collector.house import House
from tests.collector.people import DIMENSION, People

people = People()


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[House]:
    """A collector where exports and searches need a reason, and which saw three people before two cameras."""
    house = House(tmp_path / "data", reasons=("search", "export"))
    house.send(*[people.sighting(person, at=1000.0 + 30 * visit + 5 * person, camera=camera, modality=modality)
                 for visit, (camera, modality) in enumerate([("north", "visible"), ("south", "infrared")])
                 for person in range(3)])
    house.settle()
    yield house
    house.close()


def rows(house: House, query: str) -> list[dict[str, str]]:
    answer = house.ask("GET", f"/v1/sightings.csv?reason=a+request&{query}", headers=house.cookie("privacy"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == 'attachment; filename="sightings.csv"'
    assert answer.text.count("\r\n") == answer.text.count("\n")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_an_export_has_every_sighting_that_fits_and_how_it_came_to_its_identity_and_no_vector(asked: House) -> None:
    found = rows(asked, "")
    said = {each["id"]: each for each in asked.ask(
        "GET", "/v1/sightings?limit=1000", headers=asked.cookie("viewer")).json()["sightings"]}
    assert [int(row["id"]) for row in found] == sorted(said) == [1, 2, 3, 4, 5, 6]
    assert tuple(found[0]) == COLUMNS
    assert set(COLUMNS) <= set(next(iter(said.values()))), "and none that the API does not say"
    for row in found:
        one = said[int(row["id"])]
        assert (row["camera"], row["modality"], int(row["identity"]), row["rule"]) == (
            one["camera"], one["modality"], one["identity"], one["rule"])
        assert row["score"] == ("" if one["score"] is None else str(one["score"]))
    assert found[0]["seen_at"].startswith("1970-01-01T00:16:")
    assert found[0]["seen_at"].endswith("+00:00")
    assert {row["camera"] for row in rows(asked, "modality=infrared")} == {"south"}
    assert {row["identity"] for row in rows(asked, "identity=2")} == {"2"}
    assert len(rows(asked, "camera=gate/north")) == 3
    assert len(rows(asked, "seen_from=1030")) == 3
    assert rows(asked, "identity=99") == []


@given(st.text())
def test_no_cell_is_a_formula(text: str) -> None:
    cell = safe(text)
    assert cell.removeprefix("'") == text or cell == text
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_who_asked_what_and_why_is_noted_and_never_a_vector(asked: House) -> None:
    operator = asked.cookie("operator")
    vector = people.vector(2, "infrared").tolist()
    for question in ({"vector": vector, "vector_modality": "infrared", "k": 3, "reason": " a theft,\n21:40 "},
                     {"sighting": 1, "cameras": ["north"], "reason": "again"}):
        assert asked.ask("POST", "/v1/search", json=question, headers=operator).status_code == 200
    rows(asked, "camera=north")
    told = asked.ask("GET", "/v1/audit-log?limit=4", headers=asked.cookie("privacy")).json()["entries"]
    assert [(e["kind"], e["who"], e["role"], e["reason"], e["origin"]) for e in told] == [
        ("audit log", "some-privacy", "privacy", "", "127.0.0.1"),
        ("export", "some-privacy", "privacy", "a request", "127.0.0.1"),
        ("search", "some-operator", "operator", "again", "127.0.0.1"),
        ("search", "some-operator", "operator", "a theft, 21:40", "127.0.0.1")]
    assert told[1]["asked"] == {"route": "export", "camera": "north"}
    assert told[2]["asked"] == {"route": "search", "sighting": 1, "cameras": ["north"]}
    assert told[3]["asked"] == {"route": "search", "vector": f"of {DIMENSION} entries", "vector_modality": "infrared",
                                "k": 3}
    kept = (asked.folder / "audit.log").read_text()
    assert not [entry for entry in vector if f"{entry:.6f}"[:8] in kept]
    older = asked.ask("GET", f"/v1/audit-log?before={told[3]['number']}", headers=asked.cookie("privacy")).json()
    assert all(e["number"] < told[3]["number"] for e in older["entries"])
    assert asked.audit_log.check().faults == []


@pytest.mark.parametrize("reason", [None, "", "  \n "])
def test_a_question_that_needs_a_reason_is_refused_without_one_and_not_noted(asked: House, reason: Any) -> None:
    question = {"sighting": 1, **({} if reason is None else {"reason": reason})}
    answer = asked.ask("POST", "/v1/search", json=question, headers=asked.cookie("operator"))
    assert (answer.status_code, answer.json()["error"]) == (400, "search: expected a reason, found none; say why")
    assert asked.ask("GET", "/v1/sightings.csv", headers=asked.cookie("privacy")).status_code == 400
    assert asked.audit_log.page() == []
    assert asked.ask("GET", "/v1/session", headers=asked.cookie("viewer")).json()["reasons"] == ["export", "search"]


def test_where_reasons_are_not_asked_for_a_search_without_one_is_answered_and_noted(house: House) -> None:
    house.send(people.sighting(1, at=1000))
    house.settle()
    assert house.ask("POST", "/v1/search", json={"sighting": 1}).status_code == 200
    (entry,) = house.audit_log.page()
    assert (entry.kind, entry.who, entry.origin, entry.reason) == ("search", "", "127.0.0.1", "")


def test_what_cannot_be_noted_is_not_answered(asked: House) -> None:
    inside, officer = asked.cookie("operator"), asked.cookie("privacy")
    (asked.folder / "audit.log").mkdir()
    for method, url, headers, body in (
            ("POST", "/v1/search", inside, {"json": {"sighting": 1, "reason": "x"}}),
            ("GET", "/v1/sightings.csv?reason=x", officer, {}), ("GET", "/v1/audit-log", officer, {})):
        answer = asked.ask(method, url, headers=headers, **body)
        assert answer.status_code == 503
        assert "nothing was done" in answer.json()["error"]
    asked.people.add("anna", "operator", asked.passwords.hash("a long password"))
    entered = asked.ask("POST", "/log-in", data={"name": "anna", "password": "a long password"})
    assert (entered.status_code, entered.headers.get("set-cookie")) == (503, None)
    assert asked.ask("GET", f"/log-in/{asked.sessions.link('anna')}").status_code == 503
