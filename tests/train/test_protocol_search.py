"""A protocol's search is the reference evaluation's, whatever the order of pictures and the size of pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.golden import golden
from tests.shared import SHARED, needs_shared
from tests.train.protocol_people import people, shuffled
from train.data.crops import Crops
from train.protocols import drawn, llcm, market, mixed, regdb, search, sysu
from train.protocols.embeddings import Embeddings, distances
from train.protocols.rules import OWN_ROOM, SAME_PERSON_SAME_CAMERA, SYSU
from train.protocols.search import Queries, per_query


def by_hand(query: Embeddings, gallery: Embeddings, hidden: Any, distinct: bool) -> dict[str, float]:
    """The definitions, one query and one gallery entry at a time."""
    first, precision, penalty = [], [], []
    for i in range(len(query)):
        seen = sorted((1 - float(query.embedding[i] @ gallery.embedding[j]), int(gallery.identity[j]))
                      for j in range(len(gallery)) if not hidden(query, i, gallery, j))
        people_seen = [person for _, person in seen]
        right = [k for k, person in enumerate(people_seen, 1) if person == query.identity[i]]
        if right:
            order = list(dict.fromkeys(people_seen)) if distinct else people_seen
            first.append(order.index(int(query.identity[i])))
            precision.append(np.mean([(k + 1) / place for k, place in enumerate(right)]))
            penalty.append(len(right) / right[-1])
    return {"rank1": np.mean([place < 1 for place in first]), "rank10": np.mean([place < 10 for place in first]),
            "rank20": np.mean([place < 20 for place in first]), "mean_ap": np.mean(precision),
            "mean_inp": np.mean(penalty)}


def same_person_same_camera(query: Embeddings, i: int, gallery: Embeddings, j: int) -> bool:
    return bool(query.identity[i] == gallery.identity[j] and query.camera[i] == gallery.camera[j])


def one_room(query: Embeddings, i: int, gallery: Embeddings, j: int) -> bool:
    return {int(query.camera[i]), int(gallery.camera[j])} == {2, 3}


CROWD = shuffled(people(range(1, 26), (1, 2, 3, 4, 5, 6), 2, noise=1.3))


def golden_case(case: dict[str, Any]) -> None:
    """Distances become embeddings whose negated product they are: q is the distance row, g a unit axis."""
    count = len(case["g_pids"])
    query = Embeddings(-case["dist"], case["q_pids"], case["q_cams"], np.ones(len(case["q_pids"]), bool))
    gallery = Embeddings(np.eye(count), case["g_pids"], case["g_cams"], np.zeros(count, bool))
    # The squared Euclidean distance is |q|^2 + 1 + 2 dist: in every row the order is that of dist.
    found = search.search(query, gallery, hidden=SYSU, metric="euclidean").figures
    assert found["rank1"] == pytest.approx(float(case["cmc"][0]), abs=1e-7)
    assert found["mean_ap"] == pytest.approx(float(case["mAP"]), abs=1e-12)
    assert found["mean_inp"] == pytest.approx(float(case["mINP"]), abs=1e-12)
    if case["max_rank"] == 20:
        assert found["rank10"] == pytest.approx(float(case["cmc"][min(10, len(case["cmc"])) - 1]), abs=1e-7)
        assert found["rank20"] == pytest.approx(float(case["cmc"][-1]), abs=1e-7)


def cases(arrays: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, array in arrays.items():
        case, _, field = key.partition("/")
        found.setdefault(case, {})[field] = array
    return found


@pytest.mark.parametrize("name", sorted(cases(golden("eval_sysu"))))
def test_a_search_has_the_figures_of_the_reference_evaluation(name: str) -> None:
    golden_case(cases(golden("eval_sysu"))[name])


@needs_shared("golden/eval_sysu.npz")
def test_a_search_has_the_references_figures_on_every_case_however_large() -> None:
    with np.load(SHARED / "golden" / "eval_sysu.npz") as file:
        for case in cases(dict(file)).values():
            golden_case(case)


@pytest.mark.parametrize("mode", ["all", "indoor"])
def test_sysu_searches_infrared_in_visible_and_hides_camera_two_from_camera_three(mode: sysu.Mode) -> None:
    found = sysu.searches(CROWD, mode=mode, shot=1, count=2)
    for trial, one in enumerate(found):
        gallery = CROWD.take(sysu.gallery(CROWD, mode=mode, shot=1, trial=trial))
        expected = by_hand(CROWD.take(sysu.query(CROWD)), gallery,
                           lambda q, i, g, j: q.camera[i] == 3 and g.camera[j] == 2, distinct=True)
        assert one.figures == pytest.approx(expected)
    assert found[0].figures != found[1].figures


@pytest.mark.parametrize("pair", ["visible-infrared", "infrared-visible"])
def test_regdb_searches_all_of_one_modality_among_all_of_the_other_by_picture(pair: Any) -> None:
    pictures = people(range(30), (1, 2), 5, infrared=(2,), noise=1.5)
    asks = pictures.take(pictures.infrared == (pair == "infrared-visible"))
    answers = pictures.take(pictures.infrared == (pair != "infrared-visible"))
    expected = by_hand(asks, answers, lambda *_: False, distinct=False)
    assert regdb.one_split(pictures, pair).figures == pytest.approx(expected)


def test_llcm_hides_the_same_person_under_the_same_camera_and_swaps_roles_only_by_name() -> None:
    # Cameras see in both modalities, as LLCM's do.
    one = people(range(20), (1, 2, 3), 3, infrared=(), noise=1.2, seed=1)
    other = people(range(20), (1, 2, 3), 3, infrared=(1, 2, 3), noise=1.2, seed=1)
    other_embedding = np.roll(other.embedding, 1, axis=1) * 0.5 + other.embedding
    other_embedding /= np.linalg.norm(other_embedding, axis=1, keepdims=True)
    both = Embeddings(np.concatenate([one.embedding, other_embedding]), np.concatenate([one.identity, other.identity]),
                      np.concatenate([one.camera, other.camera]), np.concatenate([one.infrared, other.infrared]),
                      tuple("vis/" + name for name in one.name) + tuple("nir/" + name for name in other.name))
    visible = both.take(~both.infrared)
    few = both.take(llcm.gallery(both, "visible-infrared", trial=0))
    assert len(few) == 60
    assert few.infrared.all()
    true, swapped = llcm.searches(both, "visible-infrared", count=1)[0], llcm.role_swapped(both, count=1)[0]
    assert true.figures == pytest.approx(by_hand(visible, few, same_person_same_camera, distinct=True))
    assert swapped.figures == pytest.approx(by_hand(few, visible, same_person_same_camera, distinct=True))
    assert true.figures != swapped.figures


def test_market_drops_junk_keeps_distractors_and_hides_the_same_person_under_the_same_camera() -> None:
    query = people(range(1, 15), (1, 2), 1, infrared=(), noise=1.2, seed=3)
    good = people(range(1, 15), (1, 2, 3), 3, infrared=(), noise=1.2, seed=3)
    strangers = people((-1, 0), (1, 2, 3), 20, infrared=(), noise=3, seed=4)
    gallery = shuffled(Embeddings(*(np.concatenate([getattr(good, name), getattr(strangers, name)])
                                    for name in ("embedding", "identity", "camera", "infrared"))))
    found = market.single_query(query, gallery)
    expected = by_hand(query, gallery.take(gallery.identity != -1), same_person_same_camera, distinct=False)
    assert found.figures == pytest.approx(expected)
    without = market.single_query(query, gallery.take(gallery.identity > 0))
    assert without.figures["mean_ap"] > found.figures["mean_ap"]
    with pytest.raises(ValueError, match="query: expected identities from 1, got 0 in row 0"):
        market.single_query(gallery.take(gallery.identity == 0), gallery)
    with pytest.raises(ValueError, match=r"gallery: expected people, got junk \(-1\) alone"):
        market.single_query(query, gallery.take(gallery.identity == -1))


def test_a_mixed_gallery_holds_both_modalities_of_everybody_and_strangers_of_the_own_camera() -> None:
    found = mixed.searches(CROWD, "infrared", count=1)[0]
    rng = np.random.default_rng((0, 0))
    rows = np.concatenate([drawn.drawn(CROWD, np.flatnonzero(CROWD.infrared == infrared), rng)
                           for infrared in (False, True)])
    assert len(rows) == 25 * 6
    expected = by_hand(CROWD.take(CROWD.infrared), CROWD.take(rows), same_person_same_camera, distinct=True)
    assert found.figures == pytest.approx(expected)


def test_an_embedding_that_tells_modalities_apart_loses_in_a_mixed_gallery_alone() -> None:
    # Everybody of a modality shares a large part: between modalities nothing changes, mixed it does.
    split = CROWD.embedding + np.where(CROWD.infrared, 2, -2)[:, None] * np.eye(16, dtype=np.float32)[0]
    split = np.concatenate([split, np.ones((len(split), 1))], 1)
    split /= np.linalg.norm(split, axis=1, keepdims=True)
    apart = Embeddings(split.astype(np.float32), CROWD.identity, CROWD.camera, CROWD.infrared, CROWD.name)
    crossed = Embeddings(apart.embedding, apart.identity, np.where(apart.infrared, 1, 2), apart.infrared)
    own_modality = mixed.searches(crossed, "infrared", count=1)[0].figures
    across = regdb.one_split(crossed, "infrared-visible").figures
    assert own_modality["mean_ap"] < across["mean_ap"] / 2


def test_the_drawn_protocol_gives_the_figures_of_its_rules_by_hand() -> None:
    nameless = Embeddings(CROWD.embedding, CROWD.identity, CROWD.camera, CROWD.infrared)
    figures = drawn.score(CROWD.embedding, nameless, trials=2)
    assert list(figures) == ["visible-visible", "infrared-infrared", "infrared-visible", "visible-infrared"]
    for pair, found in figures.items():
        asks, answers = (np.flatnonzero(CROWD.infrared == (part == "infrared")) for part in pair.split("-"))
        hands = [by_hand(CROWD.take(asks), CROWD.take(drawn.drawn(CROWD, answers, np.random.default_rng((0, trial)))),
                         lambda q, i, g, j: q.camera[i] == g.camera[j] or one_room(q, i, g, j), distinct=True)
                 for trial in range(2)]
        assert found == pytest.approx({name: 100 * np.mean([hand[name] for hand in hands])
                                       for name in ("rank1", "rank10", "mean_ap", "mean_inp")}, abs=0.005)


def test_pairs_that_cannot_be_searched_have_no_figures() -> None:
    pictures = people(range(5), (1, 2, 3), 2)
    assert set(drawn.score(pictures.embedding, pictures)) == {"visible-visible", "infrared-visible", "visible-infrared"}
    crops = Crops(np.zeros((20, 4, 2, 3), np.uint8), *(getattr(pictures.take(~pictures.infrared), name)
                                                       for name in ("identity", "camera", "infrared")))
    assert set(drawn.score(pictures.embedding[~pictures.infrared], crops)) == {"visible-visible"}


def test_pieces_of_a_search_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sysu.searches(CROWD, mode="all", shot=2, count=1)[0]
    monkeypatch.setattr(search, "_AT_ONCE", 1000)
    pieces = sysu.searches(CROWD, mode="all", shot=2, count=1)[0]
    assert pieces.figures == pytest.approx(whole.figures)
    np.testing.assert_allclose(pieces.queries.average_precision, whole.queries.average_precision)


def test_queries_are_averaged_over_the_trials_in_which_they_have_a_match() -> None:
    nan = np.nan
    who = np.array([4, 5, 6])
    found = per_query([search.Found({}, Queries(who, np.array([1, nan, nan]), np.array([1, nan, nan]))),
                       search.Found({}, Queries(who, np.array([0, 1, nan]), np.array([.5, 1, nan])))])
    assert found.identity.tolist() == [4, 5, 6]
    np.testing.assert_array_equal(found.rank1, [0.5, 1, nan])
    np.testing.assert_array_equal(found.average_precision, [0.75, 1, nan])


def test_a_query_without_a_match_is_no_number_query_by_query() -> None:
    found = search.search(row_of(identity=np.array([1, 9])), row_of(identity=np.array([1, 2]))).queries
    np.testing.assert_array_equal(found.rank1, [1, np.nan])
    np.testing.assert_array_equal(found.average_precision, [1, np.nan])


def test_the_mean_over_queries_is_the_searchs_figure() -> None:
    found = search.search(CROWD.take(CROWD.infrared), CROWD.take(~CROWD.infrared), hidden=OWN_ROOM)
    assert np.nanmean(found.queries.rank1) != found.figures["mean_ap"]
    assert np.nanmean(found.queries.rank1) == pytest.approx(found.figures["rank1"])
    assert np.nanmean(found.queries.average_precision) == pytest.approx(found.figures["mean_ap"])


def test_a_rule_says_whether_it_needs_the_answer() -> None:
    assert SYSU.by_camera
    assert OWN_ROOM.by_camera
    assert not SAME_PERSON_SAME_CAMERA.by_camera


def row_of(**changed: Any) -> Embeddings:
    parts: dict[str, Any] = {"embedding": np.eye(2, dtype=np.float32), "identity": np.arange(2), "camera": np.arange(2),
                             "infrared": np.zeros(2, bool), "name": ()}
    return Embeddings(**(parts | changed))


@pytest.mark.parametrize(("changed", "said"), [
    ({"embedding": np.zeros((0, 2))}, r"embedding: expected shape \(n, d\) with n and d at least 1, got \(0, 2\)"),
    ({"embedding": np.zeros(2)}, r"embedding: expected shape \(n, d\)"),
    ({"identity": np.arange(3)}, r"identity: expected shape \(2,\), one for each embedding, got \(3,\)"),
    ({"camera": np.arange(1)}, r"camera: expected shape \(2,\)"),
    ({"infrared": np.zeros(2)}, "infrared: expected True and False, got float64"),
    ({"name": ("one",)}, "name: expected 2 paths, one for each embedding, got 1"),
    ({"embedding": np.array([[1, 0], [np.nan, 1]])}, "finite numbers, got some in row 1 that are not"),
])
def test_labels_that_do_not_belong_to_embeddings_are_named(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        row_of(**changed)


def test_embeddings_that_cannot_be_compared_are_named() -> None:
    long = row_of(embedding=np.array([[1.0, 0], [3, 0]]))
    with pytest.raises(ValueError, match=r"gallery: expected unit vectors .* got length 3 in row 1"):
        distances(row_of(), long)
    np.testing.assert_allclose(distances(row_of(), long, "euclidean"), [[0, 4], [2, 10]])
    np.testing.assert_allclose(distances(row_of(), row_of(embedding=np.array([[0, 0], [0, 1]]))), [[1, 1], [1, 0]])
    with pytest.raises(ValueError, match="width 2 as the queries', got 3"):
        distances(row_of(), row_of(embedding=np.eye(3)[:2]))
    with pytest.raises(ValueError, match="metric: expected cosine or euclidean, got manhattan"):
        distances(row_of(), row_of(), "manhattan")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one query with a match"):
        search.search(row_of(), row_of(identity=np.array([5, 6])))
    with pytest.raises(ValueError, match="pair: expected one of visible-visible"):
        regdb.one_split(CROWD, "ir-rgb")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gallery: expected infrared pictures, got none"):
        regdb.one_split(row_of(), "visible-infrared")
    with pytest.raises(ValueError, match="both modalities for a mixed gallery, got one"):
        mixed.searches(row_of(), "visible")
