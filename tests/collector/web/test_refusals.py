"""What the API does not answer it refuses in one sentence: where, what was expected, what was found, what to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.collector.house import House
from tests.collector.people import DIMENSION

JSON = {"Content-Type": "application/json"}
NO_JSON = "search: expected JSON, found something else ({}); correct it"
ONES = [1.0] * DIMENSION


@pytest.mark.parametrize(("url", "said"), [
    ("sightings?limit=0", "sightings: expected a whole number >= 1, found '0' at limit; correct it"),
    ("sightings?limit=1e99", "sightings: expected a whole number, found '1e99' at limit; correct it"),
    ("sightings?limt=5", "sightings: unknown key 'limt'; did you mean 'limit'?"),
    ("sightings?since=x", "sightings: expected a whole number, found 'x' at since; correct it"),
    ("sightings?since=`", "sightings: expected a whole number, found '`' at since; correct it"),
    ("sightings?newest=perhaps", "sightings: expected true or false, found 'perhaps' at newest; correct it"),
    ("sightings?modality=infared",
     "sightings: expected visible or infrared at modality, found 'infared'; did you mean 'infrared'?"),
    ("identities/seven", "identity: expected a whole number, found 'seven' at identity; correct it"),
    ("health?now=1", "health: unknown key 'now'; none is known here"),
    ("calibration/moved", "moved: expected the key 'pair', found none; correct it"),
    ("calibration/moved?pair=visible-visible&score=7",
     "moved: expected a number <= 1.0, found '7' at score; correct it")])
def test_a_question_in_the_address_is_refused_by_what_stands_there(house: House, url: str, said: str) -> None:
    answer = house.ask("GET", f"/v1/{url}", headers=house.cookie("operator"))
    assert (answer.status_code, answer.json()) == (400, {"error": said})


@pytest.mark.parametrize(("route", "asked", "said"), [
    ("decisions", {}, "decide: expected the key 'kind', found none; correct it"),
    ("decisions", [], "decide: expected an object, found a list; correct it"),
    ("decisions", {"kind": "conform", "reason": "r"},
     "decide: expected confirm, split, merge, undo or cannot_link at kind, found 'conform'; did you mean 'confirm'?"),
    ("decisions", {"kind": None, "reason": "r"},
     "decide: expected confirm, split, merge, undo or cannot_link at kind, found nothing; correct it"),
    ("decisions", {"kind": "confirm", "reason": ""},
     "decide: expected text of length >= 1, found 0 at reason; correct it"),
    ("decisions", {"kind": "confirm", "reason": "r", "identities": "7"},
     "decide: expected a list, found text at identities; correct it"),
    ("decisions", {"kind": "confirm", "reason": "r", "identities": [1, "7"]},
     "decide: expected a whole number, found text at identities[1]; correct it"),
    ("decisions", {"kind": "confirm", "reason": "r", "identities": [1] * 60},
     "decide: expected a list of length <= 50, found 60 at identities; correct it"),
    ("search", {"sighting": "7"}, "search: expected a whole number, found text at sighting; correct it"),
    ("search", {"sighting": True}, "search: expected a whole number, found true or false at sighting; correct it"),
    ("search", {"vector": [1, 9]}, "search: expected a number <= 2.0, found 9 at vector[1]; correct it"),
    ("search", {"sighting": 1, "seen_frm": 1}, "search: unknown key 'seen_frm'; did you mean 'seen_from'?"),
    ("search", {}, "search: expected either sighting or vector, found neither; give one of them"),
    ("search", {"sighting": 1, "vector": ONES},
     "search: expected either sighting or vector, found both; give one of them")])
def test_a_body_is_refused_by_what_stands_in_it(house: House, route: str, asked: object, said: str) -> None:
    answer = house.ask("POST", f"/v1/{route}", headers=house.cookie("operator"), json=asked)
    assert (answer.status_code, answer.json()) == (400, {"error": said})


@pytest.mark.parametrize(("body", "headers", "said"), [
    (b'{"sighting": 1}', {}, "search: expected content-type application/json, found none; send JSON, and say so"),
    (b"{}", {"Content-Type": "text/plain"},
     "search: expected content-type application/json, found 'text/plain'; send JSON, and say so"),
    (b"{", JSON, NO_JSON.format("Input data was truncated")),
    (b"\xff", JSON, NO_JSON.format("JSON is malformed: invalid character (byte 0)")),
    (b'{"vector": ["a", ' + b"[" * 100_000, JSON,
     "search: expected JSON, found brackets nested without end; remove them"),
    (b'{"sighting": -1, ', JSON, NO_JSON.format("Input data was truncated")),
    (bytes(300_000), JSON, "search: expected at most 262144 bytes, found more; ask for less at once")])
def test_what_is_no_question_at_all_is_refused_as_that(
        house: House, body: bytes, headers: dict[str, str], said: str) -> None:
    answer = house.ask("POST", "/v1/search", headers={**house.cookie("operator"), **headers}, content=body)
    assert (answer.status_code, answer.json()) == (400, {"error": said})


@pytest.mark.parametrize(("method", "url", "status", "said", "allowed"), [
    ("GET", "/v1/sites", 404,
     "collector: expected a page or a path of the API, found '/v1/sites'; look it up in /openapi.json", None),
    ("DELETE", "/v1/sightings", 405, "collector: expected GET or POST here, found DELETE; look it up in /openapi.json",
     "GET, POST"),
    ("POST", "/site", 405, "collector: expected GET here, found POST; look it up in /openapi.json", "GET"),
    ("GET", "/v1/identities/9", 404,
     "identity: expected one of the hot window, found none of number 9; it may be part of another by now", None)])
def test_what_is_not_there_is_said_to_be_nowhere_or_to_be_asked_otherwise(
        house: House, method: str, url: str, status: int, said: str, allowed: Any) -> None:
    answer = house.ask(method, url, headers=house.cookie("operator"))
    assert (answer.status_code, answer.json()) == (status, {"error": said})
    assert answer.headers.get("allow") == allowed
