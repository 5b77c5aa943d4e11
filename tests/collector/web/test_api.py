"""The API answers what its document says, to this machine only, and never shows a vector."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cmnas_edge.collector.receiving import receive
from cmnas_edge.collector.web.document import openapi
from cmnas_edge.collector.web.exports import Table
from cmnas_edge.collector.web.routes import ROUTES
from cmnas_edge.sighting import Gap
from tests.collector.house import House
from tests.collector.people import DIMENSION, FINGERPRINT, SPOOL, People

people = People()


@pytest.fixture
def lived_in(house: House) -> House:
    """Three people before three cameras, one of them infrared, and a gap."""
    house.send(*[people.sighting(person, at=1000.0 + 30 * visit + 5 * person, camera=camera, modality=modality)
                 for visit, (camera, modality) in enumerate([("north", "visible"), ("south", "infrared"),
                                                             ("east", "visible")])
                 for person in range(3)], Gap(SPOOL, 500, 509, 7))
    house.settle()
    return house


QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "session": ("/v1/session", {}),
    "health": ("/v1/health", {}), "cameras": ("/v1/cameras", {}), "sightings": ("/v1/sightings", {}),
    "identities": ("/v1/identities", {}), "identity": ("/v1/identities/1", {}),
    "suggestions": ("/v1/identities/1/suggestions", {}), "decisions": ("/v1/decisions", {}),
    "changes": ("/v1/changes", {}),
    "decide": ("/v1/decisions", {"json": {"kind": "confirm", "identities": [1], "reason": "I was there"}}),
    "site": ("/v1/site", {}), "calibration": ("/v1/calibration", {}),
    "moved": ("/v1/calibration/moved?pair=visible-visible&score=0.9", {}),
    "drift": ("/v1/calibration/drift", {}),
    "search": ("/v1/search", {"json": {"sighting": 1}}),
    "accounts": ("/v1/accounts", {}), "devices": ("/v1/devices", {}),
    "end_sessions": ("/v1/accounts/end-sessions", {"json": {"name": "somebody"}}),
    "revoke": ("/v1/devices/revoke", {"json": {"name": "gate"}}),
    "export": ("/v1/sightings.csv", {}), "audit_log": ("/v1/audit-log", {}),
    "receipts": ("/v1/erasures", {}),
    "erase": ("/v1/erasures", {"json": {"device": "nobody's", "reason": "a letter"}})}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_answer_is_what_the_document_says_it_is(lived_in: House, route: Any) -> None:
    url, given = QUESTIONS[route.name]
    lived_in.devices.enrol("gate", rotate=True)
    answer = lived_in.ask(route.method, url, headers=lived_in.cookie(route.role), **given)
    assert answer.status_code == 200
    if route.returns is Table:
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        return
    assert answer.headers["content-type"] == "application/json"
    said = msgspec.json.decode(answer.content, type=route.returns, strict=True)
    assert msgspec.json.decode(msgspec.json.encode(said)) == answer.json()      # and not a field more


def test_the_served_document_lists_exactly_the_routes_that_exist(lived_in: House) -> None:
    document = lived_in.ask("GET", "/openapi.json").json()
    assert document == msgspec.to_builtins(openapi())
    listed = {(method.upper(), path) for path, entry in document["paths"].items() for method in entry}
    served = {(method, route.path) for route in lived_in.app.routes for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
              if route.path.startswith(("/v1/", "/healthz"))}  # type: ignore[attr-defined]
    assert listed == served
    wanted = set(_refs(document))
    assert wanted <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_the_document_has_every_status_that_a_device_may_be_answered() -> None:
    code = ast.parse(inspect.getsource(receive))
    answered = {int(call.args[0].value) for call in ast.walk(code) if isinstance(call, ast.Call) and call.args
                and ast.unparse(call.func) in ("Answer", "_problem") and isinstance(call.args[0], ast.Constant)}
    assert {200, 409, 429} < answered, "it looks where they are"
    assert {str(status) for status in answered} == set(openapi()["paths"]["/v1/sightings"]["post"]["responses"])


def _refs(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [v for k, v in tree.items() if k == "$ref"] + [r for v in tree.values() for r in _refs(v)]
    return [r for v in tree for r in _refs(v)] if isinstance(tree, list) else []


def test_no_answer_holds_a_vector(lived_in: House) -> None:
    for route in ROUTES:
        url, given = QUESTIONS[route.name]
        text = lived_in.ask(route.method, url, headers=lived_in.cookie(route.role), **given).text
        assert "vector" not in text
        if route.returns is not Table:
            assert longest_row_of_numbers(msgspec.json.decode(text)) < DIMENSION


def longest_row_of_numbers(tree: Any) -> int:
    if isinstance(tree, dict):
        return max(map(longest_row_of_numbers, tree.values()), default=0)
    if isinstance(tree, list):
        return max(sum(isinstance(item, float) for item in tree), *map(longest_row_of_numbers, tree), 0)
    return 0


def test_sightings_can_be_followed_by_their_last_id_without_loss_or_repetition(lived_in: House) -> None:
    seen, since = [], 0
    while True:
        page = lived_in.ask("GET", f"/v1/sightings?since={since}&limit=4").json()
        seen += [s["id"] for s in page["sightings"]]
        since = page["last"]
        if not page["more"]:
            break
    assert seen == list(range(1, 10))
    newest = lived_in.ask("GET", "/v1/sightings?newest=true&limit=2").json()
    assert [s["id"] for s in newest["sightings"]] == [8, 9]
    infrared = lived_in.ask("GET", "/v1/sightings?modality=infrared").json()["sightings"]
    assert {s["camera"] for s in infrared} == {"south"}
    assert len(lived_in.ask("GET", "/v1/sightings?camera=gate/east").json()["sightings"]) == 3


def test_identities_tell_who_was_where_and_why_they_are_thought_one(lived_in: House) -> None:
    listed = lived_in.ask("GET", "/v1/identities").json()
    assert (listed["total"], listed["across"], listed["calibrated_on"]) == (3, 3, "drawn")
    one = lived_in.ask("GET", f"/v1/identities/{listed['identities'][0]['identity']}").json()
    assert one["identity"] == listed["identities"][0]
    assert [t["camera"] for t in one["identity"]["tracklets"]] == ["north", "south", "east"]
    assert [s["camera"] for s in one["sightings"]] == ["north", "south", "east"]
    joined = one["identity"]["tracklets"][1]
    assert joined["rule"] == "joined"
    assert joined["pair"] == "visible-infrared"
    assert joined["score"] >= joined["threshold"]    # what it needed here, with so few people about
    assert {t["bundle"] for t in one["identity"]["tracklets"]} == {FINGERPRINT.hex()}
    assert {s["fingerprint"] for s in one["sightings"]} == {FINGERPRINT.hex()}
    assert one["identity"]["modalities"] == ["visible", "infrared"]


def test_an_unchanged_list_is_not_sent_again(lived_in: House) -> None:
    tag = lived_in.ask("GET", "/v1/identities").headers["etag"]
    again = lived_in.ask("GET", "/v1/identities", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    said = [path for path, of in openapi()["paths"].items() for each in of.values() if "304" in each["responses"]]
    assert said == ["/v1/identities"]
    lived_in.send(people.sighting(1, at=2000))
    lived_in.settle()
    assert lived_in.ask("GET", "/v1/identities", headers={"If-None-Match": tag}).status_code == 200


def test_cameras_tell_when_they_were_heard_and_what_was_lost(lived_in: House) -> None:
    cameras = lived_in.ask("GET", "/v1/cameras").json()
    assert [(c["camera"], c["modality"], c["sighting_count"]) for c in cameras["cameras"]] == [
        ("east", "visible", 3), ("north", "visible", 3), ("south", "infrared", 3)]
    assert {c["lost_count"] for c in cameras["cameras"]} == {7}
    assert [(g["first"], g["last"], g["count"]) for g in cameras["gaps"]] == [(500, 509, 7)]
    assert cameras["cameras"][1]["lag_s"] == 2000.0 - 1012.0
    assert {c["state"] for c in cameras["cameras"]} == {"live"}
    lived_in.now += 3600
    assert {c["state"] for c in lived_in.ask("GET", "/v1/cameras").json()["cameras"]} == {"quiet"}


def test_losses_are_listed_so_far_and_counted_all_and_leave_with_the_window(house: House) -> None:
    for start in range(0, 320, 16):
        house.send(*[Gap(SPOOL, 10 * n + 1, 10 * n + 5, 2) for n in range(start, start + 16)])
    house.send(people.sighting(1, at=1990))
    house.settle()
    said = house.ask("GET", "/v1/cameras").json()
    assert [g["first"] for g in said["gaps"]] == [10 * n + 1 for n in range(64, 320)]
    assert said["cameras"][0]["lost_count"] == 640
    house.now += 3601
    house.settle()
    house.settle()
    assert house.ask("GET", "/v1/cameras").json() == {"cameras": [], "gaps": [], "now": house.now}


def test_footage_recorded_long_ago_has_no_lag(house: House) -> None:
    house.now = 1e9
    house.send(people.sighting(1, at=1000))
    house.settle()
    (camera,) = house.ask("GET", "/v1/cameras").json()["cameras"]
    assert (camera["lag_s"], camera["recorded"]) == (None, True)


def test_a_search_finds_the_same_person_across_modalities_first(lived_in: House) -> None:
    found = lived_in.ask("POST", "/v1/search", json={"sighting": 1, "k": 3}).json()["matches"]
    assert [m["sighting"]["identity"] for m in found[:2]] == [1, 1]
    assert [m["above"] for m in found] == [True, True, False]
    assert {m["pair"] for m in found[:2]} == {"visible-visible", "visible-infrared"}
    others = lived_in.ask("POST", "/v1/search", json={"sighting": 1, "other_identities": True}).json()["matches"]
    assert len(others) == 6
    assert 1 not in {m["sighting"]["identity"] for m in others}
    vector = people.vector(2, "infrared").tolist()
    by_vector = {"vector": vector, "vector_modality": "infrared", "modality": "visible", "cameras": ["east"]}
    (best, *_) = lived_in.ask("POST", "/v1/search", json=by_vector).json()["matches"]
    assert (best["sighting"]["camera"], best["sighting"]["identity"], best["above"]) == ("east", 3, True)
    late = lived_in.ask("POST", "/v1/search", json={"sighting": 1, "seen_from": 1060.0}).json()["matches"]
    assert {m["sighting"]["camera"] for m in late} == {"east"}


@pytest.mark.parametrize(("method", "url", "given", "status"), [
    ("GET", "/v1/sightings?limit=0", {}, 400), ("GET", "/v1/sightings?limt=5", {}, 400),
    ("GET", "/v1/sightings?since=x", {}, 400), ("GET", "/v1/identities/0", {}, 400),
    ("GET", "/v1/identities/999", {}, 404), ("GET", "/v1/nothing", {}, 404),
    ("POST", "/v1/search", {"json": {}}, 400), ("POST", "/v1/search", {"json": {"sighting": 999}}, 404),
    ("POST", "/v1/search", {"json": {"vector": [1.0]}}, 400),
    ("POST", "/v1/search", {"json": {"vector": [0.0] * DIMENSION}}, 400),
    ("POST", "/v1/search", {"json": {"sighting": 1, "vector": [1.0] * DIMENSION}}, 400),
    ("POST", "/v1/search", {"json": {"vector": [1e-200] * DIMENSION}}, 400),
    ("POST", "/v1/search", {"json": {"vector": [1.0] * DIMENSION, "transform": 2**64}}, 400),
    ("POST", "/v1/search", {"json": {"vector": [1.0] * DIMENSION, "transform": 2**64 - 1}}, 200),
    ("POST", "/v1/search", {"json": {"vector": [1.0] * DIMENSION, "exclude": [2**64]}}, 400),
    ("POST", "/v1/search", {"json": {"sighting": 2**70}}, 400),
    ("POST", "/v1/search", {"json": {"sighting": 1, "k": 1000}}, 400),
    ("POST", "/v1/search", {"content": b'{"sighting": 1}'}, 400),
    ("POST", "/v1/search", {"content": b"\xff", "headers": {"Content-Type": "application/json"}}, 400),
    ("POST", "/v1/search", {"content": bytes(300_000), "headers": {"Content-Type": "application/json"}}, 400),
    ("DELETE", "/v1/sightings", {}, 405)])
def test_a_question_that_makes_no_sense_is_answered_in_one_sentence(
        lived_in: House, method: str, url: str, given: dict[str, Any], status: int) -> None:
    answer = lived_in.ask(method, url, **given)
    assert answer.status_code == status
    if status != 200 and answer.headers["content-type"] == "application/json":
        assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("url", ["/", "/people.js", "/v1/health", "/v1/sightings", "/openapi.json", "/nothing"])
def test_pages_and_read_api_answer_on_this_machine_only(house: House, url: str) -> None:
    for client in ("192.0.2.7", "10.0.0.1", "2001:db8::1", "testclient"):
        refused = house.ask("GET", url, client=client)
        assert refused.status_code == 403
        assert "own machine" in refused.json()["error"]
        assert house.ask("GET", f"https://collector.example:8700{url}", client=client).status_code == 403
    for client in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert house.ask("GET", url, client=client).status_code != 403
    assert house.ask("GET", url, headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403
    for host in ("evil.example:8700", "localhost.evil.example", "[2001:db8::1]:8700", "127.0.0.1.evil.example", "",
                 "[::1].evil.example", "localhost..", "evil:1:localhost"):
        assert house.ask("GET", url, headers={"Host": host}).status_code == 403, host
    for host in ("localhost:8700", "LOCALHOST", "localhost.:8700", "[::1]", "[::1]:8700", "127.0.0.1"):
        assert house.ask("GET", url, headers={"Host": host}).status_code != 403, host


def test_a_list_of_devices_that_cannot_be_used_is_said_by_health(house: House, tmp_path: Path) -> None:
    house.token()
    path = tmp_path / "data" / "devices.json"
    assert house.ask("GET", "/v1/health").json()["status"] == "ok"
    path.chmod(0o644)
    answer = house.ask("GET", "/v1/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "refusing")
    assert "chmod 600" in answer.json()["message"]
    path.chmod(0o600)
    assert house.ask("GET", "/v1/health").json()["status"] == "ok"


def test_the_page_loads_nothing_from_elsewhere(house: House) -> None:
    for url in ("/", "/site", "/dashboard.css", "/people.js", "/lanes.js", "/icon.svg"):
        answer = house.ask("GET", url)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        for sign in ("https://", "//cdn", "@import", "http://"):
            assert sign not in answer.text.replace("http://www.w3.org/2000/svg", "")


def test_a_bundle_that_is_no_fingerprint_is_refused_in_words_and_not_by_a_pattern(lived_in: House) -> None:
    refused = lived_in.ask("POST", "/v1/search", json={"vector": [1.0] * DIMENSION, "bundle": "the new one"})
    assert refused.status_code == 400
    assert refused.json() == {
        "error": "search: expected up to 64 hexadecimal digits, found 'the new one' at bundle; correct it"}
