"""An operator merges, splits, keeps apart and takes back; whoever only looks sees what was decided, and why."""

from __future__ import annotations

import pytest

from cmnas_edge.embedding import unit
from tests.collector.axe import faults
from tests.collector.browser import CHROMIUM, Browser
from tests.collector.people import People
from tests.collector.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(120)]


@pytest.fixture
def seen(served: Served, browser: Browser) -> Served:
    """Three people, each before three cameras; somebody who may decide is logged in."""
    people, house = People(), served.house
    house.send(*[people.sighting(person, at=1000.0 + 200 * visit + 20 * person, camera=camera)
                 for visit, camera in enumerate(["north", "south", "east"]) for person in range(3)])
    house.settle()
    browser.cookie(served.url, *served.log_in("operator"))
    return served


def identities(seen: Served) -> dict[int, set[int]]:
    """The tracklets of everybody."""
    return {who.identity: {t.id for t in who.tracklets} for who in seen.house.gallery.identities(limit=100).identities}


def opened(browser: Browser, seen: Served, identity: int) -> None:
    browser.open(f"{seen.url}/#person-{identity}", height=1400)
    browser.wait(f"document.getElementById('person-title').textContent === 'Person {identity}' && "
                 "document.querySelectorAll('#person-actions .act').length")


def push(browser: Browser, text: str) -> None:
    browser.see(f"[...document.querySelectorAll('#person .act')].find((b) => b.textContent === '{text}').click()")


def test_two_are_merged_into_the_older_and_undone_again(seen: Served, browser: Browser) -> None:
    before = identities(seen)
    (first, second, *_) = sorted(before)
    opened(browser, seen, second)
    browser.see(f"document.getElementById('person-other').value = '{first}'")
    push(browser, "Merge")
    assert identities(seen) == before       # a reason is wanted first
    browser.see("document.getElementById('person-reason').value = 'the same red coat'")
    push(browser, "Merge")
    browser.wait(f"document.getElementById('person-title').textContent === 'Person {first}'")
    browser.wait(f"document.getElementById('person-said').innerText.includes('Merged into Person {first}')")
    merged = identities(seen)
    assert merged[first] == before[first] | before[second]
    assert second not in merged
    browser.wait("document.getElementById('person-past').innerText.includes('the same red coat')")
    assert "some-operator said that these are one person" in browser.text("person-past")
    assert browser.text("person-track").count("Decided by a person") == len(before[second])
    browser.wait(f"![...document.querySelectorAll('.lane b')].some((b) => b.textContent === 'Person {second}')")
    browser.see("document.getElementById('person-reason').value = 'another coat after all'")
    push(browser, "Undo")
    browser.wait("document.getElementById('person-said').innerText.includes('went back')")
    assert identities(seen) == before
    browser.see("document.getElementById('person-reason').value = 'no doubt'")
    push(browser, "All one person")
    browser.wait("document.getElementById('person-past').innerText.includes('no doubt')")
    assert "the same red coat" not in browser.text("person-past")      # what was undone stands no more


def test_ticked_appearances_are_split_off_but_never_all(seen: Served, browser: Browser) -> None:
    before = identities(seen)
    identity = min(before)
    opened(browser, seen, identity)
    ticks = "document.querySelectorAll('#person-track input')"
    disabled = "[...document.querySelectorAll('#person .act')].find((b) => b.textContent.startsWith('Split')).disabled"
    assert browser.see(disabled)
    browser.see(f"{ticks}.forEach((tick) => tick.click())")
    assert browser.see(disabled)
    browser.see(f"{ticks}[0].click(); {ticks}[1].click()")
    assert not browser.see(disabled)
    away = int(browser.see(f"{ticks}[2].value"))
    browser.see("document.getElementById('person-reason').value = 'somebody else'")
    push(browser, "Split off ticked")
    browser.wait("document.getElementById('person-said').innerText.includes('split off as Person')")
    after = identities(seen)
    assert after[identity] == before[identity] - {away}
    assert {away} in after.values()
    assert browser.see("document.querySelectorAll('#person-track li').length") == len(after[identity])


def test_what_cannot_be_is_refused_in_one_sentence_and_changes_nothing(seen: Served, browser: Browser) -> None:
    before = identities(seen)
    identity = min(before)
    opened(browser, seen, identity)
    browser.see("document.getElementById('person-reason').value = 'a guess';"
                "document.getElementById('person-other').value = '4711'")
    push(browser, "Merge")
    browser.wait("document.getElementById('person-said').innerText.includes('none of number 4711')")
    assert identities(seen) == before
    browser.complaints.clear()      # Chromium notes the 409


def test_two_who_look_alike_are_kept_apart_from_beside_their_scores(seen: Served, browser: Browser) -> None:
    identity = min(identities(seen))
    opened(browser, seen, identity)
    browser.see("document.querySelector('#person-ask button').click()")
    browser.wait("document.querySelectorAll('#person-alike .pair').length")
    browser.see("document.getElementById('person-reason').value = 'twins'")
    browser.see("[...document.querySelectorAll('#person-alike .act')].find((b) => b.textContent === 'Not the same')"
                ".click()")
    browser.wait("document.getElementById('person-past').innerText.includes('these are two people')")
    assert "twins" in browser.text("person-past")
    assert faults(browser) == []


def test_a_viewer_sees_what_was_decided_and_by_whom_and_cannot_decide(seen: Served, browser: Browser) -> None:
    first, second, *_ = sorted(identities(seen))
    opened(browser, seen, first)
    browser.see(f"document.getElementById('person-other').value = '{second}';"
                "document.getElementById('person-reason').value = 'seen by me'")
    push(browser, "Merge")
    browser.wait("document.getElementById('person-past').innerText.includes('seen by me')")
    browser.cookie(seen.url, *seen.log_in("viewer"))
    browser.open(f"{seen.url}/#person-{first}", height=1400)
    browser.wait("document.getElementById('person-past').innerText.includes('some-operator')")
    assert browser.see("document.querySelectorAll('#person .act, #person-track input').length") == 0
    assert browser.text("person-from") == "Looking for others alike is a search, and searches are for operators."
    assert browser.see("document.getElementById('person-ask').hidden")


def test_who_else_somebody_may_be_is_asked_for_with_the_search_and_noted(seen: Served, browser: Browser) -> None:
    house, people = seen.house, People()
    mixed = unit((people.vector(0) + 1.4 * people.vector(5))[None])[0]        # somewhat like the first
    house.send(people.sighting(5, at=1900.0, camera="yard", vector=mixed, sequence=100))
    house.settle()
    assert house.gallery.suggestions(1).suggestions
    opened(browser, seen, 1)
    assert not [each for each in house.audit_log.page(limit=9) if each.kind == "search"], "looking notes nothing"
    assert browser.see("document.getElementById('person-maybe').hidden")
    browser.see("document.querySelector('#person-ask button').click()")
    browser.wait("document.querySelectorAll('#person-suggested .pair').length")
    assert "needed" in browser.text("person-suggested")
    noted = [each.asked["route"] for each in house.audit_log.page(limit=9) if each.kind == "search"]
    assert sorted(noted) == ["search", "suggestions"]
    assert faults(browser) == []
