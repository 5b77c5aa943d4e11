"""What is on a real Milvus is what the journal says, whatever happened to the server, the collector and the line."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmnas_edge.collector.matching.index import Index
from cmnas_edge.collector.matching.vectors import F32, Filter
from cmnas_edge.collector.store import milvus as milvus_module
from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.milvus import MilvusStore
from cmnas_edge.embedding import unit
from cmnas_edge.errors import LinkDown
from tests.collector.house import House
from tests.collector.people import People
from tests.collector.store.milvus_server import DIMENSION, Milvus
from tests.proof import PROVING

pytestmark = pytest.mark.milvus
VECTORS = unit(np.random.default_rng(0).standard_normal((2200, DIMENSION)).astype(np.float32))


def fill(store: MilvusStore, first: int, last: int, *, vectors: F32 = VECTORS) -> None:
    for number in range(first, last + 1):
        store.add(number, vectors[number], camera=("gate", "north"), modality="visible", seen_from=number,
                  seen_at=number + 1)


def found(store: MilvusStore) -> list[int]:
    return sorted(hit.id for hit in store.view().search(VECTORS[0], 5000))


@contextmanager
def counted(store: MilvusStore) -> Iterator[dict[str, list[int]]]:
    """What is written and erased there meanwhile."""
    seen: dict[str, list[int]] = {"upsert": [], "delete": []}
    there: Any = store._there
    upsert, delete = there.upsert, there.delete
    there.upsert = lambda rows: (seen["upsert"].extend(row.id for row in rows), upsert(rows))
    there.delete = lambda ids: (seen["delete"].extend(ids), delete(ids))
    yield seen


def until(store: MilvusStore, holds: Any, seconds: float = 60) -> None:
    with store._changed:
        assert store._changed.wait_for(holds, seconds), store.trouble


def test_a_restart_writes_nothing_that_is_there(milvus: Milvus) -> None:
    first = milvus.store("restart")
    fill(first, 1, 60)
    milvus.settle(first)
    first.stop()
    again = milvus.store("restart", start=False)
    fill(again, 1, 70)
    with counted(again) as seen:
        again.start()
        milvus.settle(again)
    assert (sorted(seen["upsert"]), seen["delete"]) == (list(range(61, 71)), [])
    assert found(again) == list(range(1, 71))


def test_what_is_there_becomes_what_the_journal_says(milvus: Milvus) -> None:
    before = milvus.store("rebuild")
    fill(before, 1, 40)
    milvus.settle(before)
    before.stop()
    # The journal as a restored backup has it: 1 to 4 are out of the window, 10 to 14 were erased, 30 to 34 are others.
    restored = VECTORS.copy()
    restored[30:35] = VECTORS[130:135]
    again = milvus.store("rebuild", start=False)
    for number in [*range(5, 10), *range(15, 35)]:
        fill(again, number, number, vectors=restored)
    with counted(again) as seen:
        again.start()
        milvus.settle(again)
    assert sorted(seen["upsert"]) == [30, 31, 32, 33, 34]
    assert sorted(seen["delete"]) == [*range(1, 5), *range(10, 15), *range(35, 41)]
    assert found(again) == [*range(5, 10), *range(15, 35)]
    assert again.view().search(restored[32], 1)[0].id == 32


def test_what_was_erased_is_there_no_more(milvus: Milvus) -> None:
    store = milvus.store()
    fill(store, 1, 50)
    milvus.settle(store)
    assert store.delete([7, 8, 9]) == 3
    assert store.drop_before(5) == 4
    assert found(store) == [5, 6, *range(10, 51)]       # at once, though it is there yet
    milvus.settle(store)
    assert set(store._there.digests()) == {5, 6, *range(10, 51)}
    assert store._there.vector(8) is None
    assert found(store) == [5, 6, *range(10, 51)]


def kill_at(milvus: Milvus, store: MilvusStore, request: int, after_s: float) -> threading.Event:
    """Kill the server so many seconds after a request to write or erase has begun; said to be done by the event."""
    there: Any = store._there
    begun, done = 0, threading.Event()

    def kill() -> None:
        milvus.server.kill()
        done.set()

    def watched(ask: Callable[[Any], None]) -> Callable[[Any], None]:
        def asked(what: Any) -> None:
            nonlocal begun
            begun += 1
            if begun == request:
                threading.Timer(after_s, kill).start()
            ask(what)

        return asked

    there.upsert, there.delete = watched(type(there).upsert.__get__(there)), watched(type(there).delete.__get__(there))
    return done


@pytest.mark.prove
@pytest.mark.timeout(3000)
def test_killed_at_a_random_moment_of_its_writes_it_has_everything_after_its_restart(
        milvus: Milvus, record_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare store, and no collector; ten rows a request, so that there are many: during one of them, or after it."""
    kill_count, rng, brought = 20 if PROVING else 2, random.Random(20), []
    record_property("kills", kill_count)
    monkeypatch.setattr(milvus_module, "_AT_ONCE", 10)
    store = milvus.store()
    fill(store, 1, 100)
    milvus.settle(store)
    erased = []
    for turn in range(kill_count):
        killed = kill_at(milvus, store, rng.randint(1, 10), rng.uniform(0.0, 0.02))
        erased += [50 + turn, 150 + 100 * turn]
        store.delete(erased[-2:-1])     # among what is asked before it is killed, or after
        fill(store, 101 + 100 * turn, 200 + 100 * turn)
        assert killed.wait(120)
        brought.append(store._pushed - 100 - 100 * turn)
        store.delete(erased[-1:])
        with pytest.raises(LinkDown, match=r"\Asearch: http://127\.0\.0\.1:\d+: expected a Milvus that answers, .*; "
                                           r"sightings are stored meanwhile, ask again later\Z"):
            store.view().search(VECTORS[0], 5)
        assert store.view().vector(199 + 100 * turn) is not None     # what is in memory yet needs nobody
        milvus.server.start()
        milvus.settle(store)
        kept = [number for number in range(1, 201 + 100 * turn) if number not in erased]
        assert found(store) == kept
        assert set(store._there.digests()) == set(kept)
    assert store.view().search(VECTORS[188], 1)[0].id == 188
    record_property("rows of 100 that were brought when it was killed", brought)
    assert any(count < 100 for count in brought), "killed while there was more to write"


def test_what_it_adopts_is_all_there_is_at_once_and_there_soon(milvus: Milvus) -> None:
    store = milvus.store()
    fill(store, 1, 60)
    milvus.settle(store)
    fill(store, 61, 80)
    held = Index(DIMENSION)
    for number in [*range(5, 40), *range(55, 70), 90]:      # as read again after an erasure
        held.add(number, VECTORS[number], camera=("gate", "north"), modality="visible", seen_from=number,
                 seen_at=number + 1)
    left = held.view().ids().tolist()
    with counted(store) as seen:
        store.adopt(held)
        assert found(store) == left
        milvus.settle(store)
    assert found(store) == left
    assert set(store._there.digests()) == set(left)
    assert set(seen["upsert"]) <= {*range(61, 81), 90}      # what was there stays


def test_while_the_line_is_cut_sightings_wait_in_memory_and_are_brought_there_after(milvus: Milvus) -> None:
    store = milvus.store()
    fill(store, 1, 20)
    milvus.settle(store)
    milvus.server.cut()
    fill(store, 21, 120)
    until(store, lambda: bool(store.trouble))
    assert store.backlog == 100
    with pytest.raises(LinkDown, match="expected a Milvus that answers"):
        store.view().search(VECTORS[0], 5)
    store.drop_before(30)       # all that is left is in memory
    assert found(store) == list(range(30, 121))
    milvus.server.mend()
    milvus.settle(store)
    assert found(store) == list(range(30, 121))


def test_a_collector_that_starts_while_it_is_away_answers_from_memory(milvus: Milvus) -> None:
    milvus.server.cut()
    store = milvus.store("away")
    fill(store, 1, 30)
    until(store, lambda: "expected a Milvus that answers" in store.trouble)
    assert found(store) == list(range(1, 31))
    milvus.server.mend()
    milvus.settle(store)
    assert found(store) == list(range(1, 31))


def test_what_it_lost_is_told_and_filled_at_the_next_start(milvus: Milvus) -> None:
    store = milvus.store("lost")
    fill(store, 1, 30)
    milvus.settle(store)
    store._there._client.drop_collection(store._there.name)
    fill(store, 31, 31)
    until(store, lambda: "30 of them lost" in store.trouble)
    with pytest.raises(LinkDown, match="found 30 of them lost; restart the collector"):
        store.view().search(VECTORS[0], 5)
    store.stop()
    again = milvus.store("lost", start=False)
    fill(again, 1, 31)
    again.start()
    milvus.settle(again)
    assert found(again) == list(range(1, 32))


@pytest.mark.parametrize(("owner", "dimension", "says"), [
    ("them", DIMENSION, "to be this collector's, found another's; set index_collection to a name of its own"),
    ("us", 8, r"to hold vectors of 8 entries, found \[16\]")])
def test_a_collection_of_another_kind_or_owner_is_left_alone(milvus: Milvus, owner: str, dimension: int, says: str
                                                              ) -> None:
    store = milvus.store("shared")
    fill(store, 1, 5)
    milvus.settle(store)
    other = milvus.store("shared", owner=owner, dimension=dimension)
    until(other, lambda: "expected collection" in other.trouble)
    with pytest.raises(LinkDown, match=says):
        other.search(VECTORS[:1], 1, Filter(), 0, 1)
    assert store._there.count() == 5


def test_each_bundle_has_a_collection_and_what_is_accepted_no_more_is_dropped(milvus: Milvus) -> None:
    old, new, other = bytes(32), b"\1" * 32, b"\2" * 32
    accepted = {one: milvus.store("changing", fingerprint=one, also=(old, new)) for one in (old, new)}
    theirs = milvus.store("changing", fingerprint=other, owner="them", also=(other,))
    for number, store in enumerate((*accepted.values(), theirs), start=1):
        fill(store, 1, 2 * number)
        milvus.settle(store)
    assert [found(store) for store in accepted.values()] == [[1, 2], [1, 2, 3, 4]]
    client = accepted[new]._there._client
    names = {one: store._there.name for one, store in ((old, accepted[old]), (new, accepted[new]), (other, theirs))}
    accepted[old].stop()
    again = milvus.store("changing", fingerprint=new, also=(new,))
    again.adopt(Index(DIMENSION))
    until(again, lambda: not again.trouble)
    assert [client.has_collection(names[one]) for one in (old, new, other)] == [False, True, True]


def test_nothing_there_names_a_device_or_a_camera(milvus: Milvus) -> None:
    store = milvus.store()
    store.add(1, VECTORS[1], camera=("mosque-gate", "back door"), modality="infrared", seen_from=5, seen_at=6)
    milvus.settle(store)
    row = store._there._client.query(store._there.name, filter="id == 1", output_fields=["*"])[0]
    assert set(row) == {"id", "vector", "camera", "transform", "digest", "modality", "seen_from", "seen_at"}
    assert all(isinstance(value, (int, float, list)) for value in row.values())


def test_the_index_there_is_one_that_misses_nothing(milvus: Milvus) -> None:
    store = milvus.store()
    fill(store, 1, 1)
    milvus.settle(store)
    client, name = store._there._client, store._there.name
    assert [client.describe_index(name, each)["index_type"] for each in client.list_indexes(name)] == ["FLAT"]


def test_a_collector_whose_vectors_are_there_answers_as_one_whose_are_not(milvus: Milvus, tmp_path: Path) -> None:
    people, store = People(), milvus.store()
    plain, house = House(tmp_path / "plain"), House(tmp_path / "data")
    house.gallery.move(store)
    walk = [people.sighting(n % 5, at=1000 + 7.0 * n, camera="ab"[n % 2], modality=("visible", "infrared")[n % 3 == 0])
            for n in range(40)]

    def asked(of: House) -> list[Any]:
        answers = [of.ask("POST", "/v1/search", json=each) for each in (
            {"sighting": 7}, {"vector": walk[3].vector.tolist(), "modality": "infrared"},
            {"sighting": 9, "cameras": ["a"], "seen_from": 1050.0, "other_identities": True})]
        return [[(match["sighting"]["id"], round(match["score"], 5)) for match in answer.json()["matches"]]
                if answer.status_code == 200 else answer.status_code for answer in answers]

    for each in (plain, house):
        each.send(*walk)
        each.settle()
    assert asked(house) == asked(plain)
    milvus.settle(store)
    assert asked(house) == asked(plain)
    assert len(asked(plain)[0]) == 20
    milvus.server.cut()
    assert asked(house) == [503, 503, 503]
    late = [people.sighting(9, at=2000.0 + n) for n in range(5)]
    for each in (plain, house):
        each.send(*late)
        each.settle()
    milvus.server.mend()
    milvus.settle(store)
    assert asked(house) == asked(plain)
    for each in (plain, house):
        each.intake.erase(Selection(camera="a", device="gate"), "somebody", "why").result(20)
    assert asked(house)[1:] == asked(plain)[1:]
    milvus.settle(store)
    assert asked(house)[1:] == asked(plain)[1:]
    assert len(store._there.digests()) == 25
    for each in (plain, house):
        each.close()
