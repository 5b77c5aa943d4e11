"""Schemathesis reads our own description and asks what it allows, and what it does not, of a real collector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cmnas_edge.collector.views import Nothing
from cmnas_edge.collector.web.document import openapi
from cmnas_edge.collector.web.routes import ROUTES
from tests.collector.people import People
from tests.collector.process import Process
from tests.proof import examples

EXAMPLES = examples(10, 100)    # of each route


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A collector that saw two people, and by role the cookie of somebody logged in."""
    with Process(tmp_path_factory.mktemp("attacked") / "collector", "[access]\nreasons = []\n") as collector:
        token = collector.enrol()
        collector.start()
        collector.send(token, [People().sighting(person, at=10.0 + person) for person in range(2)])
        cookies = {}
        for role in ("admin", "privacy"):
            for words in (("add", role, "--role", role, "--no-password"), ("link", role)):
                done = collector.command("person", *words, "--config", str(collector.config))
                assert done.returncode == 0, done.stderr
            answer = httpx.get(collector.url + done.stdout[done.stdout.index("/log-in/"):].strip())
            cookies[role] = "; ".join(f"{each.name}={each.value}" for each in answer.cookies.jar)
        yield collector.url, cookies
        assert collector.stop() == 0
        assert "Traceback" not in collector.said
        assert "Exception in ASGI" not in collector.said


@pytest.mark.prove
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_answers_are_those_of_the_document_whatever_is_asked(
        attacked: tuple[str, dict[str, str]], mode: str, record_property: Callable[[str, object], None]) -> None:
    """What the document allows, and what it does not, of one route after another."""
    routes = [route for route in ROUTES if mode == "positive" or route.asks is not Nothing]    # else none is wrong
    record_property("examples", EXAMPLES)
    record_property("routes", len(routes))
    for route in routes:
        ask(*attacked, route, mode)


def ask(url: str, cookies: dict[str, str], route: Any, mode: str) -> None:
    operation = schemathesis.openapi.from_dict(openapi())[route.path][route.method]
    modes = schemathesis.GenerationMode
    cases = operation.as_strategy(generation_mode=modes.POSITIVE if mode == "positive" else modes.NEGATIVE)
    role = "privacy" if route.role == "privacy" else "admin"

    @given(case=cases | st.nothing())
    @settings(deadline=None, max_examples=EXAMPLES, phases=[Phase.generate], database=None,
              suppress_health_check=list(HealthCheck))
    def each(case: Any) -> None:
        answer = case.call(base_url=url, headers={"Cookie": cookies[role]})
        assert answer.status_code < 500, answer.text
        case.validate_response(answer, checks=[schemathesis.checks.not_a_server_error,
                                               schemathesis.specs.openapi.checks.response_schema_conformance,
                                               schemathesis.specs.openapi.checks.status_code_conformance])

    each()
