"""Every page by day and by night, on a phone, by keyboard alone and read aloud; axe-core finds nothing that matters."""

from __future__ import annotations

import pytest

from tests.collector.axe import faults
from tests.collector.browser import CHROMIUM, Browser
from tests.collector.process import Process

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(120)]
# What says that a page has drawn what it was told.
DRAWN = {"": ".lane", "site": "#ways tr", "search": "#results li", "calibration": "#histogram path",
         "health": "#cameras tr"}
OPENED = {"": "document.querySelector('.lane .name').click(); document.getElementById('filters').open = true",
          "site": "document.querySelector('.node').click()",
          "search": "document.querySelector('#results .act').click(); document.getElementById('narrow').open = true",
          "calibration": "document.querySelector('input[value=visible-infrared]').click()", "health": "0"}


@pytest.mark.parametrize("dark", [False, True], ids=["day", "night"])
@pytest.mark.parametrize("page", DRAWN)
def test_axe_finds_no_serious_fault(busy: Process, browser: Browser, page: str, dark: bool) -> None:
    browser.open(f"{busy.url}/{page}", dark=dark, still=True)
    browser.wait(f"document.querySelectorAll('{DRAWN[page]}').length")
    paper = browser.see("getComputedStyle(document.documentElement).backgroundColor")
    assert (paper == "rgb(246, 245, 241)") != dark
    if dark:    # by day as it comes, by night with everything opened that opens
        browser.see(OPENED[page])
        browser.see("new Promise((done) => setTimeout(done, 200))")
    assert faults(browser) == []


def test_axe_is_at_work(busy: Process, browser: Browser) -> None:
    browser.open(f"{busy.url}/health")
    browser.wait("document.querySelectorAll('#cameras tr').length")
    browser.see("document.getElementById('headline').style.color = '#ccc';"
                "document.querySelector('main').append(document.createElement('button'))")
    assert {fault[1] for fault in faults(browser)} == {"color-contrast", "button-name"}


@pytest.mark.parametrize("page", DRAWN)
def test_a_page_fits_a_phone_and_can_be_touched(busy: Process, browser: Browser, page: str) -> None:
    browser.open(f"{busy.url}/{page}", width=360, height=760)
    browser.wait(f"document.querySelectorAll('{DRAWN[page]}').length")
    browser.see(OPENED[page])       # an open dialog, too
    assert browser.see("document.documentElement.scrollWidth") <= 360
    small = browser.see("""[...document.querySelectorAll(
            'nav a, main button, main select, main summary, main input:not([type=radio], [type=checkbox])')]
        .filter((e) => e.offsetParent && !e.closest('[hidden], .lane, .skip'))
        .map((e) => [e.textContent.trim() || e.id, Math.round(e.getBoundingClientRect().height)])
        .filter(([, height]) => height < 20)""")
    assert small == []


@pytest.mark.parametrize("page", DRAWN)
def test_the_keyboard_reaches_everything_in_order_and_sees_where_it_is(
        busy: Process, browser: Browser, page: str) -> None:
    browser.open(f"{busy.url}/{page}")
    browser.wait(f"document.querySelectorAll('{DRAWN[page]}').length")
    reached = []
    for _ in range(60):
        browser.press("Tab")
        where = browser.see("""(() => {
            const e = document.activeElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
            const after = getComputedStyle(e, '::after');
            const beside = e.nextElementSibling && getComputedStyle(e.nextElementSibling);
            const marked = [style, after, beside].some((s) => s && s.outlineStyle !== 'none');
            return [e.tagName, e.id || e.textContent.trim().slice(0, 30), marked, box.width > 0];
        })()""")
        if where[0] == "BODY":
            break
        reached.append(where)
    assert reached[0][1].startswith("Skip to")
    assert [each[1] for each in reached[1:7]] == ["cmnas-edge", "People", "Site", "Search", "Calibration", "Health"]
    assert [each for each in reached if not each[2]] == []


def test_nothing_moves_for_whoever_asked_for_that(busy: Process, browser: Browser) -> None:
    moving = "document.getAnimations().filter((a) => a.playState === 'running').length"
    browser.open(f"{busy.url}/site")
    browser.wait("document.querySelectorAll('#graph path.flow').length")
    assert browser.see(moving) > 0
    browser.open(f"{busy.url}/site", still=True)
    browser.wait("document.querySelectorAll('#graph path.flow').length")
    assert browser.see(moving) == 0
