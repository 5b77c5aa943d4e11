"""A person can use the page: in a real browser, against a real collector, on a desk and on a phone."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cmnas_edge.sighting import Gap
from tests.collector.browser import CHROMIUM, Browser
from tests.collector.people import SPOOL, People
from tests.collector.process import Process

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(120)]
CAMERAS = {"entrance": ("gate", "visible"), "corridor": ("gate", "visible"), "loading bay": ("yard", "infrared"),
           "car park": ("yard", "dual")}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A collector that four cameras sent some hundred sightings, up to now."""
    with Process(tmp_path_factory.mktemp("busy") / "collector") as collector:
        tokens = {device: collector.enrol(device) for device in ("gate", "yard")}
        collector.start()
        people, rng, now, tracklet = People(3, noise=0.5, gap=0.6), random.Random(4), time.time(), 0
        seen = []
        for person in range(16):
            at = now - 600 + rng.uniform(0, 420)
            for camera in rng.sample(list(CAMERAS), rng.randint(2, 4)):
                device, light = CAMERAS[camera]
                light = ("visible" if at < now - 300 else "infrared") if light == "dual" else light
                tracklet += 1
                for _ in range(rng.randint(1, 3)):
                    seen.append(people.sighting(person, at=at, device=device, camera=camera, modality=light,  # type: ignore[arg-type]
                                                tracklet=tracklet, lasting=rng.uniform(3, 5)))
                    at += 6
                at += rng.uniform(5, 30)
        seen.sort(key=lambda s: s.seen_at)
        for start in range(0, len(seen), 16):
            for device, token in tokens.items():
                collector.send(token, [s for s in seen[start:start + 16] if s.device == device])
        collector.send(tokens["yard"], [Gap(SPOOL, 9000, 9004, 5)])
        assert len(seen) > 80
        yield collector


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A page; nothing on it may complain."""
    with Browser() as page:
        yield page
        assert page.complaints == []


def api(collector: Process, path: str) -> Any:
    return httpx.get(collector.url + path).json()


LANES = "document.querySelectorAll('.lane').length"


def test_it_shows_who_was_where_by_which_light_and_what_that_is_worth(
        busy: Process, browser: Browser, tmp_path: Path) -> None:
    browser.open(busy.url, height=1800)
    browser.wait(LANES)
    listed = api(busy, "/v1/identities?limit=1000")
    total = listed["total"]
    assert browser.see("document.getElementById('headline').textContent") == f"{total} people, probably"
    said = browser.see("document.body.innerText")
    assert f"{listed['across']} were recognised across visible and infrared" in said
    assert "calibrated on drawn people" in said
    assert "probably the same person, never proof" in said.lower()
    assert "yard lost 5 sightings" in said
    for camera in CAMERAS:
        assert camera in browser.see("document.getElementById('cameras').innerText")
    if total > 20:
        browser.see("document.getElementById('all').click()")
    assert browser.see(LANES) == total
    for light in ("visible", "infrared"):
        bars = sum(t["modality"] == light for who in listed["identities"] for t in who["tracklets"])
        assert browser.see(f"document.querySelectorAll('button.span.{light}').length") == bars > 0
    newest = api(busy, "/v1/sightings?newest=true&limit=1")["sightings"][0]
    first = browser.see("document.querySelector('#feed li').innerText")
    assert f"Person {newest['identity']}" in first
    assert newest["camera"] in first
    assert len(browser.picture(tmp_path / "desk.png")) > 20_000


def test_a_bar_tells_score_threshold_and_pair_to_mouse_and_keyboard(busy: Process, browser: Browser) -> None:
    listed = api(busy, "/v1/identities?limit=1000")["identities"]
    joined = next(t for who in listed for t in who["tracklets"] if t["rule"] == "joined")
    browser.open(busy.url)
    browser.wait(LANES)
    browser.see("document.getElementById('all').click()")
    labels = browser.see("[...document.querySelectorAll('button.span')].map((b) => b.getAttribute('aria-label'))")
    lights = {"visible-visible": "both visible", "infrared-infrared": "both infrared",
              "visible-infrared": "visible to infrared"}[joined["pair"]]
    told = (f"Probably the same person: score {joined['score']:.2f}, needed {joined['threshold']:.2f}, {lights}")
    assert any(told in label for label in labels)
    browser.see("document.querySelector('.name').focus()")
    browser.press("ArrowRight")
    assert browser.see("document.activeElement.classList.contains('span')")
    assert not browser.see("document.getElementById('tip').hidden")
    assert browser.see("document.getElementById('tip').innerText").startswith("Person ")
    browser.press("ArrowDown")
    assert browser.see("document.activeElement === document.querySelectorAll('.name')[1]")
    assert browser.see("document.getElementById('tip').hidden")


def test_a_person_opens_with_the_reasons_and_others_alike_and_closes_with_escape(
        busy: Process, browser: Browser) -> None:
    browser.open(busy.url)
    browser.wait(LANES)
    browser.see("document.querySelector('.name').focus()")
    name = browser.see("document.activeElement.querySelector('b').textContent")
    browser.press("Enter")
    browser.wait("document.querySelectorAll('#person-alike .meter').length")
    assert browser.see("document.getElementById('person-title').textContent") == name
    number = int(name.removeprefix("Person "))
    who = api(busy, f"/v1/identities/{number}")["identity"]
    assert browser.see("document.querySelectorAll('#person-track li').length") == len(who["tracklets"])
    assert "Probably one person" in browser.see("document.getElementById('person').innerText")
    browser.press("Escape")
    browser.wait("!document.getElementById('person').open")
    browser.open(f"{busy.url}/#person-{number}")
    browser.wait(f"document.getElementById('person-title').textContent === '{name}'")


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_by_day_and_night_and_can_be_read(
        busy: Process, browser: Browser, dark: bool, tmp_path: Path) -> None:
    browser.open(busy.url, width=390, height=844, dark=dark)
    browser.wait(LANES)
    assert browser.see("document.documentElement.scrollWidth") <= 390
    ratio = browser.see("""(() => {
        const light = (text) => {
            const [r, g, b] = text.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255)
                .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const behind = (element) => {
            for (let at = element; at; at = at.parentElement) {
                const paint = getComputedStyle(at).backgroundColor;
                if (!/, 0\\)$/.test(paint)) return light(paint);
            }
        };
        const texts = 'h1, h2, p, small, b, time, .why, .light, .span.visible i, .axis span';
        return Math.min(...[...document.querySelectorAll(texts)]
            .filter((e) => e.textContent.trim() && e.offsetWidth && !e.closest('.unseen'))
            .map((e) => [light(getComputedStyle(e).color), behind(e)].sort((a, b) => b - a))
            .map(([a, b]) => (a + 0.05) / (b + 0.05)));
    })()""")
    assert ratio >= 4.5     # WCAG AA, for every text on the page
    assert (browser.see("getComputedStyle(document.documentElement).backgroundColor") == "rgb(246, 245, 241)") != dark
    browser.picture(tmp_path / f"phone-{dark}.png")


def test_a_stretch_of_time_and_one_box_choose_who_is_shown_and_new_people_appear_by_themselves(
        busy: Process, browser: Browser) -> None:
    browser.open(busy.url)
    browser.wait(LANES)
    browser.see("document.getElementById('across').click()")
    browser.see("document.getElementById('all').click()")
    assert browser.see(LANES) == api(busy, "/v1/identities")["across"]
    browser.see("document.getElementById('across').click()")
    browser.see("document.querySelector('input[name=span][value=\"120\"]').click()")
    assert 0 < browser.see(LANES) < api(busy, "/v1/identities")["total"]
    before = api(busy, "/v1/identities")["total"]
    token = Process.command(busy, "enrol", "roof", "--config", str(busy.config), "--rotate").stdout.strip()
    busy.send(token, [People(9).sighting(500 + before, at=time.time() - 2, device="roof", camera="hatch")])
    browser.wait(f"document.getElementById('headline').textContent.startsWith('{before + 1} ')")
    browser.wait("document.getElementById('cameras').innerText.includes('hatch')")


def test_an_empty_collector_says_what_to_do_and_a_stopped_one_that_it_does_not_answer(collector: Process) -> None:
    collector.start()
    with Browser() as browser:
        browser.open(collector.url)
        browser.wait("document.body.innerText.includes('cmnas-edge collector enrol NAME')")
        assert "Nobody seen yet" in browser.see("document.getElementById('headline').textContent")
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
