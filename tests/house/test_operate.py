"""Every setting, metric, log event and exit code stands in docs/operate.md, and nothing that is not there any more."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cmnas_edge import cli, service
from cmnas_edge.service import files
from tests.house import operate
from tests.house.operate import ROOT

TEXT = operate.DOCUMENT.read_text("utf-8")


def rows(mark: str) -> dict[str, str]:
    """A table's rows by their first cell, as they stand in the document."""
    table = TEXT.partition(f"<!-- {mark} -->")[2].partition(f"<!-- end of {mark} -->")[0]
    return {line.split(" | ")[0].strip("| `"): line for line in table.strip().splitlines()[2:]}


def test_the_tables_are_those_of_the_code() -> None:
    now, then = (re.findall(r"^\|.*$", text, re.MULTILINE) for text in (operate.filled(TEXT), TEXT))
    missing, gone = [row for row in now if row not in then], [row for row in then if row not in now]
    assert not missing, f"not in docs/operate.md; run python -m tests.house.operate: {missing[:3]}"
    assert not gone, f"not in the code any more; run python -m tests.house.operate: {gone[:3]}"
    assert operate.filled(TEXT) == TEXT


def test_every_exit_code_of_an_error_has_its_line_and_the_others_are_those_of_commands() -> None:
    assert operate.EXIT_CODES.keys() - operate.codes() == {0, 130}
    assert operate.codes() <= operate.EXIT_CODES.keys()
    assert rows("exit codes").keys() == {str(code) for code in operate.EXIT_CODES}


def test_every_setting_is_described_in_words() -> None:
    found = rows("settings of a device") | rows("settings of a collector")
    assert {"device", "link.batch", "cameras[].source.location", "health", "mqtt.broker", "listen"} <= found.keys()
    assert not [name for name, line in found.items() if len(line.split(" | ")[-1]) < 15]


def test_every_event_that_is_logged_is_found() -> None:
    events = {words for _, _, words in operate.events()}
    assert "camera …: frames again" in events
    assert "camera …: …; the others go on" in events
    assert len(events) > 30


def test_commands_and_pages_that_are_named_are_there() -> None:
    verbs = set(re.findall(r"cmnas-edge ([a-z-]+)", TEXT))
    assert verbs <= cli.VERBS.keys(), verbs - cli.VERBS.keys()
    assert {"/metrics", "/healthz", "/readyz"} <= set(re.findall(r"`(/\w+)`", TEXT))


def test_a_folder_of_ours_is_made_in_each_listing_before_anybody_goes_there() -> None:
    listings = [listing for listing in re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
                if "cd /etc/cmnas-edge" in listing]
    assert len(listings) == 2, "of the collector's machine, and of a device"
    for listing in listings:
        assert "mkdir -p /etc/cmnas-edge" in listing.partition("cd /etc/cmnas-edge")[0]


def test_what_is_typed_on_a_bare_machine_leads_to_two_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it but what installs packages, starts services and asks for a password, in a folder of its own."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    bare = TEXT.partition("## From a bare machine")[2].partition("## As a service")[0]
    signing, middle, device = re.findall(r"^```\n(.*?)^```$", bare, re.MULTILINE | re.DOTALL)
    subprocess.run(["sh", "-ec", signing.replace("make ", f"make -s -C {ROOT} OUT={tmp_path / 'signed'} ")], check=True)
    left = ("python3 -m venv", "ln -s", "systemctl", *(f"cmnas-edge {what}" for what in (
        "collector person add", "service print", "doctor", "camera")))
    monkeypatch.setattr(files, "_HIDDEN", ())   # a service sees no temporary folder
    for listing, settings, carried in (
            (middle, "collector.toml", ("signed/collector.pem", "signed/collector-key.pem")),
            (device, "gate.toml", ("signed/authority.pem", "collector.toml/gate.token"))):
        etc = tmp_path / settings
        etc.mkdir()
        for one in carried:
            shutil.copy(tmp_path / one, etc)
        typed = "\n".join(line for line in listing.splitlines() if not line.startswith(left))
        typed = typed.replace("/etc/cmnas-edge", str(etc)).replace("/var/lib/", f"{etc}/")
        typed = re.sub(r"^cmnas-edge ", f"{sys.executable} -m cmnas_edge.cli ", typed, flags=re.MULTILINE)
        done = subprocess.run(["sh", "-ec", typed], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed = re.search(rf"^cmnas-edge service print {settings}(?: --room (\w+))? > /etc/systemd/system/(\S+)$",
                            listing, re.MULTILINE)
        assert printed is not None
        written = (etc / settings).read_text().replace(f"{etc}/", "/var/lib/")
        (etc / settings).write_text(written)
        unit = str(service.unit_of(etc / settings, printed[1] or "camera"))
        assert f"StateDirectory={printed[2].removesuffix('.service')}\n" in unit
