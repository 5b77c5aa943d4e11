"""A person can use the pages of the site, of searching, of the calibration and of health, against a real collector."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.collector import walks
from tests.collector.browser import CHROMIUM, Browser
from tests.collector.people import DIMENSION, People
from tests.collector.process import Process
from tests.collector.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(120)]


def test_the_site_shows_every_camera_once_and_every_way_with_what_it_takes(busy: Process, browser: Browser) -> None:
    site = busy.ask("/v1/site")
    browser.open(f"{busy.url}/site", height=1600)
    browser.wait("document.querySelectorAll('#ways tr').length")
    names = browser.see("[...document.querySelectorAll('.node b')].map((b) => b.textContent)")
    assert sorted(names) == sorted(camera["camera"] for camera in site["cameras"])
    assert set(walks.CAMERAS) <= set(names)
    rows = browser.see("[...document.querySelectorAll('#ways tr')].map((r) => [...r.cells].map((c) => c.textContent))")
    assert [(row[0], row[1], int(row[4])) for row in rows if row[2] != "none seen"] == [
        (t["from_camera"], t["to_camera"], t["count"])
        for t in sorted(site["transits"], key=lambda t: (-t["count"], t["from_camera"]))]
    assert sum(way["count"] for way in site["learned"]) > 20
    learned = {(way["from_camera"], way["to_camera"]): way for way in site["learned"]}
    assert set(learned) - {(row[0], row[1]) for row in rows} == set()
    for row in rows:
        way = learned.get((row[0], row[1]))
        told = ["nothing yet", "", "not at all"] if way is None else [
            row[6], str(way["count"]), f"{int(100 * way['weight'] + 0.5)}%"]
        assert [row[6], row[7], row[8].partition("under")[0]] == told
        assert ("is impossible" in row[8]) == (way is not None and way["impossible_s"] is not None)
    # Walkers take so long; what is learned from links is near it.
    for start, (_, _, onward) in walks.CAMERAS.items():
        for end, seconds in onward.items():
            for way in site["transits"]:
                if (way["from_camera"], way["to_camera"]) == (start, end) and way["count"] >= 6:
                    assert 0.5 * seconds < way["median_s"] < 2 * seconds
    assert browser.see("document.getAnimations().filter((a) => a instanceof CSSTransition).length") == 0
    boxes = browser.see("[...document.querySelectorAll('.node')].map((n) => {"
                        "const b = n.querySelector('i').getBoundingClientRect(); return [b.x, b.y]; })")
    apart = [np.hypot(a[0] - b[0], a[1] - b[1]) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert min(apart) > 40      # nothing lies on something else


def test_cameras_stand_where_they_stood_whenever_the_page_is_opened(busy: Process, browser: Browser) -> None:
    places = []
    for _ in range(2):
        browser.open(f"{busy.url}/site")
        browser.wait("document.querySelectorAll('.node').length")
        places.append(browser.see("[...document.querySelectorAll('.graph li')].map((n) => n.style.transform)"))
    assert places[0] == places[1]


def test_a_camera_chosen_on_the_site_shows_its_own_ways_and_leads_to_its_people(
        busy: Process, browser: Browser) -> None:
    browser.open(f"{busy.url}/site")
    browser.wait("document.querySelectorAll('#ways tr').length")
    browser.see("[...document.querySelectorAll('.node')].find((n) => n.innerText.startsWith('stairs')).click()")
    rows = browser.see("[...document.querySelectorAll('#ways tr')].map((r) => [...r.cells].map((c) => c.textContent))")
    assert rows
    assert all("stairs" in row[:2] for row in rows)
    assert browser.see("document.querySelector('.node.chosen').getAttribute('aria-pressed')") == "true"
    assert browser.see("document.querySelectorAll('#cameras li').length") == 1
    browser.see("document.querySelector('#cameras a').click()")
    browser.wait("document.querySelectorAll('.lane').length")
    assert browser.see("document.getElementById('camera').value") == "gate/stairs"
    found = busy.ask("/v1/identities?limit=1000&camera=gate/stairs")["found"]
    browser.wait(f"document.getElementById('count').textContent.startsWith('{found} of ')")


def test_a_search_from_a_time_offers_who_was_there_and_from_one_of_them_finds_others_and_says_probably(
        busy: Process, browser: Browser) -> None:
    browser.open(f"{busy.url}/search", height=1800)
    browser.wait("document.querySelectorAll('#results .act').length")
    assert "Choose whom to search for" in browser.text("results-from")
    browser.see("document.querySelector('#results .act').click()")
    browser.wait("document.querySelectorAll('.match .odds').length")
    number = int(browser.see("document.getElementById('sighting').value"))
    answer = busy.ask("/v1/search", sighting=number, k=30)["matches"]
    best = list(dict.fromkeys(match["sighting"]["identity"] for match in answer))
    assert len(best) < 30
    assert browser.see("document.querySelectorAll('#results > .match').length") == len(best)
    assert f", {len(best)} people" in browser.text("results-title")
    rows = "Object.fromEntries([...document.querySelectorAll('.match')].map((m) => [m.dataset.sighting, m.innerText]))"
    top = browser.see("[...document.querySelectorAll('#results > .match .who')].map((w) => w.textContent)")
    assert top[0] == f"Person {best[0]}"    # the best of each person, in the order of these; the others unfold
    browser.see("document.querySelectorAll('.others').forEach((more) => { more.open = true; })")
    found = browser.see(rows)
    assert len(found) == len(answer) == 30
    said = [found[str(match["sighting"]["id"])] for match in answer]
    first = browser.see("[...document.querySelectorAll('#results > .match')].map((m) => Number(m.dataset.sighting))")
    assert first == [
        next(m["sighting"]["id"] for m in answer if m["sighting"]["identity"] == who) for who in best]
    for odds in ("scrollWidth <= each.clientWidth", "getBoundingClientRect().height < 60"):
        assert browser.see(f"[...document.querySelectorAll('.odds b')].every((each) => each.{odds})")
    words = {(True, False): "Probably the same person: ", (True, True): "A suggestion, possibly the same person: "}
    for match, row in zip(answer, said, strict=True):
        assert f"Person {match['sighting']['identity']}" in row
        assert match["sighting"]["camera"] in row
        assert match["sighting"]["modality"] in row
        assert f"score {match['score']:.2f}, needed {match['threshold']:.2f}" in row
        p = match["probability"]
        assert ("over 99%" if p > 0.99 else "under 1%" if p < 0.01 else f"{int(100 * p + 0.5)}%") in row
        if match["verdict"] == "same":
            assert words[True, match["only_suggests"]] in row
        else:
            assert ("too close to call" if match["verdict"] == "unsure" else "Probably somebody else") in row
    page = browser.see("document.querySelector('main').innerText")
    assert " is the same person" not in page
    browser.see("document.querySelector('.match .who').click()")
    browser.wait("document.getElementById('person').open")


def test_a_search_from_a_vector_in_a_file_finds_whose_it_is(busy: Process, browser: Browser, tmp_path: Path) -> None:
    browser.open(f"{busy.url}/search")
    browser.wait("document.querySelectorAll('#results li').length")
    browser.see("document.getElementById('way-vector').click()")
    for person, kind in enumerate(["float32", "float16", ">f8", "rows", "json"], start=3):
        vector = 7.0 * People(1, noise=0.0, gap=walks.GAP).vector(person)
        path = tmp_path / f"{person}.{'json' if kind == 'json' else 'npy'}"
        if kind == "json":
            path.write_text(json.dumps(vector.tolist()))
        else:
            np.save(path, np.stack([vector, -vector]) if kind == "rows" else vector.astype(kind))
        browser.choose_file("#file", path)
        browser.see("document.getElementById('form').requestSubmit()")
        browser.wait(f"document.getElementById('results-from').textContent.includes('{path.name}')")
        (best, *_) = busy.ask("/v1/search", vector=(vector / np.linalg.norm(vector)).tolist())["matches"]
        first = browser.see("document.querySelector('.match').innerText")
        assert f"Person {best['sighting']['identity']}" in first
        assert f"score {best['score']:.2f}" in first


def test_a_file_that_holds_no_vector_is_refused_in_one_sentence(
        busy: Process, browser: Browser, tmp_path: Path) -> None:
    browser.open(f"{busy.url}/search")
    browser.see("document.getElementById('way-vector').click()")
    for number, (data, said) in enumerate([
            (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<i8'}", "expected one vector"), (b"{}", "expected a NumPy file"),
            (b"[0, 0]", "expected a vector with a direction"), (b"[1, null]", "expected finite numbers"),
            (b"[1, 2, 3]", f"expected a vector of {DIMENSION} entries, found 3")]):
        path = tmp_path / f"{number}.npy"
        path.write_bytes(data)
        browser.choose_file("#file", path)
        browser.see("document.getElementById('form').requestSubmit()")
        browser.wait(f"document.getElementById('said').textContent.includes({json.dumps(said)})")
    browser.complaints.clear()      # Chromium notes a 400


def test_the_threshold_is_dragged_and_moved_by_keys_and_errors_and_links_follow(
        busy: Process, browser: Browser) -> None:
    shown = next(p for p in busy.ask("/v1/calibration")["pairs"] if p["pair"] == "visible-visible")
    browser.open(f"{busy.url}/calibration", height=1500)
    browser.wait("document.querySelectorAll('#histogram path').length")
    slider = "document.getElementById('slider')"

    def now() -> float:
        return float(browser.see(f"{slider}.getAttribute('aria-valuenow')"))

    def truth(score: float) -> tuple[float, float]:
        """FMR and FNMR at a score that bounds bins, from the histograms of the API."""
        edges = {kind: shown["scale"][kind]["first"] + np.arange(len(shown["scale"][kind]["counts"]))
                 for kind in ("genuine", "impostor")}
        counts = {kind: np.array(shown["scale"][kind]["counts"]) for kind in edges}
        cut = round((score + 1) * 100)
        return (float(counts["impostor"][edges["impostor"] >= cut].sum() / counts["impostor"].sum()),
                float(counts["genuine"][edges["genuine"] < cut].sum() / counts["genuine"].sum()))

    def read(of: str) -> float:
        said = browser.text(of)
        if said == "none seen":
            return 0.0
        share, among = said.replace(",", "").split(" in ")
        return float(share) / float(among)

    assert now() == pytest.approx(shown["threshold"]["score"], abs=1e-3)
    assert "in effect" in browser.text("was")
    box = browser.see("(() => { const b = document.getElementById('histogram').getBoundingClientRect();"
                      "const s = document.getElementById('slider').getBoundingClientRect();"
                      "return [s.x + 1, b.y + 120, b.width]; })()")
    browser.drag((box[0], box[1]), (box[0] + 70, box[1]))
    up = now()
    assert up > shown["threshold"]["score"] + 0.03
    for presses in (0, 12):
        for _ in range(presses):
            browser.press("ArrowLeft")      # the focus went with the mouse
        score = now()
        assert score == pytest.approx(up - 0.01 * presses, abs=1e-6)
        fmr, fnmr = truth(score)
        assert read("fmr") == pytest.approx(fmr, rel=0.1, abs=1e-9)
        assert read("fnmr") == pytest.approx(fnmr, rel=0.1, abs=1e-9)
        moved = busy.ask(f"/v1/calibration/moved?pair=visible-visible&score={score:.4f}")
        browser.wait(f"document.getElementById('moved').textContent.startsWith('At {score:.2f}, about "
                     f"{moved['would_part']} link') || ({moved['would_part'] + moved['would_join']} === 0 && "
                     "document.getElementById('moved').textContent.startsWith('No link'))")
        assert browser.see("document.querySelectorAll('#links li').length") == len(moved["links"])
    assert "--rate" in browser.text("command")
    browser.press("Escape")
    assert now() == pytest.approx(shown["threshold"]["score"], abs=1e-3)
    assert busy.ask("/v1/calibration")["pairs"][0] == shown     # the page shows, and writes nothing


def test_the_calibration_says_on_whom_and_that_links_across_only_suggest(busy: Process, browser: Browser) -> None:
    browser.open(f"{busy.url}/calibration")
    browser.wait("document.querySelectorAll('#histogram path').length")
    assert browser.text("headline") == "Calibrated on drawn people"
    assert browser.see("document.getElementById('suggests').hidden")
    browser.see("document.querySelector('input[value=visible-infrared]').click()")
    assert "suggestions only" in browser.text("suggests")
    valuetext = browser.see("document.getElementById('slider').getAttribute('aria-valuetext')")
    assert "strangers match" in valuetext


def test_the_calibration_says_whether_it_holds_here_and_what_to_do_if_not(served: Served, browser: Browser) -> None:
    house, people = served.house, People(1, noise=0.2)
    browser.open(f"{served.url}/calibration")
    browser.wait("document.querySelectorAll('#drift li').length === 3")
    said = browser.text("drift")
    assert said.count("too early to say") == 3
    assert "No two strangers seen together yet" in said
    assert "Nobody is confirmed so far" in browser.text("drift-sum")
    vector = people.vector(1)
    house.send(*[people.sighting(n, at=1000.0 + n / 10, lasting=20.0, vector=vector) for n in range(6)])
    house.settle()
    house.api._drifts._known = None     # half a minute later
    browser.wait("document.querySelector('#drift li').innerText.includes('holds no more')")
    first = browser.see("document.querySelector('#drift li').innerText")
    assert "Of 15 pairs of strangers, 100 in 100 would be taken for one person; 1 in 1,000 was promised." in first
    assert "raise the threshold below" in first


DRIFTED = """(async () => {
    const { drawDrift } = await import('/drift.js');
    const part = (pair, of, told) => ({ pair, of, count: 9000, people: 50, wrong: 0.001, wrong_then: 0.001,
        holds: 'yes', as_alike: 0, shift: 0.07, moved: 'little', ...told });
    const [sum, box] = [document.createElement('p'), document.createElement('ul')];
    const pairs = ['visible-visible', 'infrared-infrared', 'visible-infrared'];
    const told = %s;
    drawDrift({ people: 3, contradicted: 1, parts: pairs.flatMap((pair, at) => [part(pair, 'strangers', told[at][0]),
        part(pair, 'one person', told[at][1])]) }, new Map([['visible-visible', 'site']]), sum, box);
    return [sum.textContent, ...[...box.children].map((item) => item.textContent)];
})()"""


def test_what_is_to_be_done_about_a_calibration_is_said_in_each_case(served: Served, browser: Browser) -> None:
    browser.open(f"{served.url}/calibration")
    total, held, moved, broken = browser.see(DRIFTED % json.dumps([
        [{}, {}], [{"moved": "much"}, {"moved": "some", "shift": -0.02}],
        [{"as_alike": 0.04}, {"holds": "no", "wrong": 0.5, "count": 40, "wrong_then": 0.1}]]))
    assert "3 people confirmed so far; 1 left out" in total
    assert held.startswith("Both visibleholdsOf 9,000 pairs of strangers, 1 in 1,000 would be taken")
    assert "Calibrate" not in held
    assert "Scores have moved (strangers by +0.07, one person by -0.02)" in moved
    assert "That much is sure of a bundle's calibration" in moved
    assert broken.startswith("Acrossholds no more")
    assert "Of 40 pairs of one person, 50 in 100 would be missed; 1 in 10 was expected." in broken
    assert "Expect one person under several numbers" in broken
    assert "4% of strangers are as alike as one person" in broken
    (site,) = browser.see(DRIFTED % json.dumps([[{"moved": "much"}, {}], [{}, {}], [{}, {}]]))[1:2]
    assert "Scores have moved (strangers by +0.07)" in site
    assert "bundle's calibration" not in site


def test_health_tells_cameras_losses_versions_storage_and_retention(busy: Process, browser: Browser) -> None:
    browser.open(f"{busy.url}/health", height=1500)
    browser.wait("document.querySelectorAll('#cameras tr').length")
    health, cameras = busy.ask("/v1/health"), busy.ask("/v1/cameras")
    rows = browser.see("[...document.querySelectorAll('#cameras tr')].map((r) => r.innerText)")
    assert len(rows) == len(cameras["cameras"])
    for camera, row in zip(cameras["cameras"], rows, strict=True):
        assert camera["camera"] in row
        assert "onnxruntime, fp32" in row
    assert "yard lost 5 sightings" in browser.text("worries")
    assert "9000 to 9004" in browser.text("gaps")
    kept, collector = browser.text("storage"), browser.text("collector")
    assert f"{health['stored_count']:,}" in kept
    assert "3 days" in kept     # retention_h, 72
    assert "on the disk" in kept
    assert health["version"] in collector
    assert health["fingerprint"][:16] in collector
