"""A link that drawn people's threshold made across modalities stays, and says that it is a suggestion."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmnas_edge.calibration import CalibratedOn
from cmnas_edge.collector import views
from tests.collector.house import House
from tests.collector.people import Model, People


@pytest.mark.parametrize(("calibrated_on", "suggested"), [("drawn", True), ("dataset", False), ("site", False)])
def test_only_a_link_across_modalities_by_drawn_peoples_threshold_is_a_suggestion(
        tmp_path: Path, calibrated_on: CalibratedOn, suggested: bool) -> None:
    people, house = People(), House(tmp_path, model=Model(calibrated_on=calibrated_on))
    house.send(people.sighting(1, at=1000.0, camera="north"), people.sighting(1, at=1100.0, camera="south"),
               people.sighting(2, at=1150.0, camera="hall", modality="infrared"),
               people.sighting(1, at=1200.0, camera="yard", modality="infrared"))
    house.settle()
    try:
        shown = house.gallery.timeline(1)
        listed = house.gallery.sightings().sightings
    finally:
        house.close()
    assert shown is not None
    assert [(each.camera, each.rule) for each in shown.sightings] == [
        ("north", "opened"), ("south", "joined"), ("yard", "joined")]
    for each in (*shown.sightings, *listed, *shown.identity.tracklets):
        assert isinstance(each, views.Sighting | views.Tracklet)
        assert each.suggestion == (suggested and each.camera == "yard")
        assert each.probability is None     # this calibration is of schema 1: nobody found out
    # The nearest to somebody new is across modalities, too; but nothing was put together, so nothing is suggested.
    (new,) = (each for each in listed if each.camera == "hall")
    assert (new.rule, new.pair, new.suggestion) == ("opened", "visible-infrared", False)


def test_what_a_person_confirmed_is_no_suggestion_until_they_take_it_back(tmp_path: Path) -> None:
    people, house = People(), House(tmp_path)
    house.send(people.sighting(1, at=1000.0, camera="north"),
               people.sighting(1, at=1200.0, camera="yard", modality="infrared"))
    house.settle()

    def suggested() -> list[bool]:
        shown = house.gallery.timeline(1)
        assert shown is not None
        return [each.suggestion for each in shown.identity.tracklets]

    def decide(**asked: object) -> int:
        wanted = views.DecisionAsked(reason="the same coat", **asked)  # type: ignore[arg-type]
        return house.gallery.decide(wanted, "ada", 2000.0, house.journal.decide).id

    try:
        assert suggested() == [False, True]
        number = decide(kind="confirm", identities=[1])
        assert suggested() == [False, False]
        decide(kind="undo", undoes=number)
        assert suggested() == [False, True]
    finally:
        house.close()
