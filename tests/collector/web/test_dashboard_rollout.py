"""The page of how it goes says how far a change of bundles has come."""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import structs

from cmnas_edge.wire import encode_batch
from tests.collector.browser import Browser
from tests.collector.people import People
from tests.collector.served import Served
from tests.collector.test_rollout import NEW, OLD, Site


def test_health_says_which_bundles_are_accepted_and_which_camera_sends_by_which(
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
        sends = {row.split()[0]: {name for name in (old, new) if name in row} for row in rows}
        assert sends == {"north": {old, new}, "south": {old}, "east": {new}}
        assert "gate keeps what cannot be taken for now: fingerprint: expected bundle" in browser.see(
            "document.getElementById('worries').innerText")
        said = " ".join(browser.see("document.getElementById('collector').innerText").split())
        on = "entries, calibrated on drawn people; sent by 2 of 3 cameras, not by"
        assert f"Bundle {new} vectors of 13 {on} south" in said
        assert f"Accepted, too {old} vectors of 16 {on} east" in said
        vector = People(8).vector(1)      # by the old one, which does not lead
        (tmp_path / "one.json").write_text(json.dumps(vector.tolist()), "utf-8")
        browser.open(f"{served.url}/search")
        browser.wait("document.querySelectorAll('#bundle option').length === 2")
        browser.see("document.getElementById('way-vector').click()")
        assert browser.see("document.getElementById('by-bundle').innerText").split()[3] == f"{new},"
        browser.choose_file("#file", tmp_path / "one.json")
        browser.see("document.getElementById('bundle').selectedIndex = 1")
        browser.see("document.getElementById('form').requestSubmit()")
        browser.wait("document.querySelectorAll('.match').length === 2")        # north and south, by the old one
        browser.open(served.url, height=1500)
        browser.wait("document.querySelectorAll('#feed li').length === 3")      # of four records
        last = browser.see("document.querySelector('#feed li:last-child').innerText")
        assert last.endswith("\nnew")   # as the first of both was decided
    site.house.close()
