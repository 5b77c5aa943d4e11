"""People log in with a password or a link, stay so for a while, and nobody else does in their name."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from cmnas_edge.collector.access.throttle import LANES
from tests.collector.house import House

SECURE = "https://collector.example:8700"
PASSWORD = "correct horse & battery=staple"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def staffed(house: House) -> House:
    """A collector with two people."""
    house.people.add("anna", "operator", house.passwords.hash(PASSWORD))
    house.people.add("bo", "privacy", house.passwords.hash("another long one"))
    return house


def enter(house: House, name: str = "anna", password: str = PASSWORD, *, base: str = "", client: str = "127.0.0.1",
          **headers: str) -> httpx.Response:
    form = {"name": name, "password": password}
    return house.ask("POST", f"{base}/log-in", data=form, headers=headers, client=client)


def jar(answer: httpx.Response) -> dict[str, Any]:
    found: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        found.load(line)
    return dict(found)


def cookie(answer: httpx.Response, only: str = "") -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={one.value}" for name, one in jar(answer).items() if only in name)}


def health(house: House, headers: dict[str, str], **given: Any) -> int:
    return house.ask("GET", given.pop("base", "") + "/v1/health", headers=headers, **given).status_code


def test_a_right_password_opens_a_session_and_logging_out_ends_it(staffed: House) -> None:
    answer = enter(staffed)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    inside = cookie(answer)
    said = staffed.ask("GET", "/v1/session", headers=inside).json()
    assert (said["name"], said["role"]) == ("anna", "operator")
    assert {"search", "health"} <= set(said["may"])
    assert staffed.ask("GET", "/log-in", headers=inside).headers["location"] == "/"
    out = staffed.ask("POST", "/log-out", headers=inside)
    assert (out.status_code, out.headers["location"]) == (303, "/log-in")
    assert jar(out)["cmnas-session-8700"]["max-age"] == "0"
    assert health(staffed, inside) == 401


def test_cookies_are_kept_from_scripts_from_other_sites_and_from_plain_http(staffed: House) -> None:
    for base, client, name in (("", "127.0.0.1", "cmnas-session-8700"),
                               (SECURE, "192.0.2.7", "__Host-cmnas-session-8700")):
        found = jar(enter(staffed, base=base, client=client))
        for one in found.values():
            assert one["httponly"]
            assert (one["samesite"], one["path"], one["domain"]) == ("strict", "/", "")
            assert bool(one["secure"]) == bool(base)
        assert found[name]["max-age"] == ""     # gone with the browser
        assert len(found[name].value) >= 43


def test_other_machines_log_in_over_tls_and_never_over_plain_http(staffed: House) -> None:
    inside = cookie(enter(staffed, base=SECURE, client="192.0.2.7"))
    assert health(staffed, inside, base=SECURE, client="192.0.2.7") == 200
    refused = enter(staffed, base="http://collector.example:8700", client="192.0.2.7")
    assert (refused.status_code, refused.headers.get("set-cookie")) == (403, None)
    assert "TLS" in refused.json()["error"]
    here = cookie(enter(staffed))
    assert health(staffed, here, base="http://collector.example:8700", client="192.0.2.7") == 403
    proxied = enter(staffed, base=SECURE, client="192.0.2.7", **{"X-Forwarded-For": "127.0.0.1"})
    assert "proxy" in proxied.json()["error"]


@pytest.mark.parametrize(("name", "password"), [
    ("anna", "wrong horse battery"), ("nobody", PASSWORD), ("anna", "another long one"), ("bo", PASSWORD),
    ("x' OR 1=1 --", PASSWORD), ("anna\x00", PASSWORD), ("../anna", PASSWORD), ("ä" * 300, PASSWORD)])
def test_a_wrong_name_and_a_wrong_password_are_answered_alike(staffed: House, name: str, password: str) -> None:
    answer = enter(staffed, name, password)
    assert (answer.status_code, answer.headers.get("set-cookie")) == (401, None)
    assert "Name or password is wrong." in answer.text


def test_nobody_logs_in_with_an_empty_password_or_as_somebody_without_one(staffed: House) -> None:
    staffed.people.add("demo", "operator", "")
    assert enter(staffed, "demo", "").status_code == 400
    assert enter(staffed, "demo", "x").status_code == 401
    assert enter(staffed, "demo", "nobody's").status_code == 401


def test_a_name_is_shown_again_as_text_and_never_as_markup(staffed: House) -> None:
    for name in ('"><script>alert(1)</script>', "{{notice}}", "{{focus_password}}", "'\"<b>&"):
        answer = enter(staffed, name, "x" * 20)
        assert "<script>" not in answer.text
        assert "<b>" not in answer.text
        assert answer.text.count("Name or password is wrong.") == 1
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_session_is_always_a_new_one_and_ends_the_one_before(staffed: House) -> None:
    planted = {"Cookie": "cmnas-session-8700=cmnas_" + "x" * 43}
    first = enter(staffed, **planted)
    assert jar(first)["cmnas-session-8700"].value != "cmnas_" + "x" * 43
    assert health(staffed, planted) == 401
    second = enter(staffed, **cookie(first))
    assert health(staffed, cookie(second)) == 200
    assert health(staffed, cookie(first)) == 401


def test_a_session_ends_when_unused_and_in_any_case_after_a_while(staffed: House) -> None:
    inside = cookie(enter(staffed))
    staffed.now += 7199
    assert health(staffed, inside) == 200
    staffed.now += 7199
    assert health(staffed, inside) == 200       # used meanwhile
    staffed.now += 7201
    assert health(staffed, inside) == 401
    inside, began = cookie(enter(staffed)), staffed.now
    while staffed.now < began + 43_000:
        assert health(staffed, inside) == 200
        staffed.now += 1000
    staffed.now = began + 43_201
    assert health(staffed, inside) == 401


def test_a_clock_that_is_set_back_ends_sessions_and_lengthens_none(staffed: House) -> None:
    inside = cookie(enter(staffed))
    staffed.now -= 3600
    assert health(staffed, inside) == 401


@pytest.mark.parametrize("change", ["password", "role", "remove"])
def test_a_change_of_a_person_ends_all_their_sessions_at_once_and_nobody_elses(staffed: House, change: str) -> None:
    desk, phone, other = (cookie(enter(staffed, name, password)) for name, password in
                          (("anna", PASSWORD), ("ANNA", PASSWORD), ("bo", "another long one")))
    link = staffed.sessions.link("anna")
    if change == "password":
        staffed.people.set_password("Anna", staffed.passwords.hash("a new long one"))
    elif change == "role":
        staffed.people.set_role("anna", "viewer")
    else:
        staffed.people.remove("anna")
    assert [health(staffed, each) for each in (desk, phone, other)] == [401, 401, 200]
    assert staffed.ask("GET", f"/log-in/{link}").status_code == 410
    assert enter(staffed).status_code == (303 if change == "role" else 401)


def test_a_password_changed_while_it_is_checked_opens_nothing(staffed: House) -> None:
    found = staffed.people.find("anna")
    assert found is not None
    staffed.now += 1
    staffed.people.set_password("anna", staffed.passwords.hash("a new long one"))
    assert staffed.sessions.caller(staffed.sessions.open("anna", found[0].changed_at)) is None


def test_a_link_lets_somebody_in_once_and_not_for_long(staffed: House) -> None:
    link = staffed.sessions.link("anna")
    for request in ({"method": "HEAD"}, {"method": "GET", "headers": {"Sec-Purpose": "prefetch;prerender"}}):
        looked = staffed.ask(request.pop("method"), f"/log-in/{link}", **request)  # type: ignore[arg-type]
        assert (looked.status_code, looked.headers.get("set-cookie")) == (204, None)
    answer = staffed.ask("GET", f"/log-in/{link}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert staffed.ask("GET", "/v1/session", headers=cookie(answer)).json()["name"] == "anna"
    again = staffed.ask("GET", f"/log-in/{link}")
    assert (again.status_code, again.headers.get("set-cookie")) == (410, None)
    late = staffed.sessions.link("anna")
    staffed.now += 601
    assert staffed.ask("GET", f"/log-in/{late}").status_code == 410
    assert staffed.sessions.take_link(staffed.sessions.link("nobody")) is None


def test_guessing_is_made_slow_and_a_stranger_keeps_nobody_out_of_a_browser_they_know(staffed: House) -> None:
    known = cookie(enter(staffed), "browser")
    for _ in range(LANES["name"][0]):
        assert enter(staffed, password="wrong", base=SECURE, client="192.0.2.66").status_code == 401
    slowed = enter(staffed, base=SECURE, client="192.0.2.66")
    assert (slowed.status_code, slowed.headers["retry-after"]) == (429, "61")
    assert "Too many tries" in slowed.text
    assert enter(staffed).status_code == 429, "not from a browser that is new, the right password or not"
    assert enter(staffed, **known).status_code == 303, "but from one that is known"
    assert enter(staffed, "bo", "another long one", **known).status_code == 303, "and others are not slowed"
    staffed.now += 61
    assert enter(staffed).status_code == 303, "nor for good"


def test_many_names_from_one_address_are_slowed_and_other_addresses_are_not(staffed: House) -> None:
    found = [enter(staffed, f"name{n}", "x" * 12, base=SECURE, client=f"2001:db8::{n:x}").status_code
             for n in range(LANES["address"][0] + 1)]
    assert set(found[:-1]) == {401}
    assert found[-1] == 429, "the addresses of one network are one"
    assert enter(staffed, base=SECURE, client="2001:db8:1::1").status_code == 303


def test_a_known_browser_is_known_for_its_own_person_only(staffed: House) -> None:
    known = cookie(enter(staffed), "browser")
    for _ in range(LANES["name"][0]):
        enter(staffed, "bo", "wrong", **known)
    assert enter(staffed, "bo", "another long one", **known).status_code == 429


@pytest.mark.parametrize(("headers", "allowed"), [
    ({}, True), ({"Origin": "http://127.0.0.1:8700"}, True), ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Origin": "http://127.0.0.1:8700", "Sec-Fetch-Site": "same-origin"}, True),
    ({"Origin": "http://127.0.0.1:9999"}, False), ({"Origin": "https://127.0.0.1:8700"}, False),
    ({"Origin": "null"}, False), ({"Origin": "http://evil.example"}, False), ({"Origin": "http://[::1"}, False),
    ({"Origin": "http://127.0.0.1:8700.evil.example"}, False),
    ({"Origin": "http://127.0.0.1:8700@evil.example"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False), ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "bogus"}, False), ({"Origin": "http://127.0.0.1:8700", "Sec-Fetch-Site": "same-site"}, False)])
def test_a_page_elsewhere_can_ask_nothing_in_somebodys_name(
        staffed: House, headers: dict[str, str], allowed: bool) -> None:
    inside = cookie(enter(staffed))
    entered = enter(staffed, **headers)
    assert (entered.status_code == 303) == allowed
    for method, url in (("POST", "/log-out"), ("POST", "/v1/search"), ("GET", "/v1/health")):
        status = staffed.ask(method, url, headers={**inside, **headers}).status_code
        assert (status == 403) != allowed
        if url == "/log-out" and allowed:
            inside = cookie(enter(staffed))


def test_a_link_from_another_site_brings_the_page_to_whoever_is_logged_in(staffed: House) -> None:
    """SameSite=Strict keeps the cookie back on the way here; the page asks once more, by itself."""
    bounced = staffed.ask("GET", "/", headers={**BROWSER, "Sec-Fetch-Site": "cross-site"})
    assert (bounced.status_code, 'http-equiv="refresh"' in bounced.text) == (200, True)
    then = staffed.ask("GET", "/", headers={**BROWSER, "Sec-Fetch-Site": "same-origin"})
    assert (then.status_code, then.headers["location"]) == (303, "/log-in")
    assert staffed.ask("GET", "/v1/health", headers={**BROWSER, "Sec-Fetch-Site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("given", [
    {"content": b"name=anna"}, {"json": {"name": "anna", "password": PASSWORD}}, {"content": b"\xff=\xff"},
    {"content": b"name=anna&password=" + b"x" * 10_000}, {"content": b"&a=b" * 50},
    {"files": {"name": b"anna", "password": PASSWORD.encode()}}])
def test_what_is_no_form_is_refused(staffed: House, given: dict[str, Any]) -> None:
    if "content" in given:
        given = {**given, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    answer = staffed.ask("POST", "/log-in", **given)
    assert (answer.status_code, answer.headers.get("set-cookie")) == (400, None)


def test_every_log_in_and_log_out_is_noted_and_no_password_ever(
        staffed: House, caplog: pytest.LogCaptureFixture) -> None:
    inside = cookie(enter(staffed))
    enter(staffed, password="wrong but mine")
    enter(staffed, name=PASSWORD)       # the password in the wrong field
    staffed.ask("POST", "/log-out", headers=inside)
    noted = staffed.audit_log.page()[::-1]
    assert [(e.kind, e.who, e.role, e.asked) for e in noted] == [
        ("log-in", "anna", "operator", {"by": "password"}), ("log-in refused", "anna", "", {"why": "password"}),
        ("log-in refused", "", "", {"why": "name"}), ("log-out", "anna", "operator", {})]
    kept = b"".join(path.read_bytes() for path in staffed.folder.iterdir() if path.is_file())
    token = inside["Cookie"].split("cmnas_")[1][:43]
    for secret in (PASSWORD, "wrong but mine", token):
        assert secret.encode() not in kept
        assert secret not in caplog.text
    assert "anna" not in caplog.text


def test_a_hash_of_another_cost_is_made_new_at_the_next_log_in(staffed: House) -> None:
    import argon2

    staffed.people.set_password("anna", argon2.PasswordHasher(1, 128, 1).hash(PASSWORD))
    inside = cookie(enter(staffed))
    found = staffed.people.find("anna")
    assert found is not None
    assert "m=64,t=1,p=1" in found[1]
    assert health(staffed, inside) == 200
    assert enter(staffed).status_code == 303
