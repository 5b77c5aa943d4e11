"""What holds for every test here: how examples are timed, and how long promises are proved.

A long promise (kills, fuzzing) is one test with a count: small in ``make test``, the stated
number in ``make prove``, which sets ``CMNAS_PROVE`` and keeps what it saw in ``docs/proofs.jsonl``.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import heard, proof
from tests.proof import PROVING

# Before torch is loaded, here and in what tests start: workers whose threads spin while they wait for each other take
# twice the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

PROOFS = Path(__file__).resolve().parents[1] / "docs" / "proofs.jsonl"

# How long an example takes says more about the machine that day than about the code.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.register_profile("prove", deadline=None, max_examples=5_000)
hypothesis.settings.load_profile("prove" if PROVING else "house")

# A shell in the background has Ctrl-C ignored, and so would whatever the tests start and press it for.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

heard.begin()
_told: set[Path] = set()


@pytest.fixture(autouse=True)
def no_secret_in_any_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test is about: no token, password or vector is logged in it, nor by a process it starts."""
    folder: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    with heard.listening() as found:
        yield
    told = [secret for text in found.text() for secret in heard.secrets_in(text)]
    told += [] if folder is None else in_logs(folder)
    assert not told, f"logged, and must never be: {told[:3]}"


@pytest.fixture(scope="session", autouse=True)
def no_secret_in_the_logs_of_a_folder_that_tests_share(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nor by what several tests keep running beside them; pytest names such a folder after none of them."""
    yield
    told = in_logs(tmp_path_factory.getbasetemp())
    assert not told, f"logged, and must never be: {told[:3]}"


def in_logs(folder: Path) -> list[str]:
    """Secrets in the logs below a folder, with the log's name; each log is told of once."""
    found = {path: secrets for path, text in heard.logs_in(folder)
             if path not in _told and (secrets := heard.secrets_in(text))}
    _told.update(found)
    return [f"{path}: {secrets[0]}" for path, secrets in found.items()]


@pytest.fixture(autouse=True)
def signals_are_heard_as_before() -> Iterator[None]:
    """Whatever a test is about: what it called in this process leaves Ctrl-C and SIGTERM to whom they belonged."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    after = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert after == before, "left a signal handler behind"


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """Undo what a command set up for its process: it logs to a standard error that pytest closes with the test."""
    house = logging.getLogger("cmnas")
    before = house.handlers[:], house.level, house.propagate
    house.handlers[:], house.propagate = [], True
    yield
    house.handlers[:], level, house.propagate = before
    house.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]
                              ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hear what reached standard error. Keep what a proof saw: date, test, count, outcome, seconds, and its figures."""
    report = yield
    said = "".join(text for name, text in report.sections if name == f"Captured stderr {report.when}")
    if report.passed and (told := heard.secrets_in(said)):
        report.outcome = "failed"
        report.longrepr = f"said on standard error, and must never be: {told[:3]}"
    if PROVING and report.when == "call" and item.get_closest_marker("prove"):
        has_laws = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        kept = proof.row(item.nodeid, item.user_properties, report.outcome, report.duration,
                         hypothesis.settings().max_examples if has_laws else None)
        with PROOFS.open("a", encoding="utf-8") as proofs:
            proofs.write(json.dumps(kept) + "\n")
    return report
