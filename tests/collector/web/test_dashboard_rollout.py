"""The page of how it goes says how far a change of bundles has come."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from cmnas_edge.wire import encode_batch
from tests.collector.browser import Browser
from tests.collector.people import People
from tests.collector.served import Served
from tests.collector.test_rollout import NEW, OLD, Site


def test_health_says_which_bundles_are_accepted_by_name_and_which_camera_sends_by_which(
        tmp_path: Path, browser: Browser) -> None:
    site = Site(tmp_path / "data")
    site.accept(NEW, OLD)
    for camera, by in (("north", (OLD, NEW)), ("south", (OLD,)), ("east", (NEW,))):
        site.see(1, *by, at=1000, camera=camera)
    site.house.post(encode_batch([structs.replace(one, fingerprint=bytes(32)) for one in site.told(3, NEW, at=1000)]))
    old, new = (model.fingerprint.hex()[:16] for model in (OLD, NEW))
    with Served(site.house) as served:
        browser.open(f"{served.url}/health", height=1500)
        browser.wait("document.querySelectorAll('#cameras tr').length")
        rows = browser.see("[...document.querySelectorAll('#cameras tr')].map((r) => r.innerText)")
        sends = {row.split()[0]: set(row.rpartition("by ")[2].split(" and ")) for row in rows}
        assert sends == {"north": {"old", "new"}, "south": {"old"}, "east": {"new"}}
        assert "gate keeps what cannot be taken for now: fingerprint: expected bundle" in browser.see(
            "document.getElementById('worries').innerText")
        said = " ".join(browser.see("document.getElementById('collector').innerText").split())
        on = "entries, calibrated on drawn people; sent by 2 of 3 cameras, not by"
        last = "2 sightings in memory, the last just now"
        assert f"Leading bundle new, osnet {new}, vectors of 13 {on} south; {last}" in said
        assert f"Accepted, too old, none {old}, vectors of 16 {on} east; {last}" in said
        vector = People(8).vector(1)      # by the old one, which does not lead
        (tmp_path / "one.json").write_text(json.dumps(vector.tolist()), "utf-8")
        browser.open(f"{served.url}/search")
        browser.wait("document.querySelectorAll('#bundle option').length === 2")
        browser.see("document.getElementById('way-vector').click()")
        assert browser.see("document.getElementById('by-bundle').innerText").split()[3] == "new,"
        browser.choose_file("#file", tmp_path / "one.json")
        browser.see("document.getElementById('bundle').selectedIndex = 1")
        browser.see("document.getElementById('form').requestSubmit()")
        browser.wait("document.querySelectorAll('.match').length === 2")        # north and south, by the old one
        browser.open(served.url, height=1500)
        browser.wait("document.querySelectorAll('#feed li').length === 3")      # of four records
        last = browser.see("document.querySelector('#feed li:last-child').innerText")
        assert "\nnew, arrived " in last     # as the first of both was decided
    site.house.close()


def test_what_a_bundle_taken_out_too_early_made_is_said_first_of_all_with_what_to_do(
        tmp_path: Path, browser: Browser) -> None:
    site = Site(tmp_path / "data")
    site.accept(NEW, OLD)
    site.see(1, OLD, at=1000)
    site.see(2, OLD, NEW, at=1100)
    site.accept(NEW)
    with Served(site.house) as served:
        browser.open(f"{served.url}/health")
        browser.wait("document.querySelectorAll('#worries li').length")
        said = browser.see("document.querySelector('#worries li').innerText")
        assert said.startswith("2 sightings of the last 60 min, the newest of ")
        assert said.endswith(f"were made by bundle {OLD.fingerprint.hex()[:16]}, which is accepted no more, and are "
                             "not shown: put that bundle into also, in the collector's settings, to have them back.")
        assert "\nBundle\nnew, osnet" in browser.see("document.getElementById('collector').innerText")
    site.house.close()


def test_a_bundle_of_which_nothing_is_left_may_be_taken_out_and_two_of_one_name_are_told_apart(
        tmp_path: Path, browser: Browser) -> None:
    twin = replace(NEW, name="old")
    site = Site(tmp_path / "data")
    site.accept(twin, OLD)
    site.see(1, twin, at=1000)
    with Served(site.house) as served:
        browser.open(f"{served.url}/health")
        browser.wait("document.querySelectorAll('#cameras tr').length")
        said = " ".join(browser.see("document.getElementById('collector').innerText").split())
        assert "nothing of it is in memory, so it may be taken out of also once no camera sends by it" in said
        assert f"by old {twin.fingerprint.hex()[:8]}" in browser.see("document.getElementById('cameras').innerText")
    site.house.close()


def test_the_calibration_says_that_it_is_the_leading_ones_while_two_are_accepted(
        tmp_path: Path, browser: Browser) -> None:
    site = Site(tmp_path / "data")
    old, new = (model.fingerprint.hex()[:16] for model in (OLD, NEW))
    both = (f"2 bundles are accepted. All of this page is about the leading one, new ({new}). old ({old}) is judged "
            "by a calibration of its own, which is shown here")
    for also, said in (([OLD], both), ([], "")):
        site.accept(NEW, *also)
        with Served(site.house) as served:
            browser.open(f"{served.url}/calibration")
            browser.wait("document.getElementById('on').textContent")
            assert browser.see("document.getElementById('leading').innerText").startswith(said)
            assert browser.see("document.getElementById('leading').hidden") == (not said)
            assert browser.see("document.getElementById('curve').hidden")   # thresholds alone: there is none
            assert f"Bundle new, {new}." in browser.see("document.getElementById('on').innerText")
            browser.open("about:blank?")        # its stream ends with the page, not with the collector
    site.house.close()


def test_a_link_says_by_which_bundle_while_two_are_accepted(tmp_path: Path, browser: Browser) -> None:
    site = Site(tmp_path / "data")
    site.accept(NEW, OLD)
    for by, camera, at in ((OLD, "north", 1000), (OLD, "south", 1100), (NEW, "south", 1300), (NEW, "north", 1400)):
        site.see(1 if by is OLD else 2, by, at=at, camera=camera)
    for also, said in (([OLD], {", by old", ", by new"}), ([], {""})):
        site.accept(NEW, *also)
        seen = set()
        with Served(site.house) as served:
            for identity in site.people():
                browser.open(f"{served.url}/#person-{identity}")
                browser.wait("document.querySelectorAll('#person-track li').length === 2")
                why = browser.see("document.querySelector('#person-track li:last-child p').innerText")
                assert why.startswith("Probably the same person: score ")
                seen.add(why.partition(", both visible")[2])
            browser.open("about:blank?")
        assert seen == said
    site.house.close()
