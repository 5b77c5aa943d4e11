"""The log-in page in a real browser: with the keyboard, by day and night, on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.axe import faults
from tests.collector.browser import CHROMIUM, Browser
from tests.collector.process import Process

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(120)]
PASSWORD = "correct horse & battery=staple"


@pytest.fixture(scope="module")
def staffed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A collector with one person."""
    folder = tmp_path_factory.mktemp("staffed")
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    with Process(folder / "collector") as collector:
        done = collector.command("person", "add", "anna", "--role", "operator", "--password-file", str(secret),
                                 "--config", str(collector.config))
        assert done.returncode == 0, done.stderr
        collector.start()
        yield collector


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A page; nothing on it may complain."""
    with Browser() as page:
        yield page


def test_somebody_logs_in_with_the_keyboard_stays_so_and_a_stranger_sees_nothing(
        staffed: Process, browser: Browser, tmp_path: Path) -> None:
    browser.open(staffed.url)
    browser.wait("location.pathname === '/log-in'")
    browser.wait("document.activeElement.id === 'name'")
    browser.type_in("anna")
    browser.press("Tab")
    assert browser.see("document.activeElement.id") == "password"
    browser.type_in("wrong horse battery")
    browser.press("Enter")
    browser.wait("document.querySelector('[role=alert]') !== null")
    assert browser.see("document.querySelector('[role=alert]').textContent") == "Name or password is wrong."
    assert browser.see("document.getElementById('name').value") == "anna"
    browser.wait("document.activeElement.id === 'password'")
    browser.picture(tmp_path / "wrong.png")
    browser.complaints.clear()      # Chromium says that it was answered 401
    browser.type_in(PASSWORD)
    browser.press("Enter")
    browser.wait("location.pathname === '/'")
    assert browser.see("document.cookie") == "", "scripts cannot see it"
    browser.open(staffed.url)
    browser.wait("location.pathname === '/' && document.title.includes('cmnas-edge')")
    assert browser.see("fetch('/v1/session').then((a) => a.json()).then((s) => s.name)") == "anna"
    assert browser.see("fetch('/v1/search', {method: 'POST', headers: {'Content-Type': 'application/json'}, "
                       "body: '{}'}).then((a) => a.status)") == 400, "a page of ours may ask"
    browser.see("void fetch('/log-out', {method: 'POST'})")
    browser.wait("location.pathname === '/log-in'")     # the page goes there by itself
    assert browser.see("fetch('/v1/session').then((a) => a.status)") == 401
    browser.complaints.clear()
    assert browser.complaints == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_phone_by_day_and_night_and_can_be_read(
        staffed: Process, browser: Browser, dark: bool, tmp_path: Path) -> None:
    for width, height in ((390, 844), (1280, 800)):
        browser.open(f"{staffed.url}/log-in", width=width, height=height, dark=dark)
        browser.wait("document.querySelector('form') !== null")
        assert browser.see("document.documentElement.scrollWidth") <= width
        browser.picture(tmp_path / f"{width}-{dark}.png")
        assert faults(browser) == []
    labelled = "[...document.querySelectorAll('input')].every((i) => i.labels.length === 1 && i.autocomplete)"
    assert browser.see(labelled)
    paper = browser.see("getComputedStyle(document.documentElement).backgroundColor")
    card = browser.see("getComputedStyle(document.querySelector('main')).backgroundColor")
    assert len({paper, card, browser.see("getComputedStyle(document.querySelector('h1')).color")}) == 3
    assert browser.see("document.querySelector('button').offsetHeight") >= 40
    assert browser.complaints == []


def test_another_port_of_this_host_cannot_act_for_who_is_logged_in(staffed: Process, browser: Browser) -> None:
    import http.server
    import threading

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>elsewhere</title>")

        def log_message(self, *_: object) -> None:
            pass

    browser.open(f"{staffed.url}/log-in")
    browser.type_in("anna")
    browser.press("Tab")
    browser.type_in(PASSWORD)
    browser.press("Enter")
    browser.wait("location.pathname === '/'")
    # Threads: a browser opens a connection ahead of need, and says nothing on it for a minute.
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            browser.open(f"http://127.0.0.1:{server.server_port}/")
            browser.wait("document.title === 'elsewhere'")
            # Same site, so the cookie goes along; what is posted as a form needs nobody's leave to be sent.
            browser.see(f"fetch('{staffed.url}/log-out', {{method: 'POST', mode: 'no-cors', credentials: 'include'}})"
                        ".then(() => 0, () => 0)")
        finally:
            server.shutdown()
    browser.complaints.clear()
    browser.open(staffed.url)
    browser.wait("document.title.includes('cmnas-edge')")
    assert browser.see("fetch('/v1/session').then((a) => a.json()).then((s) => s.name)") == "anna", "still logged in"
