"""Every setting, metric, log event and exit code stands in docs/operate.md, and nothing that is not there any more."""

from __future__ import annotations

import re

from cmnas_edge import cli
from tests.house import operate

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
