"""A hundred thousand people: the page holds few rows, reaches the last of them, and costs what a hundred do."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cmnas_edge.collector.web.api import Api
from cmnas_edge.collector.web.app import build
from tests.collector.browser import CHROMIUM, Browser
from tests.collector.crowd import Crowd
from tests.collector.house import House
from tests.collector.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(180)]
MANY = 100_000


@pytest.fixture(scope="module")
def galleries() -> dict[int, Crowd]:
    """A hundred people and a hundred thousand."""
    return {count: Crowd(count, time.time()) for count in (100, MANY)}


@pytest.fixture(scope="module")
def crowds(galleries: dict[int, Crowd], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Served]]:
    """Each of them behind the real API."""
    house = House(tmp_path_factory.mktemp("crowd") / "data", now=time.time())
    served = {}
    for count, gallery in galleries.items():
        api = Api(gallery, house.intake, house.devices, house.audit_log, people=house.people,
                  sessions=house.sessions, hot_window_h=24.0, clock=lambda: house.now)
        served[count] = Served(house, build(house.receiver, api, house.log_in)).__enter__()
    yield served
    for each in served.values():
        each.__exit__()
    house.close()


def rows(browser: Browser) -> list[Any]:
    """Number and top of each row in view, from above."""
    found: list[Any] = browser.see("""(() => {
        const box = document.getElementById('rows').getBoundingClientRect();
        return [...document.querySelectorAll('.lane')].map((l) => [Number(l.querySelector('b').textContent.slice(7)),
            l.getBoundingClientRect()]).filter(([, b]) => b.bottom > box.top && b.top < box.bottom)
            .sort((a, b) => a[1].top - b[1].top).map(([n, b]) => [n, Math.round(b.top - box.top)]);
    })()""")
    return found


def test_a_hundred_thousand_are_listed_with_few_rows_and_the_last_is_one_key_away(
        crowds: dict[int, Served], browser: Browser) -> None:
    browser.open(crowds[MANY].url, height=1000)
    browser.wait("document.querySelectorAll('.lane').length > 8")
    assert browser.see("document.getElementById('headline').textContent") == "100,000 people, probably"
    assert [number for number, _ in rows(browser)][:3] == [1, 2, 3]
    browser.see("document.querySelector('.name').focus()")
    browser.press("End")
    browser.wait("document.activeElement.innerText?.startsWith('Person 100000')")
    seen = rows(browser)
    assert seen[-1][0] == MANY
    assert [number for number, _ in seen] == list(range(seen[0][0], MANY + 1))
    assert {b[1] - a[1] for a, b in itertools.pairwise(seen)} == {50}
    assert browser.see("document.querySelectorAll('.lane').length") < 80
    assert browser.see("document.activeElement.closest('li').getAttribute('aria-posinset')") == "100000"
    for top in range(0, 5_000_000, 200_000):
        browser.see(f"document.getElementById('rows').scrollTop = {top}")
    browser.wait("[...document.querySelectorAll('.lane b')].some((b) => b.textContent === 'Person 96001')")
    assert browser.see("document.querySelectorAll('.lane').length") < 80
    browser.see("document.getElementById('number').value = '77777'; document.getElementById('find').requestSubmit()")
    browser.wait("document.getElementById('person-title').textContent === 'Person 77777'")


def test_a_hundred_thousand_cost_the_browser_no_more_than_a_hundred_do(
        crowds: dict[int, Served], browser: Browser) -> None:
    spent = {}
    for count, served in crowds.items():
        browser.open(served.url, height=1000)
        browser.wait("document.querySelectorAll('.lane').length > 8")
        before = browser.spent()
        for at in range(40):
            browser.see(f"document.getElementById('rows').scrollTop = {at * 100}; "
                        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        spent[count] = browser.spent() - before
    assert spent[MANY] < 4 * spent[100]     # scripts and layout, in seconds of processor; a table of all would be 1000


def test_whoever_looks_further_down_keeps_whom_they_look_at_while_others_come_in_above(
        crowds: dict[int, Served], galleries: dict[int, Crowd], browser: Browser) -> None:
    galleries[MANY].wait(3)
    browser.open(crowds[MANY].url, height=1000)
    browser.wait("document.getElementById('headline').textContent.startsWith('99,997')")
    browser.see("document.getElementById('rows').scrollTop = 4020")
    browser.wait("[...document.querySelectorAll('.lane b')].some((b) => b.textContent === 'Person 90')")
    before = rows(browser)
    galleries[MANY].wait(0)
    browser.wait("document.getElementById('headline').textContent.startsWith('100,000')")
    browser.wait("document.getElementById('rows').scrollTop === 4170")      # three rows of fifty
    assert rows(browser) == before
    browser.see("document.getElementById('rows').scrollTop = 0")
    browser.wait("[...document.querySelectorAll('.lane b')].some((b) => b.textContent === 'Person 1')")


def test_a_hundred_thousand_are_filtered_by_the_collector(crowds: dict[int, Served], browser: Browser) -> None:
    browser.open(f"{crowds[MANY].url}/", height=1000)
    browser.wait("document.querySelectorAll('.lane').length > 8")
    browser.see("document.querySelector('input[name=span][value=\"600\"]').click()")
    browser.wait("/^[0-9,]+ of 100,000 people$/.test(document.getElementById('count').textContent)")
    found = int(browser.see("document.getElementById('count').textContent").split()[0].replace(",", ""))
    assert 600 < found < 850        # some 700 of a day's were seen in ten minutes
