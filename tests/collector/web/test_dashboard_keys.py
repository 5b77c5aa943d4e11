"""By keyboard alone: the focus is never lost, never out of sight, and what was typed wrong is said."""

from __future__ import annotations

import pytest

from tests.collector.browser import CHROMIUM, Browser
from tests.collector.process import Process
from tests.collector.served import Served
from tests.collector.web.test_dashboard_decide import opened, push, seen

__all__ = ["seen"]
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(120)]
FOCUSED = "document.activeElement"


def test_after_a_decision_the_focus_is_on_what_was_done_and_tab_leads_to_undoing_it(
        seen: Served, browser: Browser) -> None:
    opened(browser, seen, 1)
    browser.see("document.getElementById('person-reason').value = 'seen by me'")
    browser.see("document.getElementById('person-reason').focus()")
    push(browser, "All one person")
    browser.wait(f"{FOCUSED}.id === 'person-said'")
    browser.wait("!!document.querySelector('#person-past .act')")
    browser.press("Tab")
    assert browser.see(f"{FOCUSED}.textContent") == "Undo"


def test_who_moves_between_people_sees_where_they_are_in_a_low_window(busy: Process, browser: Browser) -> None:
    browser.open(busy.url, width=360, height=600, still=True)
    browser.wait("document.querySelectorAll('.lane').length")
    browser.see("document.querySelector('.lane .name').focus()")
    for key in ("ArrowDown", "ArrowDown", "End", "Home", "PageDown"):
        before = browser.see(f"{FOCUSED}.textContent")
        browser.press(key)
        browser.wait(f"{FOCUSED}.textContent !== '{before}' && {FOCUSED}.className === 'name'")
        top, bottom = browser.see(f"(({{ top, bottom }}) => [top, bottom])({FOCUSED}.getBoundingClientRect())")
        assert top >= 0
        assert bottom <= 601


def test_what_is_no_number_is_refused_before_it_is_asked(seen: Served, browser: Browser) -> None:
    browser.open(seen.url)
    browser.wait("document.querySelectorAll('.lane').length")
    for text, opens in (("x", False), ("", False), ("Person 1", True)):
        browser.see(f"document.getElementById('number').value = '{text}'; document.getElementById('number').focus()")
        browser.press("Enter")
        browser.see("new Promise((done) => setTimeout(done, 300))")
        assert browser.see("document.getElementById('person').open") == opens
        assert opens or browser.see("document.getElementById('number').matches(':invalid')")
    browser.open(f"{seen.url}/search")
    browser.wait("document.querySelectorAll('#results li').length")
    browser.see("document.getElementById('way-sighting').click(); document.getElementById('sighting').value = 'abc';"
                "document.getElementById('form').requestSubmit()")
    browser.wait("document.getElementById('said').textContent === 'Give the number of a sighting first.'")


def test_the_latest_sightings_are_one_stop_and_arrows_move_among_them(busy: Process, browser: Browser) -> None:
    browser.open(busy.url)
    browser.wait("document.querySelectorAll('#feed .who').length")
    assert browser.see("document.querySelectorAll('#feed .who[tabindex=\"0\"]').length") == 1
    browser.see("document.querySelector('#feed .who').focus()")
    where = f"[...document.querySelectorAll('#feed .who')].indexOf({FOCUSED})"
    last = browser.see("document.querySelectorAll('#feed .who').length") - 1
    for key, at in (("ArrowUp", 0), ("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", last),
                    ("ArrowDown", last), ("Home", 0)):
        browser.press(key)
        assert browser.see(where) == at
    browser.press("Tab")
    assert not browser.see(f"document.getElementById('feed').contains({FOCUSED})")


def test_escape_shows_all_cameras_again(busy: Process, browser: Browser) -> None:
    browser.open(f"{busy.url}/site")
    browser.wait("document.querySelectorAll('#cameras li').length >= 5")
    every = browser.see("document.querySelectorAll('#cameras li').length")      # other tests add to them
    browser.see("document.querySelector('.node').focus()")
    browser.press("Enter")
    browser.wait("document.querySelectorAll('#cameras li').length === 1")
    browser.press("Escape")
    browser.wait(f"document.querySelectorAll('#cameras li').length === {every}")
    assert browser.see(f"{FOCUSED}.classList.contains('node')")
