"""Whatever is asked, by whoever: an answer of ours, in one sentence where it is no, and never a crash."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from cmnas_edge.collector.receiving import body
from cmnas_edge.collector.store.records import DecisionKind
from cmnas_edge.collector.web.routes import ROUTES
from tests.collector.house import House
from tests.collector.people import People
from tests.collector.process import Process
from tests.proof import PROVING

EXAMPLES = 5000 if PROVING else 120
# Where; what was expected, and found; what to do.
SENTENCE = re.compile(r"\w+: (expected .+, found .+|unknown key .+); .+", re.DOTALL)
# What was found, quoted, whole or as much as a sentence holds (`cmnas_edge.wording.shortened`).
QUOTED = re.compile(r"""(?:found|key) .{100}\.\.\.|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
NO = {400, 401, 403, 404, 405, 408, 409, 410, 413, 422, 429}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4), max_leaves=8)


numbers = st.lists(st.integers(0, 9), max_size=3)
decisions = st.fixed_dictionaries({"kind": st.sampled_from(get_args(DecisionKind)),
                                   "reason": st.text(min_size=1, max_size=20), "identities": numbers},
                                  optional={"tracklets": numbers, "undoes": st.integers(0, 40)})
DECIDE = next(route for route in ROUTES if route.name == "decide")


def is_of_ours(said: str) -> bool:
    """Whether it is a sentence of this house, and nothing in it but what it quotes is in the words of what reads it."""
    return SENTENCE.fullmatch(said) is not None and "`" not in QUOTED.sub("", said)


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A collector that saw two people, each thrice."""
    house, people = House(tmp_path_factory.mktemp("hostile") / "data"), People()
    house.send(*[people.sighting(person, at=1000.0 + 100 * turn + 50 * person) for turn in range(3)
                 for person in range(2)])
    house.settle()
    yield house
    house.close()


def fields(route: Any) -> list[str]:
    import msgspec

    return [field.name for field in msgspec.structs.fields(route.asks)]


@pytest.mark.parametrize(("said", "ours"), [
    ("sightings: expected a whole number, found '`' at since; correct it", True),
    ("""search: expected text, found "it's `so`" at bundle; correct it""", True),
    (f"search: unknown key {'`' * 150!r:.100}...; known here: k", True),
    (f"decide: expected a list, found {[{'a`': 'b'}] * 20!r:.100}... at kind; correct it", True),
    ("sightings: expected a whole number, found `str` at since; correct it", False),
    ("sightings: expected `int`, found '`' at since; correct it", False),
    ("sightings: Expected `int`, got `str` - at `$.since`", False),
    ("sightings: no", False)])
def test_a_sentence_may_quote_what_was_found_and_nothing_of_what_read_it(said: str, ours: bool) -> None:
    assert is_of_ours(said) is ours


def test_each_kind_of_decision_is_taken_and_refused_in_a_sentence(house: House) -> None:
    """The fuzzer below forms questions like these: each kind can be, and each can be one that cannot be."""
    people = People()
    house.send(*[people.sighting(person, at=1000.0 + 100 * turn + 50 * person) for turn in range(3)
                 for person in range(2)], people.sighting(2, at=1000.0))
    house.settle()

    def ask(kind: str, *identities: int, **given: Any) -> int:
        answer = house.ask("POST", "/v1/decisions", headers=house.cookie("operator"),
                           json={"kind": kind, "reason": "r", "identities": list(identities), **given})
        assert answer.status_code == 200 or is_of_ours(answer.json()["error"]), answer.text
        return answer.status_code

    assert ask("merge", 1, 7) == 409, "one camera saw both at one time"
    assert [ask("split", 1, tracklets=[3]), ask("split", 1, tracklets=[1, 5])] == [200, 409]
    assert [ask("undo", undoes=1), ask("undo", undoes=1), ask("undo")] == [200, 409, 409]
    assert [ask("confirm", 1), ask("split", 1, tracklets=[3]), ask("confirm")] == [200, 409, 409]
    assert [ask("merge", 1), ask("cannot_link", 1), ask("cannot_link", 1, 2), ask("merge", 1, 2)] == [
        409, 409, 200, 409]


@pytest.mark.prove
@given(st.data())
@settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_question_of_anybody_logged_in_breaks_anything(open_house: House, data: st.DataObject) -> None:
    route = data.draw(st.sampled_from(ROUTES) | st.just(DECIDE))
    names = st.sampled_from([*fields(route), "x"])
    given: dict[str, Any] = {"headers": open_house.cookie(data.draw(st.sampled_from(["admin", "privacy", "operator"])))}
    path = route.path
    if "{" in path:
        part = data.draw(st.text(max_size=12) | st.integers().map(str))
        path = path[:path.index("{")] + "".join(f"%{byte:02x}" for byte in part.encode("utf-8", "surrogatepass"))
    if route.method == "GET":
        values = st.text(max_size=20) | st.integers() | st.floats()
        given["params"] = data.draw(st.dictionaries(names, values, max_size=4))
    else:
        if data.draw(st.booleans()):
            import json

            asked = data.draw(st.dictionaries(names, anything, max_size=5) | (
                decisions if route is DECIDE else st.nothing()))
            given["content"] = json.dumps(asked).encode()       # with NaN and halves of characters, as others write
        else:
            given["content"] = data.draw(st.binary(max_size=200))
        given["headers"]["Content-Type"] = "application/json"
    answer = open_house.ask(route.method, path, **given)
    assert answer.status_code in NO | {200}, (route.name, given, answer.text)
    if answer.status_code != 200:
        assert is_of_ours(answer.json()["error"]), answer.text
        assert "Traceback" not in answer.text


@pytest.mark.prove
@given(path=st.text(max_size=30).map(lambda text: "/" + text), host=st.binary(max_size=30),
       origin=st.binary(max_size=30), site=st.binary(max_size=12), cookie=st.binary(max_size=60),
       method=st.sampled_from(["GET", "POST", "PUT", "HEAD"]))
@settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_head_of_a_stranger_gets_past_the_log_in(
        open_house: House, path: str, host: bytes, origin: bytes, site: bytes, cookie: bytes, method: str) -> None:
    open_house.cookie("admin")      # somebody is enrolled

    async def ask() -> tuple[int, bytes]:
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            said.append(message)

        headers = [(b"host", host), (b"origin", origin), (b"sec-fetch-site", site), (b"cookie", cookie)]
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "server": ("0.0.0.0", 8700),
                 "client": ("192.0.2.7", 5), "scheme": "https", "method": method, "root_path": "", "path": path,
                 "raw_path": b"/", "query_string": b"",
                 "headers": [pair for pair in headers if pair[1]]}
        await open_house.app(scope, receive, send)
        return said[0]["status"], b"".join(each.get("body", b"") for each in said)

    status, answer = asyncio.run(ask())
    open_to_all = path in ("/log-in", "/log-in.css", "/dashboard.css", "/icon.svg") or path.startswith("/log-in/")
    assert status in (({200} if open_to_all else set()) | NO), (status, answer)


@pytest.mark.parametrize("path", ["/log-in", "/v1/search"])
def test_a_body_that_never_ends_or_never_comes_is_given_up(
        house: House, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_S", 0.05)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1 << 24:
            sent += 1 << 14
            yield b"x" * (1 << 14)

    async def silent() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    kind = {"Content-Type": "application/x-www-form-urlencoded" if path == "/log-in" else "application/json"}
    house.people.add("somebody", "viewer", "")
    headers = {**kind, **house.cookie("operator")}
    assert house.ask("POST", path, content=endless(), headers=headers).status_code == 400
    assert sent <= 1 << 19, "it is not read to its end"
    began = time.monotonic()
    assert house.ask("POST", path, content=silent(), headers=headers).status_code in (400, 408)
    assert time.monotonic() - began < 30


def test_log_ins_by_a_crowd_let_the_others_go_on(collector: Process, tmp_path: Path) -> None:
    """Two dozen wrong passwords at once: devices are answered meanwhile, and the memory they take is bounded."""
    import threading

    import httpx
    import psutil

    secret = tmp_path / "secret"
    secret.write_text("correct horse & battery=staple")
    secret.chmod(0o600)
    token = collector.enrol()
    done = collector.command("person", "add", "anna", "--role", "viewer", "--password-file", str(secret), "--config",
                             str(collector.config))
    assert done.returncode == 0, done.stderr
    collector.start()
    found: list[int] = []

    def guess(number: int) -> None:
        answer = httpx.post(f"{collector.url}/log-in", data={"name": f"name{number}", "password": "x" * 20}, timeout=60)
        found.append(answer.status_code)

    crowd = [threading.Thread(target=guess, args=(n,)) for n in range(24)]
    for each in crowd:
        each.start()
    (outcome,) = collector.send(token, [People().sighting(1, at=10)])
    assert outcome.result == "stored"
    for each in crowd:
        each.join()
    assert collector._process is not None
    assert psutil.Process(collector._process.pid).memory_info().rss < 700 << 20
    assert set(found) <= {401, 429, 503}
    assert found.count(401) <= 20, "what one address may try at once"
    assert collector.stop() == 0
    assert "Traceback" not in collector.said
