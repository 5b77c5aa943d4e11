"""The index finds exactly what a scan by hand finds, whatever was added and dropped before."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.collector.matching import scan
from cmnas_edge.collector.matching.index import Filter, Index
from cmnas_edge.collector.matching.scan import products, products_by_numpy
from cmnas_edge.collector.matching.vectors import F16, F32
from cmnas_edge.embedding import MODALITIES, unit

# Unit vectors whose products are exact in float32, so equal means equal: halves, four of them.
SIGNS = np.array(np.meshgrid(*[[-0.5, 0.5]] * 4), np.float32).reshape(4, -1).T
CAMERAS = [("gate", "north"), ("gate", "south"), ("yard", "north")]
rows = st.tuples(st.just("add"), st.integers(0, 15), st.sampled_from(CAMERAS), st.sampled_from(MODALITIES),
                 st.integers(0, 20), st.integers(0, 5), st.integers(0, 1))
drops = st.tuples(st.just("drop"), st.integers(0, 12))
erasures = st.tuples(st.just("erase"), st.frozensets(st.integers(0, 12), max_size=4))
filters = st.builds(
    Filter, cameras=st.none() | st.frozensets(st.sampled_from([*CAMERAS, ("new", "unknown")])),
    seen_from=st.just(-np.inf) | st.integers(0, 20), seen_to=st.just(np.inf) | st.integers(0, 20),
    modality=st.none() | st.sampled_from(MODALITIES), exclude=st.frozensets(st.integers(0, 60), max_size=5),
    transform=st.integers(0, 1))
searches = st.tuples(st.just("search"), st.lists(st.integers(0, 15), min_size=1, max_size=3), st.integers(0, 70),
                     filters)


@pytest.mark.prove
@given(st.lists(rows | drops | erasures | searches, max_size=60), st.integers(1, 9))
def test_any_interleaving_of_adding_dropping_and_searching_agrees_with_brute_force(
        steps: list[tuple[object, ...]], room: int) -> None:
    index, kept, number = Index(4, room=room), {}, 0
    for step in steps:
        if step[0] == "add":
            _, code, camera, modality, seen_from, lasting, transform = step
            number += 2
            kept[number] = step
            index.add(number, SIGNS[code], camera=camera, modality=modality, seen_from=seen_from,
                      seen_at=seen_from + lasting, transform=transform)
        elif step[0] == "drop":
            floor = number - step[1]
            gone = [i for i in kept if i < floor]
            for i in gone:
                del kept[i]
            assert index.drop_before(floor) == len(gone)
        elif step[0] == "erase":
            gone = {number - back for back in step[1]}
            assert index.delete(gone) == len(gone & kept.keys())
            kept = {i: row for i, row in kept.items() if i not in gone}
        else:
            _, codes, k, keep = step
            for code, found in zip(codes, index.view().search_many(SIGNS[codes], k, keep), strict=True):
                expected = sorted(
                    (-float(SIGNS[row[1]] @ SIGNS[code]), i, row[3]) for i, row in kept.items()
                    if (keep.cameras is None or row[2] in keep.cameras) and row[6] == keep.transform
                    and row[4] + row[5] >= keep.seen_from and row[4] <= keep.seen_to
                    and keep.modality in (None, row[3]) and i not in keep.exclude)[:k]
                assert [(-hit.score, hit.id, hit.modality) for hit in found] == expected
    assert len(index) == len(kept)
    assert index.view().ids().tolist() == list(kept)
    for code in (0, 5):     # and in the end, everything
        for transform in (0, 1):
            expected = sorted((-float(SIGNS[row[1]] @ SIGNS[code]), i)
                              for i, row in kept.items() if row[6] == transform)
            found = index.view().search(SIGNS[code], 1000, Filter(transform=transform))
            assert [(-hit.score, hit.id) for hit in found] == expected


@pytest.mark.parametrize(("keep", "found"), [
    (Filter(), [1, 2, 3]),
    (Filter(seen_from=5), [1, 2, 3]), (Filter(seen_from=6), [2, 3]), (Filter(seen_to=4), [1]),
    (Filter(seen_to=12), [1, 2]), (Filter(seen_from=11, seen_to=11), [2]),
    (Filter(cameras=frozenset({CAMERAS[0]})), [1, 3]), (Filter(cameras=frozenset()), []),
    (Filter(modality="infrared"), [2]), (Filter(exclude=frozenset({1, 9})), [2, 3]), (Filter(transform=7), [4])])
def test_a_filter_keeps_what_overlaps_the_stretch_of_time_and_has_the_traits(
        keep: Filter, found: list[int]) -> None:
    index = Index(4)
    for number, (start, end, camera, modality, transform) in enumerate(
            [(0, 5, 0, "visible", 0), (10, 12, 1, "infrared", 0), (20, 25, 0, "visible", 0),
             (0, 99, 0, "visible", 7)], 1):
        index.add(number, SIGNS[0], camera=CAMERAS[camera], modality=modality, seen_from=start, seen_at=end,  # type: ignore[arg-type]
                  transform=transform)
    assert [hit.id for hit in index.view().search(SIGNS[0], 10, keep)] == found


def test_a_view_taken_before_keeps_what_it_saw() -> None:
    index = Index(4, room=2)
    for number in (1, 2):
        index.add(number, SIGNS[number], camera=CAMERAS[0], modality="visible", seen_from=0, seen_at=1)
    before = index.view()
    for number in range(3, 40):
        index.add(number, SIGNS[number % 16], camera=CAMERAS[1], modality="infrared", seen_from=0, seen_at=1)
    index.delete([2, 31])
    index.drop_before(30)
    assert [hit.id for hit in before.search(SIGNS[2], 5)] == [2, 1]
    vector = before.vector(2)
    assert vector is not None
    assert (vector == SIGNS[2]).all()
    assert index.view().vector(2) is None


def test_a_row_just_added_is_found_at_once_among_many() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((3000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = Index(32, room=700)
    for number, vector in enumerate(vectors, 1):
        index.add(number, vector, camera=CAMERAS[number % 3], modality="visible", seen_from=0, seen_at=1)
        if number % 500 == 0:
            best = index.view().search(vector, 10)
            assert best[0].id == number
            rounded = vectors[:number].astype(np.float16).astype(np.float64)
            exact = np.argsort(-(rounded @ rounded[-1]), kind="stable")[:10] + 1
            assert [hit.id for hit in best] == exact.tolist()


def test_every_row_keeps_its_vector_while_the_window_moves_on() -> None:
    index = Index(4, room=3)
    for number in range(1, 60):
        index.add(number, SIGNS[number % 16], camera=CAMERAS[0], modality="visible", seen_from=0, seen_at=1)
        index.drop_before(number - 4)
        view = index.view()
        for kept in range(max(1, number - 4), number + 1):
            vector = view.vector(kept)
            assert vector is not None
            assert (vector == SIGNS[kept % 16]).all()
    assert len(index) == 5


def test_an_id_that_does_not_count_up_is_refused() -> None:
    index = Index(4)
    index.add(5, SIGNS[0], camera=CAMERAS[0], modality="visible", seen_from=0, seen_at=1)
    with pytest.raises(ValueError, match="above 5, found 5"):
        index.add(5, SIGNS[0], camera=CAMERAS[0], modality="visible", seen_from=0, seen_at=1)


@pytest.mark.parametrize("found", [products, products_by_numpy])
@pytest.mark.parametrize("count", [1, 2, 17, 600, 1100])
@pytest.mark.parametrize("queries", [1, 2, 5, 64])
@pytest.mark.parametrize("dimension", [16, 37, 512])
def test_products_are_those_of_the_rounded_vectors_summed_in_single_precision(
        found: Callable[[F16, F16], F32], count: int, queries: int, dimension: int) -> None:
    rng = np.random.default_rng((count, queries, dimension))
    rows, asked = (unit(rng.standard_normal((n, dimension))).astype(np.float16) for n in (count, queries))
    exact = rows.astype(np.float64) @ asked.astype(np.float64).T
    scores = found(rows, asked)
    assert (scores.dtype, scores.shape) == (np.float32, exact.shape)
    # A sum of d products of unit vectors in float32 is off by at most d * 2**-24; one in half precision by far more.
    assert np.abs(scores - exact).max() < dimension * 2.0**-24


@pytest.mark.parametrize("there", [True, False])
def test_searches_find_the_same_where_the_kernels_are_not_installed(
        there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(np.random.default_rng(6).standard_normal((600, 32)))
    index = Index(32)
    for number, vector in enumerate(vectors, 1):
        index.add(number, vector, camera=CAMERAS[0], modality="visible", seen_from=0, seen_at=1)
    if not there:
        monkeypatch.setitem(sys.modules, "numkong", None)
    scan._kernel.cache_clear()
    assert (scan._kernel() is products_by_numpy) is not there
    found = index.view().search_many(vectors[:9], 3)
    scan._kernel.cache_clear()
    assert [hits[0].id for hits in found] == list(range(1, 10))


@given(st.integers(0, 2**32 - 1), st.sampled_from([16, 128, 512]))
def test_half_precision_moves_no_score_by_more_than_a_thousandth(seed: int, dimension: int) -> None:
    rng = np.random.default_rng(seed)
    # One entry next to 1 and the rest tiny; and all alike: rounding does most and least there.
    vectors = unit(rng.standard_normal((40, dimension)) * rng.choice([1e-3, 1.0, 30.0], (40, dimension)))
    scores = products(vectors.astype(np.float16), vectors.astype(np.float16))
    assert np.abs(scores - vectors.astype(np.float64) @ vectors.T.astype(np.float64)).max() < 1e-3


@pytest.mark.parametrize("count", [1, 4])
def test_equal_rows_have_equal_scores_wherever_they_stand(count: int) -> None:
    rng = np.random.default_rng(5)
    row, *queries = unit(rng.standard_normal((count + 1, 512)))
    index = Index(512, room=1000)
    for number in range(1, 2048):
        index.add(number, row, camera=CAMERAS[0], modality="visible", seen_from=0, seen_at=1)
    for hits in index.view().search_many(np.stack(queries), 1500):
        assert [hit.id for hit in hits] == list(range(1, 1501))


def test_growing_and_letting_go_copy_no_vector() -> None:
    index = Index(64, room=100)
    for number in range(1, 1001):
        index.add(number, np.ones(64, np.float32) / 8, camera=CAMERAS[0], modality="visible", seen_from=0, seen_at=1)
    blocks = [block for block, _, _ in index.view().parts]
    index.add(1001, np.ones(64, np.float32) / 8, camera=CAMERAS[0], modality="visible", seen_from=0, seen_at=1)
    index.drop_before(350)
    assert [block for block, _, _ in index.view().parts][:-1] == blocks[3:]
    freed = weakref.ref(blocks[0])
    del blocks
    assert freed() is None


def test_an_erased_vector_is_in_memory_no_more_once_no_view_is_left() -> None:
    index = Index(4, room=10)
    for number in range(1, 26):
        index.add(number, SIGNS[number % 16], camera=CAMERAS[0], modality="visible", seen_from=0, seen_at=1)
    held = [weakref.ref(block) for block, _, _ in index.view().parts]
    assert index.delete([12, 13, 99]) == 2
    assert [ref() is None for ref in held] == [False, True, False]
    assert index.view().vector(12) is None
    assert index.view().vector(14) is not None


@pytest.mark.parametrize("room", [1, 2, 100])
@pytest.mark.parametrize("erased", [False, True])
def test_a_block_out_of_the_stretch_of_time_is_left_out_and_one_at_its_edge_is_not(room: int, erased: bool) -> None:
    index = Index(4, room=room)
    for number in range(1, 9):
        index.add(number, SIGNS[number], camera=CAMERAS[0], modality="visible", seen_from=10 * number,
                  seen_at=10 * number + 5)
    left = list(range(1, 9))
    if erased:
        index.delete([2, 3, 8])
        left = [1, 4, 5, 6, 7]
    for edge in range(100):
        for keep, found in ((Filter(seen_from=edge), [i for i in left if 10 * i + 5 >= edge]),
                            (Filter(seen_to=edge), [i for i in left if 10 * i <= edge]),
                            (Filter(seen_from=edge, seen_to=edge), [i for i in left if 10 * i <= edge <= 10 * i + 5])):
            assert sorted(hit.id for hit in index.view().search(SIGNS[0], 9, keep)) == found


@pytest.mark.parametrize("every", [1, 2, 3, 5, 50])
def test_few_rows_or_many_of_a_block_are_found_by_their_own_ids(every: int) -> None:
    vectors = unit(np.random.default_rng(every).standard_normal((1000, 32)))
    index = Index(32, room=300)
    for number, vector in enumerate(vectors, 1):
        index.add(number, vector, camera=CAMERAS[number % every > 0], modality="visible", seen_from=0, seen_at=1)
    keep = Filter(cameras=frozenset(CAMERAS[:1]))
    for query in range(every - 1, 1000, 97 * every):
        hits = index.view().search(vectors[query], 5, keep)
        assert hits[0].id == query + 1
        assert all(hit.id % every == 0 for hit in hits)
