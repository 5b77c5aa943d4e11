"""What a person decides holds: against all that is automatic, over restarts, until it is taken back."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cmnas_edge.collector import views
from cmnas_edge.collector.gallery import Gallery, rebuild
from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.journal import Arrival, Journal, Record
from tests.collector.people import Model, People
from tests.proof import examples

EXAMPLES = examples(25, 1000)
KINDS = ("confirm", "split", "merge", "cannot_link", "undo")
looks = st.tuples(st.just("see"), st.integers(0, 2), st.sampled_from(["north", "south"]), st.integers(0, 12),
                  st.sampled_from(["visible", "infrared"]))
choices = st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(0, 5))
steps = st.lists(st.one_of(looks, looks, choices, st.just(("restart",)), st.just(("repair",))), max_size=25)


class Desk:
    """A collector's journal and gallery, and somebody who decides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder)
        self.gallery = Gallery(Model())
        self.people = People(noise=0.5)
        self.at = 0.0

    def see(self, person: int, camera: str, later: float = 10.0, modality: Any = "visible", **given: Any) -> Link:
        self.at += later
        sighting = self.people.sighting(person, at=self.at, camera=camera, modality=modality, **given)
        ((number,),) = self.journal.append([Arrival("gate", [sighting], self.at)])
        assert number is not None
        links = self.gallery.add(Record(
            number, "gate", sighting.spool, sighting.sequence, self.at, camera, sighting.seen_from, sighting.seen_at,
            sighting.modality, sighting.tracklet, sighting.view_count, sighting.quality, sighting.box_width,
            sighting.box_height, sighting.engine, sighting.precision, sighting.transform, sighting.fingerprint),
            sighting.vector)
        self.journal.append([], links)
        return links[0]

    def decide(self, kind: Any, *identities: int, **given: Any) -> views.Decided:
        asked = views.DecisionAsked(kind=kind, reason="because", identities=list(identities), **given)
        return self.gallery.decide(asked, "ann", self.at, self.journal.decide)

    def repair(self) -> None:
        self.journal.append([], self.gallery.repair(100, 0.0))

    def restart(self) -> None:
        self.journal.close()
        self.journal = Journal(self.folder)
        self.gallery, fresh = rebuild(self.journal, Model(), since=-1.0, limit=10**6)
        assert fresh == []

    def groups(self) -> dict[int, list[int]]:
        return {who.identity: sorted(t.id for t in who.tracklets)
                for who in self.gallery.identities(limit=1000).identities}

    def close(self) -> None:
        self.journal.close()


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path)
    yield made
    made.close()


def _do(desk: Desk, step: Any, *, restarts: bool) -> None:
    if step[0] == "see":
        desk.see(step[1], step[2], float(step[3]), step[4])
    elif step[0] == "restart":
        if restarts:
            desk.restart()
    elif step[0] == "repair":
        desk.repair()
    else:
        kind, first, second = step
        groups = desk.groups()
        names = sorted(groups)
        if not names:
            return
        one, other = names[first % len(names)], names[second % len(names)]
        given: dict[str, Any] = {"undoes": second} if kind == "undo" else {
            "tracklets": groups[one][:1 + second % 3]} if kind == "split" else {}
        about = {"undo": [], "merge": [one, other], "cannot_link": [one, other]}.get(kind, [one])
        with contextlib.suppress(views.Unanswerable):       # what cannot be is refused, in both
            desk.decide(kind, *about, **given)


@pytest.mark.prove
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=steps)
@example(drawn=[("see", 2, "north", 0, "visible"), ("see", 0, "north", 3, "visible"), ("merge", 0, 1), ("restart",),
          ("see", 1, "north", 0, "visible"), ("see", 0, "north", 3, "infrared")])
def test_whatever_is_seen_and_decided_restarts_change_nothing(
        record_property: Callable[[str, object], None], drawn: list[Any]) -> None:
    record_property("examples", EXAMPLES)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        steady, restarted = Desk(Path(first)), Desk(Path(second))
        try:
            for step in drawn:
                _do(steady, step, restarts=False)
                _do(restarted, step, restarts=True)
                assert steady.groups() == restarted.groups()
            restarted.restart()
            assert steady.groups() == restarted.groups()
            assert [msgspec.structs.asdict(one) for one in steady.gallery.decisions(1000).decisions] == \
                [msgspec.structs.asdict(one) for one in restarted.gallery.decisions(1000).decisions]
        finally:
            steady.close()
            restarted.close()


def test_what_is_merged_stays_and_what_is_undone_goes_back(desk: Desk) -> None:
    desk.see(1, "north")
    desk.see(2, "south")
    made = desk.decide("merge", 1, 2)
    assert (made.person, made.reason, made.moved) == ("ann", "because", [views.Move(2, 2, 1)])
    told = desk.gallery.identities(limit=9).identities[0].tracklets
    assert [tracklet.rule for tracklet in told] == ["opened", "decided"]
    desk.restart()
    assert desk.gallery.identities(limit=9).identities[0].tracklets == told
    assert desk.groups() == {1: [1, 2]}
    desk.decide("undo", undoes=made.id)
    desk.restart()
    assert desk.groups() == {1: [1], 2: [2]}
    assert [(one.kind, one.undone) for one in desk.gallery.decisions(9).decisions] == [("undo", False), ("merge", True)]
    with pytest.raises(views.Unanswerable, match="a decision that stands"):
        desk.decide("undo", undoes=made.id)


def test_who_was_split_off_is_never_joined_again_by_likeness(desk: Desk) -> None:
    desk.see(1, "north")
    joined = desk.see(1, "south", lasting=1.0)
    assert joined.rule == "joined"
    desk.decide("split", 1, tracklets=[2])
    assert desk.groups() == {1: [1], 2: [2]}
    desk.restart()
    for _ in range(4):
        desk.repair()
    assert desk.groups() == {1: [1], 2: [2]}
    assert desk.gallery.suggestions(1).suggestions == []


@pytest.mark.parametrize("undone", [False, True])
def test_what_somebody_holds_together_no_overlap_parts_until_it_is_undone(desk: Desk, undone: bool) -> None:
    desk.see(1, "north", tracklet=7)
    desk.see(1, "north", 20.0, tracklet=8)
    made = desk.decide("confirm", 1)
    if undone:
        desk.decide("undo", undoes=made.id)
    desk.restart()
    desk.see(1, "north", 1.0, tracklet=7, lasting=5.0)
    assert desk.groups() == ({1: [1], 2: [2]} if undone else {1: [1, 2]})


def test_what_cannot_be_is_refused_in_words_and_nothing_is_stored(desk: Desk) -> None:
    desk.see(1, "north", lasting=30.0)
    desk.see(2, "north", 1.0)       # while the other was there
    for kind, about, words in (("merge", (1, 2), "one camera saw both"),
                               ("merge", (1,), "at least two identities, found 1; name another"),
                               ("cannot_link", (1,), "two identities"), ("confirm", (9,), "none of number 9"),
                               ("confirm", (), "one identity"), ("split", (1,), "some, not all")):
        with pytest.raises(views.Unanswerable, match=words):
            desk.decide(kind, *about)
    assert list(desk.journal.decisions()) == []
    assert desk.groups() == {1: [1], 2: [2]}
