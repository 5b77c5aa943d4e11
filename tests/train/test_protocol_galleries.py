"""Galleries are those that the reference evaluations draw, to the file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden import golden
from tests.train.protocol_people import people, shuffled
from train.protocols import llcm, sysu
from train.protocols.embeddings import Embeddings
from train.protocols.galleries import drawn, official, seeded

GOLDEN = golden("sysu_gallery")


def tree(seed: int) -> Embeddings:
    """The golden tree's pictures of test identities, in some order; its other files belong to nobody in the test."""
    names = [name for name in GOLDEN["tree"].tolist() if int(name.split("/")[1]) in GOLDEN["identities"]]
    names = np.random.default_rng(seed).permutation(names).tolist()
    camera = np.array([int(name[3]) for name in names])
    return Embeddings(np.ones((len(names), 1), np.float32), np.array([int(name.split("/")[1]) for name in names]),
                      camera, np.isin(camera, (3, 6)), tuple(names))


def listed(pictures: Embeddings, rows: np.ndarray) -> list[str]:
    return [pictures.name[row] for row in rows]


@pytest.mark.parametrize("key", sorted(key for key in GOLDEN if key.startswith("gallery/")))
def test_a_seeded_gallery_is_the_reference_codes_to_the_file(key: str) -> None:
    _, mode, shot, trial = key.split("/")
    pictures = tree(seed=len(key))
    rows = sysu.gallery(pictures, mode=mode, shot=int(shot.removeprefix("shot")),  # type: ignore[arg-type]
                        trial=int(trial.removeprefix("trial")))
    assert listed(pictures, rows) == GOLDEN["tree"][GOLDEN[key]].tolist()


def test_queries_are_the_reference_codes_in_its_order_for_both_modes() -> None:
    pictures = tree(seed=1)
    for key in ("query/all", "query/indoor"):
        assert listed(pictures, sysu.query(pictures)) == GOLDEN["tree"][GOLDEN[key]].tolist()


def test_a_gallery_drawn_by_camera_of_the_other_modality_follows_the_same_convention() -> None:
    # LLCM's code differs from SYSU's in nothing but where its pictures lie.
    pictures = tree(seed=2)
    rows = llcm.gallery(pictures, "infrared-visible", trial=4)
    assert listed(pictures, rows) == GOLDEN["tree"][GOLDEN["gallery/all/shot1/trial4"]].tolist()


def test_everybody_under_a_camera_is_taken_where_there_are_fewer_than_the_shots() -> None:
    pictures = people(range(3), (1, 2, 3), 4)
    rows = sysu.gallery(pictures, mode="all", shot=10, trial=0)
    assert sorted(rows) == np.flatnonzero(~pictures.infrared).tolist()


@given(st.integers(1, 5), st.integers(0, 9))
def test_each_run_of_the_official_permutations_takes_its_first_entries_of_sorted_names(shot: int, run: int) -> None:
    pictures = shuffled(people((2, 7), (1, 5, 3), 5))
    rng = np.random.default_rng(run)
    orders = {(camera, identity): np.stack([rng.permutation(5) + 1 for _ in range(10)])
              for camera in (1, 5) for identity in (2, 7)}
    found = listed(pictures, sysu.gallery(pictures, mode="all", shot=shot, trial=run, permutations=orders))
    assert found == [f"cam{camera}/{identity:04}/{entry:04}.jpg" for identity in (2, 7) for camera in (1, 5)
                     for entry in orders[camera, identity][run, :shot]]


@pytest.mark.parametrize(("order", "said"), [
    (None, "camera 1, identity 2: expected one for each run, got none"),
    (np.arange(1, 4)[None], "expected 1 to 4, the pictures there, in some order, got 3 numbers, 1, 2, 3 and so on"),
    (np.arange(4)[None], "got 4 numbers, 0, 1, 2, 3"),
    (np.array([[1, 2, 2, 4]]), "expected 1 to 4"),
    (np.zeros((0, 4), np.int64), "with a run 1, got"),
])
def test_permutations_of_other_pictures_are_refused_by_camera_and_identity(order: np.ndarray | None, said: str) -> None:
    pictures = people((2,), (1, 3), 4)
    with pytest.raises(ValueError, match=said):
        official(pictures, np.flatnonzero(~pictures.infrared), {} if order is None else {(1, 2): order}, shot=1,
                 trial=0)


def test_every_run_of_the_permutations_is_checked() -> None:
    pictures = people((2,), (1, 3), 4)
    orders = {(1, 2): np.array([[4, 3, 2, 1], [4, 4, 2, 1]])}
    visible = np.flatnonzero(~pictures.infrared)
    assert listed(pictures, official(pictures, visible, orders, shot=1, trial=0)) == ["cam1/0002/0004.jpg"]
    with pytest.raises(ValueError, match="got 4 numbers, 4, 4, 2, 1"):
        official(pictures, visible, orders, shot=1, trial=1)


def test_one_is_drawn_of_everybody_under_every_camera_and_another_time_another() -> None:
    pictures = people(range(4), (1, 2, 4), 6)
    rows = np.flatnonzero(pictures.camera != 4)
    one, other = (drawn(pictures, rows, np.random.default_rng(seed)) for seed in (0, 1))
    for picked in (one, other):
        assert sorted(zip(pictures.identity[picked], pictures.camera[picked], strict=True)) == [
            (identity, camera) for identity in range(4) for camera in (1, 2)]
    assert one.tolist() != other.tolist()


def test_what_cannot_be_drawn_from_says_so() -> None:
    pictures = people(range(2), (1, 3), 2)
    nameless = Embeddings(pictures.embedding, pictures.identity, pictures.camera, pictures.infrared)
    with pytest.raises(ValueError, match="name: expected the pictures' paths"):
        sysu.query(nameless)
    with pytest.raises(ValueError, match="shot: expected at least 1, got 0"):
        seeded(pictures, [0], shot=0, trial=0)
    with pytest.raises(ValueError, match="mode: expected all or indoor, got outdoor"):
        sysu.gallery(pictures, mode="outdoor", shot=1, trial=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"visible pictures of cameras \(1, 2\) as gallery, got none"):
        sysu.gallery(people(range(2), (4, 3), 2), mode="indoor", shot=1, trial=0)
    with pytest.raises(ValueError, match="infrared pictures as queries, got none"):
        sysu.query(people(range(2), (1, 2), 2))
