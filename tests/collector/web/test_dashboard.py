"""A person can use the page of people: in a real browser, against a real collector, with mouse and keyboard."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cmnas_edge.collector.store.journal import Record
from tests.collector import walks
from tests.collector.browser import CHROMIUM, Browser
from tests.collector.people import FINGERPRINT, SPOOL, People
from tests.collector.process import Process
from tests.collector.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(120)]
LANES = "document.querySelectorAll('.lane').length"


def test_it_shows_who_was_where_by_which_light_and_what_that_is_worth(
        busy: Process, browser: Browser, tmp_path: Path) -> None:
    browser.open(busy.url, height=2600)
    browser.wait(LANES)
    listed = busy.ask("/v1/identities?limit=1000")
    total = listed["total"]
    browser.wait(f"document.getElementById('headline').textContent === '{total} people, probably'")
    said = browser.see("document.body.innerText")
    assert f"{listed['across']} were recognised across visible and infrared" in said
    assert "calibrated on drawn people" in said
    assert "probably the same person, never proof" in said.lower()
    assert "yard lost 5 sightings" in said
    for camera in walks.CAMERAS:
        assert camera in browser.text("cameras")
    assert browser.see(LANES) == total
    for light in ("visible", "infrared"):
        bars = sum(t["modality"] == light for who in listed["identities"] for t in who["tracklets"])
        assert browser.see(f"document.querySelectorAll('button.span.{light}').length") == bars > 0
    names = browser.see("[...document.querySelectorAll('.lane .name b')].map((b) => b.textContent)")
    assert names == [f"Person {who['identity']}" for who in listed["identities"]]
    newest = busy.ask("/v1/sightings?newest=true&limit=1")["sightings"][0]
    first = browser.see("document.querySelector('#feed li').innerText")
    assert f"Person {newest['identity']}" in first
    assert newest["camera"] in first
    assert len(browser.picture(tmp_path / "desk.png")) > 20_000


def test_a_bar_tells_score_probability_and_pair_and_whether_it_only_suggests_to_mouse_and_keyboard(
        busy: Process, browser: Browser) -> None:
    tracklets = [t for who in busy.ask("/v1/identities?limit=1000")["identities"] for t in who["tracklets"]]
    browser.open(busy.url, height=2600)
    browser.wait(LANES)
    labels = browser.see("[...document.querySelectorAll('button.span')].map((b) => b.getAttribute('aria-label'))")
    lights = {"visible-visible": "both visible", "infrared-infrared": "both infrared",
              "visible-infrared": "visible to infrared"}
    for suggestion, begin in ((False, "Probably the same person: "), (True, "Suggestion: probably the same person: ")):
        joined = next(t for t in tracklets if t["rule"] == "joined" and t["suggestion"] == suggestion)
        told = f"{begin}score {joined['score']:.2f}, needed {joined['threshold']:.2f}, {lights[joined['pair']]}"
        assert any(told in label for label in labels)
    browser.see("document.querySelector('.name').focus()")
    browser.press("ArrowRight")
    assert browser.see("document.activeElement.classList.contains('span')")
    assert not browser.see("document.getElementById('tip').hidden")
    assert browser.text("tip").startswith("Person ")
    browser.press("ArrowDown")
    browser.wait("document.activeElement === document.querySelectorAll('.name')[1]")
    assert browser.see("document.getElementById('tip').hidden")
    browser.press("End")
    browser.wait("document.activeElement === [...document.querySelectorAll('.name')].at(-1)")


def test_a_person_opens_with_the_reasons_and_on_asking_others_alike_and_closes_with_escape(
        busy: Process, browser: Browser) -> None:
    browser.open(busy.url)
    browser.wait(LANES)
    browser.see("document.querySelector('.name').focus()")
    name = browser.see("document.activeElement.querySelector('b').textContent")
    browser.press("Enter")
    browser.wait("document.querySelectorAll('#person-track li').length")
    assert browser.text("person-title") == name
    number = int(name.removeprefix("Person "))
    who = busy.ask(f"/v1/identities/{number}")["identity"]
    assert browser.see("document.querySelectorAll('#person-track li').length") == len(who["tracklets"])
    assert "Probably one person" in browser.text("person")
    assert browser.see("document.querySelectorAll('#person-alike li').length") == 0     # a search is noted: on request
    browser.see("document.querySelector('#person-ask button').click()")
    browser.wait("document.querySelectorAll('#person-alike .meter').length")
    assert "needed" in browser.text("person-alike")
    browser.press("Escape")
    browser.wait("!document.getElementById('person').open")
    browser.open(f"{busy.url}/#person-{number}")
    browser.wait(f"document.getElementById('person-title').textContent === '{name}'")


def test_people_are_found_by_number_camera_light_and_time(busy: Process, browser: Browser) -> None:
    listed = busy.ask("/v1/identities?limit=1000")
    browser.open(busy.url, height=2600)
    browser.wait(LANES)

    def shows(question: str) -> None:
        found = busy.ask(f"/v1/identities?limit=1000&{question}")
        names = [f"Person {who['identity']}" for who in found["identities"]]
        assert 0 < len(names) < listed["total"]
        browser.wait(f"JSON.stringify([...document.querySelectorAll('.lane .name b')].map((b) => b.textContent)) === "
                     f"JSON.stringify({names})")
        assert f"{len(names)} of {listed['total']} people" in browser.text("count")

    browser.see("document.getElementById('across').click()")
    shows("across=true")
    browser.see("document.getElementById('across').click()")
    browser.see("document.getElementById('light').value = 'infrared';"
                "document.getElementById('light').dispatchEvent(new Event('change'))")
    shows("modality=infrared")
    browser.open(f"{busy.url}/?camera=gate%2Fstairs", height=2600)
    shows("camera=gate/stairs")
    browser.open(busy.url, height=2600)
    browser.wait(LANES)
    browser.see("document.querySelector('input[name=span][value=\"600\"]').click()")
    browser.see("const until = new Date(Date.now() - 400000 - new Date().getTimezoneOffset() * 60000);"
                "document.getElementById('until').value = until.toISOString().slice(0, 16);"
                "document.getElementById('until').dispatchEvent(new Event('change'))")
    browser.wait(f"document.getElementById('count').textContent.endsWith(' of {listed['total']} people')")
    assert 0 < browser.see(LANES) < listed["total"]
    number = listed["identities"][3]["identity"]
    browser.see(f"document.getElementById('number').value = 'person {number}';"
                "document.getElementById('find').requestSubmit()")
    browser.wait(f"document.getElementById('person-title').textContent === 'Person {number}'")
    browser.press("Escape")
    browser.see("document.getElementById('number').value = '99999'; document.getElementById('find').requestSubmit()")
    browser.wait("document.getElementById('person-said').textContent.includes('none of number 99999')")
    browser.complaints.clear()      # Chromium notes the 404


def test_new_people_appear_by_themselves(busy: Process, browser: Browser) -> None:
    browser.open(busy.url)
    browser.wait(LANES)
    before = busy.ask("/v1/identities")["total"]
    token = busy.command("enrol", "roof", "--config", str(busy.config), "--rotate").stdout.strip()
    (outcome,) = busy.send(token, [People(9).sighting(500 + before, at=time.time() - 2, device="roof", camera="hatch")])
    assert outcome.result == "stored"
    browser.wait(f"document.getElementById('headline').textContent.startsWith('{before + 1} ')")
    browser.wait("document.getElementById('cameras').innerText.includes('hatch')")
    newest = busy.ask("/v1/identities?limit=1")["identities"][0]
    assert newest["cameras"] == ["roof/hatch"]
    assert f"Person {newest['identity']}\n" in browser.see("document.querySelector('.lane .name').innerText")


def test_a_camera_whose_name_is_markup_shows_as_text_on_every_page(served: Served, browser: Browser) -> None:
    camera, now = "<img src=x onerror=window.broken=1>", served.house.now
    # No device may call a camera or itself so; should one find a way, here is the second wall.
    for number, device in enumerate(["</script><svg onload=window.broken=2>", "gate"], start=1):
        served.house.gallery.add(
            Record(number, device, SPOOL, number, now, camera, now - 20 + 9 * number, now - 18 + 9 * number, "visible",
                   number, 1, 0.8, 40, 96, "onnxruntime", "fp32", 0,
                   FINGERPRINT), People(1).vector(7))
    for page in ("", "site", "search", "health"):
        browser.open(f"{served.url}/{page}", height=2600)
        browser.wait(f"document.querySelector('main').innerText.includes('{camera}')")
        assert browser.see("window.broken") is None
        assert browser.see("document.querySelectorAll('main img, main svg svg').length") == 0
    browser.open(f"{served.url}/#person-1")
    browser.wait(f"document.getElementById('person-track').innerText.includes('{camera}')")
    assert browser.see("window.broken") is None


def test_an_empty_collector_says_what_to_do_and_a_stopped_one_that_it_does_not_answer(collector: Process) -> None:
    collector.start()
    with Browser() as browser:
        browser.open(collector.url)
        browser.wait("document.body.innerText.includes('cmnas-edge collector enrol NAME')")
        assert "Nobody seen yet" in browser.text("headline")
        browser.open(f"{collector.url}/site")
        browser.wait("!document.getElementById('none').hidden")
        assert browser.complaints == []
        collector.stop()
        browser.wait("document.getElementById('health-text').textContent.includes('does not answer')")
        assert browser.see("document.getElementById('health').classList.contains('bad')")


def test_the_page_cannot_be_shown_inside_another_nor_bring_in_code(busy: Process, browser: Browser) -> None:
    browser.open(busy.url)
    browser.wait(LANES)
    blocked = browser.see("""new Promise((done) => {
        document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective), { once: true });
        const code = document.createElement('script');
        code.textContent = 'window.broken = true';
        document.head.append(code);
    })""")
    assert blocked.startswith("script-src")
    assert browser.see("window.broken") is None
    browser.complaints.clear()      # Chromium says so, too
