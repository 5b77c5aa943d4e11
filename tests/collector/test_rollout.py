"""A collector that accepts two bundles for a while: nobody is compared across them, and nobody becomes another."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from cmnas_edge.calibration import PAIRS, Threshold
from cmnas_edge.collector.gallery import rebuild
from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.journal import Arrival, Journal
from cmnas_edge.sighting import Sighting
from tests.collector.house import House
from tests.collector.people import DIMENSION, Model, People
from tests.contract.make_batch import sightings as of_first_release
from tests.proof import examples

OLD, NEW = Model(name="old"), Model(hashlib.sha256(b"the next").digest(), DIMENSION - 3, name="new", backbone="osnet")


class Site:
    """People before a house whose cameras tell of them by the old bundle, the new one or both."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.house = folder, House(folder, model=OLD)
        self._people = {OLD.fingerprint: People(3), NEW.fingerprint: People(4, dimension=NEW.dimension)}
        self._sequence = 0

    def accept(self, model: Model, *also: Model) -> None:
        """Start again with these bundles."""
        self.house.close()
        self.house = House(self.folder, model=model, also=also)

    def told(self, person: int, *by: Model, at: float, **given: Any) -> list[Sighting]:
        """What a camera tells of one tracklet, by each bundle."""
        tracklet, found = self._sequence + 1, []
        for model in by:
            self._sequence += 1
            found.append(structs.replace(self._people[model.fingerprint].sighting(
                person, at=at, tracklet=tracklet, sequence=self._sequence, **given), fingerprint=model.fingerprint))
        return found

    def see(self, person: int, *by: Model, at: float, **given: Any) -> int:
        """Have a tracklet stored and matched; return the identity it has then."""
        outcomes = self.house.send(*self.told(person, *by, at=at, **given))
        assert [outcome.result for outcome in outcomes] == ["stored"] * len(by)
        self.house.settle()
        return self.house.gallery.sightings(newest=True, limit=1).sightings[0].identity

    def people(self) -> dict[int, list[int]]:
        """Tracklets of each identity, by the sighting that opened them."""
        return {who.identity: [one.id for one in who.tracklets]
                for who in self.house.gallery.identities(limit=1000).identities}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "data")
    yield site
    site.house.close()


def test_forward_through_an_overlap_and_back_again_everybody_keeps_their_number(site: Site) -> None:
    before = {person: site.see(person, OLD, at=1000 + 10 * person) for person in range(3)}
    site.accept(NEW, OLD)
    assert {p: site.see(p, OLD, NEW, at=1100 + 10 * p, camera="south") for p in range(2)} == {
        0: before[0], 1: before[1]}
    after = {person: site.see(person, NEW, at=1200 + 10 * person) for person in range(3)}
    assert (after[0], after[1]) == (before[0], before[1])
    assert after[2] not in before.values()      # nobody saw them by both: nobody can know
    site.accept(NEW)
    known = site.people()
    assert known.keys() == {after[0], after[1], after[2]}
    newcomer = site.see(9, NEW, at=1300)
    # Something is wrong with the new one: back, by the same way.
    site.accept(OLD, NEW)
    assert site.people()[before[2]], "who was known by the old one alone is known again"
    assert site.see(9, NEW, OLD, at=1400, camera="east") == newcomer
    assert [site.see(person, NEW, OLD, at=1410 + 10 * person, camera="east") for person in range(2)] == [
        before[0], before[1]]
    site.accept(OLD)
    assert [site.see(person, OLD, at=1500 + 10 * person) for person in (0, 1, 9)] == [before[0], before[1], newcomer]


def test_a_bundle_that_is_not_accepted_stays_on_its_camera_until_it_is(site: Site) -> None:
    early, told = site.told(1, NEW, at=1000), site.told(2, OLD, at=1000, camera="south")
    assert [outcome.sequence for outcome in site.house.send(*early, *told)] == [told[0].sequence]
    (kept,) = site.house.ask("GET", "/v1/health").json()["kept_back"]
    assert (kept["device"], kept["at"]) == ("gate", site.house.now)
    assert f"found {NEW.fingerprint.hex()[:12]}" in kept["reason"]
    site.house.now += 601
    assert site.house.ask("GET", "/v1/health").json()["kept_back"] == []
    site.accept(OLD, NEW)
    assert [outcome.result for outcome in site.house.send(*early)] == ["stored"]
    assert site.house.ask("GET", "/v1/health").json()["kept_back"] == []


def test_what_both_tell_of_is_one_tracklet_everywhere(site: Site) -> None:
    site.accept(OLD, NEW)
    twice = [site.told(1, OLD, NEW, at=1000), site.told(2, OLD, NEW, at=1001)]      # at one time before one camera
    for _ in range(2):
        site.house.send(*(one for told in twice for one in told))
        site.house.settle()
        one, other = sorted(site.house.gallery.identities().identities, key=lambda who: who.identity)
        assert [(len(who.tracklets), who.sighting_count) for who in (one, other)] == [(1, 1), (1, 1)]
        timeline = site.house.gallery.timeline(one.identity)
        assert [seen.fingerprint for seen in timeline.sightings] == [   # type: ignore[union-attr]
            OLD.fingerprint.hex(), NEW.fingerprint.hex()]
        assert site.house.gallery.roster().total == 2
        site.accept(NEW, OLD)


@pytest.mark.parametrize("restart", [False, True])
def test_what_people_decide_holds_in_both(site: Site, restart: bool) -> None:
    site.accept(OLD, NEW)
    first, second = site.see(1, OLD, NEW, at=1000), site.see(2, OLD, NEW, at=1100)

    def decide(kind: str, **given: Any) -> Any:
        answer = site.house.ask("POST", "/v1/decisions", headers=site.house.cookie("operator"), json={
            "kind": kind, "reason": "seen", **given})
        assert answer.status_code == 200, answer.text
        if restart:
            site.accept(NEW, OLD)
        return answer.json()

    merged = decide("merge", identities=[first, second])
    assert site.people() == {first: [1, 3]}
    decide("undo", undoes=merged["id"])
    assert site.people() == {first: [1], second: [3]}
    assert site.see(1, NEW, at=1200, camera="south") == first
    decide("split", identities=[first], tracklets=[5])
    other, = (number for number, tracklets in site.people().items() if tracklets == [5])
    assert other not in (first, second)
    for by in ((NEW,), (OLD,), (OLD, NEW)):
        site.see(1, *by, at=1300, camera="east")
        assert not any({1, 5} <= set(tracklets) for tracklets in site.people().values())


def test_erasing_a_person_leaves_nothing_by_either_bundle(site: Site) -> None:
    site.accept(NEW, OLD)
    gone, stays = site.see(1, OLD, NEW, at=1000), site.see(2, OLD, NEW, at=1100)
    receipt = site.house.intake.erase(Selection(identity=gone), "ann", "asked").result(20)
    assert receipt.sightings == 2
    for model in (OLD, NEW):
        assert site.house.gallery._stores.of(model.fingerprint).view().ids().tolist() == [  # type: ignore[attr-defined]
            3 if model is OLD else 4]
    assert site.people() == {stays: [3]}
    site.accept(NEW, OLD)
    assert site.people() == {stays: [3]}


def test_what_leaves_the_window_leaves_it_by_both(site: Site) -> None:
    site.accept(NEW, OLD)
    site.see(1, OLD, NEW, at=1000)
    site.house.now += 4000
    site.house.intake._expired_at = 0
    site.house.settle()
    site.house.settle()
    assert site.house.gallery.counts() == (0, 0)
    assert [len(site.house.gallery._stores.of(model.fingerprint)) for model in (OLD, NEW)] == [0, 0]
    known = site.house.gallery._identities
    assert [len(each.prototypes.traits) for each in known._known] == [0, 0]


def test_a_collector_killed_before_it_decided_puts_both_into_one_at_its_start(site: Site) -> None:
    number = site.see(1, OLD, at=1000)
    site.accept(NEW, OLD)
    site.house.intake.stop()
    site.house.journal.append([Arrival("gate", list(site.told(1, OLD, NEW, at=1100, camera="south")), 2000.0)])
    site.house.journal.close()
    site.house = House(site.folder, model=NEW, also=[OLD])
    assert site.people() == {number: [1, 2]}
    assert site.see(1, NEW, at=1200) == number


def test_a_search_is_by_one_bundle_and_says_which(site: Site) -> None:
    site.accept(OLD, NEW)
    for person in range(3):
        site.see(person, OLD, NEW, at=1000 + 100 * person)

    def search(**asked: Any) -> Any:
        return site.house.ask("POST", "/v1/search", json=asked)

    for sighting, model in ((1, OLD), (2, NEW)):
        found = search(sighting=sighting).json()
        assert found["fingerprint"] == model.fingerprint.hex()
        assert {match["sighting"]["id"] % 2 for match in found["matches"]} == {sighting % 2}
    old, new = (People(8, dimension=model.dimension).vector(1).tolist() for model in (OLD, NEW))
    assert search(vector=old).json()["matches"][0]["sighting"]["id"] == 3
    assert search(vector=new, bundle=NEW.fingerprint.hex()[:8]).json()["matches"][0]["sighting"]["id"] == 4
    for asked, says in (({"vector": new}, "expected a vector of 16 entries, found 13"),
                        ({"vector": new, "bundle": "0" * 16}, "expected bundle"),
                        ({"vector": new, "bundle": NEW.fingerprint.hex()[:7]}, "by 8 digits at least"),
                        ({"sighting": 1, "bundle": NEW.fingerprint.hex()}, "expected no bundle with a sighting")):
        answer = search(**asked)
        assert answer.status_code == 400
        assert says in answer.json()["error"]


def test_each_is_judged_by_its_own_calibration(site: Site) -> None:
    strict = {name: Threshold(0.9999, 1e-3, 0.9, 1000, 100_000) for name in PAIRS}
    other = Model(NEW.fingerprint, NEW.dimension, strict, "site")
    site.accept(OLD, other)
    assert site.see(1, OLD, at=1000) == site.see(1, OLD, at=1100, camera="south")
    assert site.see(2, other, at=1200) != site.see(2, other, at=1300, camera="south")
    by_old, by_other = (site.house.ask("POST", "/v1/search", json={"sighting": n}).json()["matches"][0] for n in (1, 3))
    assert (by_old["threshold"], by_other["threshold"]) == (0.7, 0.9999)
    site.see(1, OLD, at=1400, camera="east", modality="infrared")
    site.see(2, other, at=1500, camera="east", modality="infrared")
    across = [site.house.ask("POST", "/v1/search", json={"sighting": n, "modality": "infrared"}).json()["matches"][0]
              for n in (1, 3)]
    assert [match["only_suggests"] for match in across] == [True, False]     # the old one's was found on drawn people
    told = {tracklet["id"]: tracklet["bundle"] for who in site.house.ask("GET", "/v1/identities").json()["identities"]
            for tracklet in who["tracklets"]}
    old, new = OLD.fingerprint.hex(), NEW.fingerprint.hex()
    assert told == {1: old, 2: old, 3: new, 4: new, 5: old, 6: new}, "each link says by which bundle it was decided"
    decided = site.house.gallery.decided("visible-visible")
    assert [tracklet.opened_by for _, tracklet, _ in decided] == [2]


def test_a_link_across_modalities_by_a_bundle_that_is_gone_is_a_suggestion(site: Site) -> None:
    known = Model(OLD.fingerprint, OLD.dimension, calibrated_on="site")
    site.accept(known, NEW)
    number = site.see(1, known, NEW, at=1000)
    assert site.see(1, known, NEW, at=1100, camera="south", modality="infrared") == number

    def suggested() -> list[bool]:
        return [one.suggestion for one in site.house.gallery.identities().identities[0].tracklets]

    assert suggested() == [False, False]
    site.accept(NEW)
    assert suggested() == [False, True]


def test_which_camera_is_where_is_shown_and_a_change_is_said_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cmnas.collector")
    old, new = OLD.fingerprint.hex(), NEW.fingerprint.hex()
    site.accept(NEW, OLD)

    def shown() -> tuple[list[int], dict[str, list[str]], dict[str, int]]:
        health = site.house.ask("GET", "/v1/health").json()
        cameras = site.house.ask("GET", "/v1/cameras").json()["cameras"]
        assert [one["fingerprint"] for one in health["bundles"]] == [new, old]
        return ([one["camera_count"] for one in health["bundles"]],
                {one["camera"]: sorted(one["fingerprints"]) for one in cameras},
                {one["camera"]: one["sighting_count"] for one in cameras})

    for at, by in ((1000, (OLD,)), (1100, (OLD, NEW)), (1200, (OLD, NEW))):
        site.house.now = 2000.0 + at
        site.see(1, *by, at=at)
        site.see(2, OLD, at=at + 50, camera="south")
    both = sorted([old, new])
    assert shown() == ([1, 2], {"north": both, "south": [old]}, {"north": 3, "south": 3})
    site.accept(NEW, OLD)
    assert shown()[0] == [1, 2]
    for later in (300, 900):    # it ends its overlap
        site.house.now = 3200.0 + later
        site.see(1, NEW, at=1200 + later)
    assert shown()[:2] == ([1, 1], {"north": [new], "south": [old]})
    said = [line for line in caplog.messages if "tells of people by bundle" in line]
    assert said == [f"gate/north: tells of people by bundle {' and '.join(one[:16] for one in both)} now",
                    f"gate/north: tells of people by bundle {new[:16]} now"]


def test_each_bundle_is_told_of_by_name_with_what_is_held_of_it_and_when_it_was_heard(site: Site) -> None:
    site.accept(NEW, OLD)

    def told() -> list[list[Any]]:
        return [[one[field] for field in ("name", "network", "sighting_count", "heard_at")]
                for one in site.house.ask("GET", "/v1/health").json()["bundles"]]

    assert told() == [["new", "osnet", 0, None], ["old", "none", 0, None]]
    site.see(1, OLD, at=1000)
    site.house.now += 600
    site.see(1, OLD, NEW, at=1600)
    site.see(2, NEW, at=1610, camera="south")
    for _ in range(2):
        assert told() == [["new", "osnet", 2, 2600.0], ["old", "none", 2, 2600.0]]
        site.accept(NEW, OLD)
        site.house.now = 2600.0
    site.house.now += 3100
    site.house.gallery.expire(site.house.now - 3600, 1000)
    assert told() == [["new", "osnet", 2, 2600.0], ["old", "none", 1, 2600.0]]
    site.house.now += 600
    site.house.gallery.expire(site.house.now - 3600, 1000)
    assert told() == [["new", "osnet", 0, None], ["old", "none", 0, None]]


def test_what_is_stored_by_a_bundle_taken_out_too_early_is_told_until_nothing_of_it_is_left(site: Site) -> None:
    site.accept(NEW, OLD)
    site.see(1, OLD, at=1000)
    site.house.now = 3000.0
    site.see(2, OLD, NEW, at=2500)

    def left() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = site.house.ask("GET", "/v1/health").json()["bundles_left"]
        site.house.settle()
        return found

    assert left() == []
    site.accept(NEW)
    told = {"fingerprint": OLD.fingerprint.hex(), "sighting_count": 2, "heard_at": 3000.0}
    assert left() == [told]
    site.house.now = 2000.0 + 3601
    assert left() == [told], "as of a minute ago"
    assert left() == [told | {"sighting_count": 1}]
    site.house.now = 3000.0 + 3601
    left()
    assert left() == []
    site.accept(NEW, OLD)
    assert left() == []


def test_a_journal_of_the_first_release_goes_on_under_the_next_bundle(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "contract" / "0.1.0" / "journal.sqlite", tmp_path)
    (tmp_path / "journal.sqlite").chmod(0o600)
    first, journal = Model(bytes(range(32)), 64), Journal(tmp_path)
    gallery, _ = rebuild(journal, NEW, also=[first], since=0, limit=100)
    assert gallery.counts()[0] == len(of_first_release())
    alone, _ = rebuild(journal, first, since=0, limit=100)
    assert {who.identity: who.tracklets for who in gallery.identities().identities} == {
        who.identity: who.tracklets for who in alone.identities().identities}
    journal.close()


EXAMPLES = examples(15, 1000)
steps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["north", "south"]), st.integers(0, 400),
                           st.sampled_from([(OLD,), (NEW,), (OLD, NEW), (NEW, OLD)])), max_size=14)


@pytest.mark.prove
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=steps, cut=st.integers(0, 14), swapped=st.booleans())
def test_a_start_anywhere_in_a_roll_out_gives_back_what_was(
        drawn: Sequence[tuple[int, str, int, tuple[Model, ...]]], cut: int, swapped: bool,
        record_property: Callable[[str, object], None], tmp_path_factory: pytest.TempPathFactory) -> None:
    record_property("examples", EXAMPLES)
    site = Site(tmp_path_factory.mktemp("site"))
    model, also = (NEW, OLD) if swapped else (OLD, NEW)
    site.accept(model, also)
    for number, (person, camera, at, by) in enumerate(drawn):
        if number == cut:
            before = site.people(), site.house.gallery.sightings(limit=1000)
            site.accept(model, also)
            assert (site.people(), site.house.gallery.sightings(limit=1000)) == before
        site.see(person, *by, at=1000.0 + at, camera=camera)
    held = {model.fingerprint: set(site.house.gallery._stores.of(model.fingerprint).view().ids().tolist())
            for model in (OLD, NEW)}    # type: ignore[attr-defined]
    stored = {model.fingerprint: {record.id for record, _ in site.house.journal.sightings(
        model.fingerprint, model.dimension, since=0, most=1000)} for model in (OLD, NEW)}
    assert held == stored
    assert not held[OLD.fingerprint] & held[NEW.fingerprint]
    site.house.close()
