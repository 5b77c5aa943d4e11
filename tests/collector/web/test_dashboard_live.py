"""Pages stay true by themselves: through a quiet camera, a restart, a sleeping laptop and the end of a session."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.collector import walks
from tests.collector.browser import CHROMIUM, Browser
from tests.collector.people import People
from tests.collector.process import Process
from tests.collector.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(120)]
# A stream that says what a test lets it say, and a clock and a page to go with it.
FAKE = """(async () => {
    const { Live } = await import('/live.js');
    window.opened = [];
    window.heard = [];
    window.clock = 0;
    class Source extends EventTarget {
        constructor(path) { super(); this.path = path; this.readyState = 1; window.opened.push(this); }
        close() { this.readyState = 2; }
        say(kind, version) {
            this.dispatchEvent(Object.assign(new Event(kind), { data: JSON.stringify({ version }) }));
        }
    }
    window.page = Object.assign(new EventTarget(), { hidden: false });
    window.live = new Live('/v1/events', (kind) => window.heard.push(kind), { Source, now: () => window.clock, page });
    return true;
})()"""


def test_a_camera_that_falls_quiet_is_said_to_be_and_live_again_when_it_is_heard(
        served: Served, browser: Browser) -> None:
    house, people = served.house, People()
    house.send(*[people.sighting(n, at=1990.0 + n, camera=camera) for n, camera in enumerate(["north", "south"])])
    house.settle()
    states = {"site": "document.querySelectorAll('.node.quiet').length",
              "health": "document.querySelectorAll('.state.quiet').length"}
    for page, quiet in states.items():
        browser.open(f"{served.url}/{page}")
        browser.wait("document.body.innerText.includes('south')")
        assert browser.see(quiet) == 0
        house.now += 300
        served.tell()
        browser.wait(f"{quiet} === 2")
        house.send(*[people.sighting(n, at=house.now - 4, camera=camera) for n, camera in ((7, "south"), (8, "north"))])
        house.settle()
        browser.wait(f"{quiet} === 0")


def test_a_page_goes_on_by_itself_when_the_collector_was_restarted(tmp_path: Path, browser: Browser) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Process(tmp_path / "collector", listen=f"127.0.0.1:{port}") as collector:
        tokens = walks.send(collector, walks.walks(3, time.time() - 5))
        browser.open(collector.url)
        browser.wait("document.querySelectorAll('.lane').length")
        began = time.monotonic()
        assert collector.stop() == 0
        assert time.monotonic() - began < 4.5   # an open stream does not hold it up until its patience ends
        browser.wait("document.getElementById('health-text').textContent.includes('does not answer')")
        collector.start()
        collector.send(tokens["gate"], [People(9).sighting(900, at=time.time() - 2, camera="hatch")])
        browser.wait("document.getElementById('health').classList.contains('ok')")
        browser.wait("document.getElementById('cameras').innerText.includes('hatch')")
    browser.complaints.clear()      # Chromium notes refused connections


def test_a_stream_that_slept_or_broke_is_opened_anew_and_a_hidden_page_holds_none(
        served: Served, browser: Browser) -> None:
    browser.open(f"{served.url}/live.js")       # a page that runs nothing of its own
    assert browser.see(FAKE)
    browser.see("opened[0].say('change', 'a'); opened[0].say('beat', 'a'); opened[0].say('change', 'b')")
    assert browser.see("heard") == ["change", "beat", "change"]
    browser.see("clock = 31000; live.watch()")
    assert browser.see("opened.length") == 1
    browser.see("clock = 3600000; live.watch()")    # the laptop slept for an hour: the stream looks whole, and is dead
    assert browser.see("[opened.length, opened[0].readyState, heard.at(-1)]") == [2, 2, "poll"]
    browser.see("opened[0].say('change', 'old')")
    assert browser.see("heard.length") == 4         # what comes late of the old one counts no more
    browser.see("opened[1].say('beat', 'c')")
    assert browser.see("heard.at(-1)") == "change"  # the first word after a while says another version
    browser.see("opened[1].readyState = 2; live.watch()")   # refused for good, as with 503
    assert browser.see("[opened.length, heard.at(-1)]") == [3, "poll"]
    browser.see("page.hidden = true; page.dispatchEvent(new Event('visibilitychange')); clock += 1e7; live.watch()")
    assert browser.see("[opened.length, live.source]") == [3, None]
    browser.see("page.hidden = false; page.dispatchEvent(new Event('visibilitychange'))")
    assert browser.see("opened.length") == 4
    browser.complaints.clear()      # a script shown as a page has no icon


def test_a_page_whose_session_ends_leads_to_the_log_in(served: Served, browser: Browser) -> None:
    name, token = served.log_in("viewer")
    browser.cookie(served.url, name, token)
    browser.open(served.url)
    browser.wait("document.querySelector('.who-am-i')?.innerText.includes('some-viewer, viewer')")
    served.house.sessions.end(token)
    served.tell()
    browser.wait("location.pathname === '/log-in'")
    browser.complaints.clear()      # Chromium notes the 401


@pytest.fixture
def seen(served: Served) -> Served:
    """A collector that saw somebody."""
    served.house.send(People().sighting(1, at=1990.0))
    served.house.settle()
    return served


def opened_by(role: str, seen: Served, browser: Browser) -> None:
    """Somebody of a role opens the one who was seen."""
    browser.cookie(seen.url, *seen.log_in(role))
    browser.open(f"{seen.url}/#person-1")
    browser.wait("document.querySelectorAll('#person-track li').length")


def test_a_viewer_is_not_offered_what_only_operators_may(seen: Served, browser: Browser) -> None:
    for role, may in (("viewer", False), ("operator", True)):
        opened_by(role, seen, browser)
        assert browser.see("document.getElementById('person-ask').hidden") != may
        browser.open(f"{seen.url}/search")
        browser.wait("document.querySelectorAll('#results li').length")
        assert (browser.see("document.querySelectorAll('#results .act').length") > 0) == may
        assert browser.see("document.getElementById('way-vector').disabled") != may


def test_a_privacy_officer_takes_sightings_away_with_a_reason_and_nobody_else_is_offered_that(
        seen: Served, browser: Browser) -> None:
    for role, may in (("admin", False), ("privacy", True)):
        opened_by(role, seen, browser)
        assert browser.see("document.getElementById('person-take').hidden") != may
        browser.open(f"{seen.url}/health")
        browser.wait("document.querySelectorAll('#cameras tr').length")
        assert browser.see("document.getElementById('take-card').hidden") != may
    opened_by("privacy", seen, browser)
    asked = browser.see("""(() => {
        const form = document.getElementById('person-take');
        form.elements.reason && (form.elements.reason.value = 'asked by the person');
        return form.reportValidity();
    })()""")
    assert asked
    before = seen.house.audit_log.check().last
    browser.see("document.getElementById('person-take').requestSubmit()")
    until = time.monotonic() + 20
    while seen.house.audit_log.check().last == before and time.monotonic() < until:
        browser.see("new Promise((done) => setTimeout(done, 50))")
    assert seen.house.audit_log.check().last == before + 1
