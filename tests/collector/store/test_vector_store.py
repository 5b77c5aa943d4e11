"""Whatever keeps the vectors finds what a scan by hand finds: in memory, and on a real Milvus, the same promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from cmnas_edge.collector.matching.index import Index
from cmnas_edge.collector.matching.vectors import F32, Filter, VectorStore
from cmnas_edge.embedding import MODALITIES, unit
from tests.collector.store.milvus_server import DIMENSION as D
from tests.collector.store.milvus_server import Milvus

CAMERAS = [("gate", "north"), ("gate", "south"), ('ya"rd', "north] or id > 0")]
TRANSFORMS = [0, 2**64 - 1]


@dataclass
class Site:
    """A store, a clock, and how to have everything where it will be in the end."""

    store: VectorStore
    settle: Callable[[], None] = lambda: None
    rows: dict[int, tuple[F32, tuple[str, str], str, float, float, int]] = field(default_factory=dict)

    def add(self, number: int, vector: F32, *, camera: int = 0, modality: int = 0, seen_from: float = 0.0,
            seen_at: float = 1.0, transform: int = 0) -> None:
        row = (vector.astype(np.float16).astype(np.float32), CAMERAS[camera], MODALITIES[modality], seen_from,
               seen_at, TRANSFORMS[transform])
        self.store.add(number, vector, camera=row[1], modality=MODALITIES[modality], seen_from=seen_from,
                       seen_at=seen_at, transform=row[5])
        self.rows[number] = row

    def check(self, queries: F32, k: int, keep: Filter | None = None) -> None:
        """Search, and compare with a scan by hand."""
        chosen = keep or Filter()
        fit = {i: row for i, row in self.rows.items()
               if (chosen.cameras is None or row[1] in chosen.cameras) and row[5] == chosen.transform
               and row[4] >= chosen.seen_from and row[3] <= chosen.seen_to
               and chosen.modality in (None, row[2]) and i not in chosen.exclude}
        assert len(self.store) == len(self.rows)
        for query, hits in zip(queries, self.store.view().search_many(queries, k, keep), strict=True):
            scores = {i: float(row[0] @ query.astype(np.float16).astype(np.float32)) for i, row in fit.items()}
            assert [hit.id for hit in hits] == sorted(scores, key=lambda i: (-scores[i], i))[:k]
            for hit in hits:
                assert abs(hit.score - scores[hit.id]) < 1e-5
                assert hit.modality == fit[hit.id][2]


@pytest.fixture(params=["memory", pytest.param("milvus", marks=pytest.mark.milvus)])
def site(request: pytest.FixtureRequest) -> Site:
    if request.param == "memory":
        return Site(Index(D, room=7))
    milvus: Milvus = request.getfixturevalue("milvus")
    store = milvus.store()
    return Site(store, lambda: milvus.settle(store))


def people(seed: int, count: int, dimension: int = D) -> F32:
    return unit(np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32))


def test_adding_erasing_and_letting_go_in_any_order_leave_what_a_scan_by_hand_finds(site: Site) -> None:
    rng, number = np.random.default_rng(8), 0
    for step in range(120):
        for vector in people(step, int(rng.integers(1, 5))):
            number += int(rng.integers(1, 3))
            begun = float(rng.integers(-20, 20))
            site.add(number, vector, camera=int(rng.integers(3)), modality=int(rng.integers(2)), seen_from=begun,
                     seen_at=begun + 3, transform=int(rng.random() < 0.2))
        if rng.random() < 0.2:
            gone = set(rng.choice(list(site.rows), min(3, len(site.rows)), replace=False).tolist()) | {10**9}
            assert site.store.delete(gone) == len(gone & site.rows.keys())
            site.rows = {i: row for i, row in site.rows.items() if i not in gone}
        if rng.random() < 0.1:
            floor = number - int(rng.integers(5, 40))
            assert site.store.drop_before(floor) == sum(i < floor for i in site.rows)
            site.rows = {i: row for i, row in site.rows.items() if i >= floor}
        if step % 25 == 20:
            site.settle()
        if step % 4 == 0:
            site.check(people(1000 + step, 2), int(rng.integers(1, 40)), Filter(
                cameras=None if rng.random() < 0.5 else frozenset({CAMERAS[step % 3], ("new", "unknown")}),
                seen_from=-np.inf if rng.random() < 0.5 else float(rng.integers(-20, 20)),
                modality=None if rng.random() < 0.5 else MODALITIES[step % 2],
                exclude=frozenset(rng.integers(0, number, 3).tolist()), transform=TRANSFORMS[step % 3 == 0]))
    site.settle()
    site.check(people(1, 3), 1000)


def test_each_filter_holds_at_its_edges_wherever_the_rows_are(site: Site) -> None:
    vectors = people(2, 8)
    for number, (begun, ended, camera, modality, transform) in enumerate(
            [(0.5, 5, 0, 0, 0), (10, 12, 1, 1, 0), (20, 1e17, 2, 0, 0), (-1e9, -1e-7, 0, 0, 0), (0, 99, 0, 0, 1)], 1):
        site.add(number, vectors[number], seen_from=begun, seen_at=ended, camera=camera, modality=modality,
                 transform=transform)
    for settled in (False, True):
        if settled:
            site.settle()
        for keep in (Filter(), Filter(seen_from=5), Filter(seen_from=5.000001), Filter(seen_to=10), Filter(seen_to=-5),
                     Filter(seen_from=-1e-7), Filter(seen_to=9.99), Filter(seen_from=11, seen_to=11),
                     Filter(seen_from=1e17), Filter(cameras=frozenset(CAMERAS[:1])), Filter(cameras=frozenset()),
                     Filter(cameras=frozenset(CAMERAS[2:])), Filter(cameras=frozenset({("gate", "east")})),
                     Filter(modality="infrared"), Filter(exclude=frozenset({1, 9})), Filter(transform=2**64 - 1),
                     Filter(transform=7), Filter(exclude=frozenset(range(2, 4000)))):
            site.check(vectors[6:8], 10, keep)


def test_a_fresh_row_is_found_at_once_and_nothing_is_missed(site: Site) -> None:
    vectors = people(3, 3000)
    for number, vector in enumerate(vectors[:2500], 1):
        site.add(number, vector)
    site.settle()
    for number, vector in enumerate(vectors[2500:2520], 2501):
        site.add(number, vector)
        site.check(vector[None], 10)
        assert site.store.view().search(vector, 1)[0].id == number
    site.settle()
    site.check(vectors[:8], 100)


def test_a_vector_is_given_back_and_an_erased_one_is_not(site: Site) -> None:
    vectors = people(4, 5)
    for number, vector in enumerate(vectors, 1):
        site.add(number * 2, vector)
    for settled in (False, True):
        if settled:
            site.settle()
        for number in range(1, 6):
            found = site.store.view().vector(number * 2)
            assert found is not None
            assert (found == site.rows[number * 2][0]).all()
        assert site.store.view().vector(3) is None
        assert site.store.view().vector(12) is None
    site.store.delete([4])
    assert site.store.view().vector(4) is None
    assert 4 not in [hit.id for hit in site.store.view().search(vectors[1], 5)]


def test_a_view_taken_before_shows_nothing_that_came_later(site: Site) -> None:
    vectors = people(5, 12)
    for number in range(1, 6):
        site.add(number, vectors[number])
    site.settle()
    before = site.store.view()
    for number in range(6, 11):
        site.add(number, vectors[number])
    site.settle()
    assert sorted(hit.id for hit in before.search(vectors[7], 20)) == [1, 2, 3, 4, 5]
    assert before.vector(7) is None


def test_of_equal_rows_the_older_comes_first(site: Site) -> None:
    vector, other = people(6, 2)
    for number in range(1, 31):
        site.add(number, vector if number % 2 else other)
    for settled in (False, True):
        if settled:
            site.settle()
        assert [hit.id for hit in site.store.view().search(vector, 30)] == [*range(1, 31, 2), *range(2, 31, 2)]


def test_an_id_that_does_not_count_up_is_refused_and_an_erased_one_may_come_again(site: Site) -> None:
    vectors = people(7, 3)
    site.add(4, vectors[0])
    site.add(5, vectors[0])
    for number in (3, 5):
        with pytest.raises(ValueError, match=f"above 5, found {number}"):
            site.store.add(number, vectors[1], camera=CAMERAS[0], modality="visible", seen_from=0, seen_at=1)
    site.settle()
    site.store.delete([5])
    site.add(5, vectors[1], modality=1)
    for settled in (False, True):
        if settled:
            site.settle()
        site.check(vectors[:2], 5)
