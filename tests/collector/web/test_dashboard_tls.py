"""The pages over TLS in a real browser, as from another machine, with the certificates of a site's own authority."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.browser import CHROMIUM, Browser
from tests.collector.people import People
from tests.collector.process import Process
from tests.collector.receiving.certificates import elsewhere, make

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.skipif(not (shutil.which("make") and shutil.which("openssl")),
                                 reason="make or openssl is not installed"), pytest.mark.timeout(120)]
PASSWORD = "correct horse & battery=staple"
ADDRESS = elsewhere() or "127.0.0.1"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papers")
    made = make(folder, f"collector.example {ADDRESS}", "")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, papers: Path) -> Iterator[Process]:
    """A collector that other machines reach by TLS, with one person who may decide."""
    folder = tmp_path_factory.mktemp("secured")
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    with Process(folder / "collector", f'tls_certificate = "{papers}/collector.pem"\n'
                 f'tls_key = "{papers}/collector-key.pem"\n', listen="0.0.0.0:0",
                 authority=papers / "authority.pem") as collector:
        done = collector.command("person", "add", "anna", "--role", "operator", "--password-file", str(secret),
                                 "--config", str(collector.config))
        assert done.returncode == 0, done.stderr
        collector.start()
        collector.url = collector.url.replace("0.0.0.0", ADDRESS)
        yield collector


def key_of(certificate: Path) -> str:
    """The SHA-256 of a certificate's public key, in base64."""
    key = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], capture_output=True, check=True)
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key.stdout, capture_output=True,
                         check=True)
    return base64.b64encode(hashlib.sha256(der.stdout).digest()).decode()


def test_somebody_logs_in_over_tls_with_cookies_that_go_nowhere_else_and_sees_what_comes(
        secured: Process, papers: Path) -> None:
    with Browser(trusting=key_of(papers / "collector.pem")) as browser:
        browser.open(secured.url)
        browser.wait("location.pathname === '/log-in'")
        assert browser.see("location.protocol + isSecureContext") == "https:true"
        browser.wait("document.activeElement.id === 'name'")
        browser.type_in("anna")
        browser.press("Tab")
        browser.type_in(PASSWORD)
        browser.press("Enter")
        browser.wait("document.querySelector('.who-am-i')?.innerText.includes('anna, operator')")
        port = secured.url.rpartition(":")[2]
        held = browser.cookies()
        assert set(held) == {f"__Host-cmnas-session-{port}", f"__Host-cmnas-browser-{port}"}
        for cookie in held.values():
            assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
                True, True, "Strict", "/")
            assert cookie["domain"] == ADDRESS      # of this host alone
        assert browser.see("document.cookie") == ""
        assert held[f"__Host-cmnas-session-{port}"]["session"]

        # A stream of events, over TLS, tells of who comes in; nothing is asked for in between.
        browser.wait("document.getElementById('health').classList.contains('ok')")
        token = secured.enrol()
        secured.send(token, [People().sighting(1, at=time.time() - 2, camera="hatch")])
        browser.wait("document.getElementById('headline').textContent.startsWith('1 person')")
        browser.wait("document.getElementById('cameras').innerText.includes('hatch')")
        browser.see("document.querySelector('.lane .name').click()")
        browser.wait("document.querySelectorAll('#person-track li').length")
        browser.see("document.getElementById('person-reason').value = 'I saw her'; [...document.querySelectorAll("
                    "'#person .act')].find((b) => b.textContent === 'All one person').click()")
        browser.wait("document.getElementById('person-past').innerText.includes('I saw her')")
        browser.press("Escape")
        browser.see("document.querySelector('.who-am-i button').click()")
        browser.wait("location.pathname === '/log-in'")
        assert set(browser.cookies()) == {f"__Host-cmnas-browser-{port}"}
        assert browser.complaints == []


def test_a_browser_that_does_not_know_the_authority_shows_nothing(secured: Process) -> None:
    with Browser() as browser:
        browser._ask("Page.navigate", url=secured.url)
        browser.wait("document.body && document.body.innerText.includes('ERR_CERT_AUTHORITY_INVALID')")
        assert browser.cookies() == {}


def test_plain_http_from_another_machine_gets_no_page(secured: Process) -> None:
    with Browser() as browser:
        browser._ask("Page.navigate", url=secured.url.replace("https://", "http://"))
        browser.wait("document.body && document.body.innerText.includes('ERR_')")
        assert browser.see("document.querySelector('form')") is None
