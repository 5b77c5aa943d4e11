"""What changed by itself stands beside what people decided, for everybody to see, as it comes about."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmnas_edge.collector.views import ChangesAsked, DecisionAsked
from tests.collector.axe import faults
from tests.collector.browser import CHROMIUM, Browser
from tests.collector.people import People
from tests.collector.served import Served
from tests.collector.test_changes import become_one, part

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(120)]


def test_it_appears_by_itself_with_its_numbers_its_time_and_its_reasons_and_leads_to_who_it_is(
        served: Served, browser: Browser, tmp_path: Path) -> None:
    house, people = served.house, People()
    browser.open(served.url, height=1500)
    browser.wait("document.getElementById('changed').innerText.includes('No identity became part of another')")
    assert "Nobody decided anything" in browser.text("decided")
    become_one(house, people)
    browser.wait("document.querySelectorAll('#changed .changed').length === 1")
    (change,) = house.api.changes(ChangesAsked()).changes
    said = browser.text("changed")
    assert "Person 2 became part of Person 1" in said
    assert f"score {change.score:.2f}, needed {change.threshold:.2f}, both visible" in said
    assert browser.see("new Date(document.querySelector('#changed time').dateTime).getTime() / 1000") == pytest.approx(
        change.at, abs=1e-3)
    part(house, people)
    browser.wait("document.querySelectorAll('#changed .changed').length === 2")
    assert "1 appearance of Person 3 became" in browser.see("document.querySelector('#changed li').innerText")
    house.intake.decide(DecisionAsked(kind="merge", identities=[1, 3], reason="the same coat"), "ada").result()
    browser.wait("document.querySelectorAll('#decided .changed').length === 1")
    assert "the same coat" in browser.text("decided")
    assert "ada said that these are one person: Person 1" in browser.text("decided")
    assert "1 decided, 2 by itself" in browser.text("changes-count")
    browser.picture(tmp_path / "changes.png")
    assert faults(browser) == []
    browser.see("document.querySelectorAll('#changed .who')[1].click()")
    browser.wait("document.getElementById('person-title').textContent === 'Person 1'")
    browser.wait("document.getElementById('person-past').innerText.includes('By itself')")
    assert "Person 2 became part of Person 1" in browser.text("person-past")
    browser.press("Escape")
    browser.see("document.getElementById('number').value = '2'; document.getElementById('find').requestSubmit()")
    browser.wait("document.getElementById('person-said').textContent.includes('it became part of 1')")
    browser.complaints.clear()      # Chromium notes the 404
