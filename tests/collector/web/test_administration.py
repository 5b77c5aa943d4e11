"""An admin sees who is logged in and which devices send, and ends either at once; nobody else does."""

from __future__ import annotations

from pathlib import Path

from cmnas_edge.collector.access.throttle import LANES
from tests.collector.house import House

ROOT = Path(__file__).resolve().parents[3]


def test_an_admin_logs_somebody_out_everywhere_and_nobody_else(house: House) -> None:
    admin, desk, phone, other = (house.cookie(role) for role in ("admin", "operator", "operator", "viewer"))
    link = house.sessions.link("some-operator")

    def counts() -> dict[str, int]:
        listed = house.ask("GET", "/v1/accounts", headers=admin).json()["accounts"]
        return {one["name"]: one["session_count"] for one in listed}

    assert counts() == {"some-admin": 1, "some-operator": 2, "some-viewer": 1, "somebody": 0}
    ended = house.ask("POST", "/v1/accounts/end-sessions", headers=admin,
                      json={"name": "Some-Operator", "reason": "left the desk"})
    assert (ended.status_code, ended.json()) == (200, {"count": 2})
    assert [house.ask("GET", "/v1/health", headers=each).status_code for each in (admin, desk, phone, other)] == [
        200, 401, 401, 200]
    assert house.ask("GET", f"/log-in/{link}").status_code == 410
    assert counts() == {"some-admin": 1, "some-operator": 0, "some-viewer": 1, "somebody": 0}
    entry = house.audit_log.page()[0]
    assert (entry.kind, entry.who, entry.reason) == ("people", "some-admin", "left the desk")
    assert entry.asked == {"route": "end_sessions", "name": "Some-Operator"}
    nobody = house.ask("POST", "/v1/accounts/end-sessions", headers=admin, json={"name": "nobody"})
    assert nobody.status_code == 404
    house.now += 7201
    assert house.sessions.counts() == {}, "those that are over are not counted"


def test_no_answer_tells_a_password_or_a_token(house: House) -> None:
    kept = house.passwords.hash("correct horse battery")
    house.people.add("anna", "viewer", kept)
    token, admin = house.token(), house.cookie("admin")
    for url in ("/v1/accounts", "/v1/devices", "/v1/session"):
        text = house.ask("GET", url, headers=admin).text
        for secret in (kept, "argon2", token, "sha256", admin["Cookie"].partition("=")[2]):
            assert secret not in text


def test_an_admin_takes_a_device_out_and_its_next_batch_is_refused(house: House) -> None:
    admin, token = house.cookie("admin"), house.token("gate")
    house.token("yard")
    assert [one["name"] for one in house.ask("GET", "/v1/devices", headers=admin).json()["devices"]] == ["gate", "yard"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert house.ask("POST", "/v1/sightings", content=b"", headers=bearer).status_code != 401
    assert house.ask("POST", "/v1/devices/revoke", headers=admin, json={"name": "gate"}).json() == {"count": 1}
    assert house.ask("POST", "/v1/sightings", content=b"", headers=bearer).status_code == 401
    assert house.ask("POST", "/v1/devices/revoke", headers=admin, json={"name": "gate"}).status_code == 404
    assert house.audit_log.page()[0].kind == "devices"
    (house.folder / "devices.json").chmod(0o644)
    assert house.ask("POST", "/v1/devices/revoke", headers=admin, json={"name": "yard"}).status_code == 503


def test_the_document_says_how_often_a_password_may_be_tried() -> None:
    text = (ROOT / "docs" / "people.md").read_text("utf-8")
    assert {"name": (5, 60.0), "address": (20, 20.0)}.items() <= LANES.items()
    assert "5 tries a name and 20 an address, then one a minute, one every 20 s" in text
