"""What is wider than the window says so, names keep apart, and cameras of one name are told apart by their devices."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
from msgspec import structs

from tests.collector.browser import CHROMIUM, Browser
from tests.collector.house import House
from tests.collector.people import People
from tests.collector.process import Process
from tests.collector.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
              pytest.mark.timeout(120)]
NAMES = ("loading bay north side", "loading bay south side", "car park", "entrance", "corridor", "stairs",
         "main entrance of the hall", "gate", "reception", "archive")


class Box(NamedTuple):
    """Where the name of a camera stands in the window."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether they have a part in common that can be seen."""
        return (min(self.right, other.right) - max(self.left, other.left) > 1
                and min(self.bottom, other.bottom) - max(self.top, other.top) > 1)


def boxes(browser: Browser) -> list[Box]:
    """Of every camera of the graph: its name, and what is said below it."""
    return [Box(*found) for found in browser.see("""[...document.querySelectorAll('.node')].map((node) => {
        const [, name, below] = [...node.children].map((part) => part.getBoundingClientRect());
        return [Math.min(name.left, below.left), name.top, Math.max(name.right, below.right), below.bottom]; })""")]


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("count", [4, 10])
def test_no_name_of_a_camera_runs_into_another(served: Served, browser: Browser, width: int, count: int) -> None:
    people = People(noise=0.05)
    for person, (start, end) in enumerate(itertools.pairwise(NAMES[:count])):      # from each to the next
        served.house.send(people.sighting(person, at=1000.0 + 40 * person, camera=start),
                          people.sighting(person, at=1010.0 + 40 * person, camera=end))
    served.house.settle()
    browser.open(f"{served.url}/site", width=width, still=True)
    browser.wait(f"document.querySelectorAll('.node').length === {count} && !!document.querySelector('path.way')")
    browser.see("new Promise((done) => setTimeout(done, 700))")
    found = boxes(browser)
    assert not [(NAMES[a], NAMES[b]) for a, b in itertools.combinations(range(count), 2) if found[a].meets(found[b])]
    within = Box(*browser.see("(({ left, top, right, bottom }) => [left, top, right, bottom])"
                              "(document.getElementById('graph').getBoundingClientRect())"))
    assert all(box.left >= within.left - 1 and box.right <= within.right + 1 and box.bottom <= within.bottom + 1
               for box in found)


def test_a_table_that_goes_on_beyond_the_window_says_so_and_one_that_does_not_says_nothing(
        busy: Process, browser: Browser) -> None:
    for page, table in (("health", "cameras-table"), ("site", "ways-table")):
        for width, wide in ((360, True), (1600, False)):
            browser.open(f"{busy.url}/{page}", width=width)
            browser.wait(f"document.querySelectorAll('#{table} tbody tr').length")
            browser.wait(f"document.getElementById('{table}').previousElementSibling.offsetParent "
                         f"{'!==' if wide else '==='} null")
            said = browser.see(f"document.getElementById('{table}').previousElementSibling.innerText")
            assert said == "Slide it sideways for more columns." or not wide


def test_cameras_of_one_name_are_listed_with_their_devices_and_others_are_not(served: Served, browser: Browser) -> None:
    people = People()
    for number, (device, camera) in enumerate((("gate", "north"), ("yard", "north"), ("yard", "south"))):
        served.house.send(people.sighting(number, at=1000.0 + number, device=device, camera=camera), device=device)
    served.house.settle()
    served.house.now += 90
    browser.open(f"{served.url}/health")
    browser.wait("document.querySelectorAll('#worries li').length")
    assert "north (gate), north (yard), south: quiet for 2 min or longer" in browser.text("worries")
    browser.open(served.url)
    browser.wait("document.querySelectorAll('#feed li').length === 3")
    said = browser.see("[...document.querySelectorAll('#feed .light')].map((each) => each.textContent)")
    assert said == ["south", "north (yard)", "north (gate)"]
    browser.open(f"{served.url}/site")
    browser.wait("document.querySelectorAll('.node').length")
    assert browser.see("[...document.querySelectorAll('.node b')].map((each) => each.textContent)") == [
        "north (gate)", "north (yard)", "south"]


def test_the_latest_sightings_stand_as_they_arrived_and_say_so(house: House, browser: Browser) -> None:
    people, now = People(), 2000.0
    for number, at in enumerate((1990.0, 1500.0, 1980.0)):    # the second waited on its camera
        house.send(structs.replace(people.sighting(number, at=at), seen_at=at + 1))
    house.settle()
    assert house.now == now
    with Served(house) as served:
        browser.open(served.url, height=1500)
        browser.wait("document.querySelectorAll('#feed li').length === 3")
        assert browser.text("feed-order") == "As they arrived, the last first. Times are when somebody was seen."
        times = browser.see("[...document.querySelectorAll('#feed time')].map((one) => Date.parse(one.dateTime))")
        assert times == [1981e3, 1501e3, 1991e3]
        late = browser.see("[...document.querySelectorAll('#feed li')].map((one) => one.innerText.includes('arrived'))")
        assert late == [False, True, False]
