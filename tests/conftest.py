"""What holds for every test here: how examples are timed, and how long promises are proved.

A long promise (kills, fuzzing) is one test with a count: small in ``make test``, the stated
number in ``make prove``, which sets ``CMNAS_PROVE`` and keeps what it saw in ``docs/proofs.jsonl``.
"""

from __future__ import annotations

import json
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


@pytest.fixture(autouse=True)
def no_secret_in_any_log() -> Iterator[None]:
    """Whatever a test is about: no token, password or vector is logged in it, nor by a process it starts."""
    with heard.listening() as found:
        yield
    told = [secret for text in found.text() for secret in heard.secrets_in(text)]
    assert not told, f"logged, and must never be: {told[:3]}"


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]
                              ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a proof saw: date, test, count, outcome, seconds, and the figures it recorded."""
    report = yield
    if PROVING and report.when == "call" and item.get_closest_marker("prove"):
        kept = proof.row(item.nodeid, item.user_properties, report.outcome, report.duration,
                         hypothesis.settings().max_examples)
        with PROOFS.open("a", encoding="utf-8") as proofs:
            proofs.write(json.dumps(kept) + "\n")
    return report
