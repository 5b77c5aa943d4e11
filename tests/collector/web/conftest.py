"""A site that people walk about, and one browser to look at it with."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cmnas_edge.sighting import Gap
from tests.collector import walks
from tests.collector.browser import Browser
from tests.collector.people import SPOOL
from tests.collector.process import Process
from tests.collector.served import Served


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A collector, calibrated, that five cameras sent what they saw of twenty-five people, up to now."""
    with Process(tmp_path_factory.mktemp("busy") / "collector") as collector:
        walks.calibrate(collector.folder / "bundle")
        tokens = walks.send(collector, walks.walks(25, time.time() - 5))
        collector.send(tokens["yard"], [Gap(SPOOL, 9000, 9004, 5)])
        yield collector


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    with Browser() as page:
        yield page


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """A page; nothing on it may complain."""
    chromium.forget()
    yield chromium
    complaints = list(chromium.complaints)
    chromium.open("about:blank?")
    assert complaints == []


@pytest.fixture
def served(house: object) -> Iterator[Served]:
    """A collector of this process, whose clock is ours, where a browser reaches it."""
    with Served(house) as served:  # type: ignore[arg-type]
        yield served
