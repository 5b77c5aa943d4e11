"""First thresholds keep the false match rate they promise, on people nobody was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmnas_edge import config
from cmnas_edge.bundle.pictures import draw
from cmnas_edge.calibration import PAIRS
from cmnas_edge.embedding import Modality, unit
from cmnas_edge.errors import BundleError, ConfigError
from cmnas_edge.synthetic.crops import CropSet
from cmnas_edge.validation import F32, U8
from export.calibrate import CHECK_SEED, WORLD_SEED, drawn_people, embedded, scores, thresholds
from train.fit.recipe import Recipe

RECIPES = sorted((Path(__file__).parents[2] / "train" / "recipes").glob("drawn_*.toml"))


def noisy_pixels(crops: U8, modality: Modality) -> F32:
    """Average colours of a grid: tells some people apart, and strangers sometimes not."""
    grid = crops.reshape(len(crops), 4, crops.shape[1] // 4, 2, crops.shape[2] // 2, 3).mean((2, 4))
    return unit((grid.reshape(len(crops), -1) - 100).astype(np.float32) + (modality == "infrared"))


def nobody(crops: U8, modality: Modality) -> F32:
    return np.tile(np.array([[0, 1]], np.float32), (len(crops), 1))


def set_of(identity: list[int], camera: list[int]) -> CropSet:
    n = len(identity)
    images = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 2, 3), np.uint8)
    return CropSet(images, np.array(identity), np.array(camera), np.array(camera) % 3 == 0)


def as_numbered(table: np.ndarray):
    """Row i of a table for the crop whose pixels are i."""
    return lambda crops, modality: table[crops[:, 0, 0, 0]]


def test_genuine_pairs_are_one_person_under_two_cameras_and_every_pair_counts_once() -> None:
    crops = set_of([7, 7, 7, 8, 7, 8], [1, 1, 2, 1, 3, 6])
    table = unit(np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
    cosine = table @ table.T
    found = scores(embedded(crops.images, crops, as_numbered(table)))

    def close(pair: str, genuine: list[tuple[int, int]], impostor: list[tuple[int, int]]) -> None:
        one, two = found[pair].genuine, found[pair].impostor
        for have, want in zip((one, two), (genuine, impostor), strict=True):
            np.testing.assert_allclose(np.sort(have), np.sort([cosine[a, b] for a, b in want]), atol=1e-6)
        assert sorted(found[pair].genuine_of.tolist()) == sorted(crops.identity[a] for a, _ in genuine)
        assert sorted(map(sorted, found[pair].impostor_of.tolist())) == sorted(
            sorted((crops.identity[a], crops.identity[b])) for a, b in impostor)

    close("visible-visible", [(0, 2), (1, 2)], [(0, 3), (1, 3), (2, 3)])
    close("infrared-infrared", [], [(4, 5)])
    close("visible-infrared", [(0, 4), (1, 4), (2, 4), (3, 5)], [(3, 4), (0, 5), (1, 5), (2, 5)])


def test_a_threshold_lets_no_more_strangers_through_than_it_says() -> None:
    people = drawn_people(12, 2)
    found = thresholds(people, 32, 16, noisy_pixels, false_match_rate=1e-2).thresholds
    crops = draw(people, 32, 16)
    for pair, seen in scores(embedded(crops.images, crops, noisy_pixels)).items():
        genuine, impostor, threshold = seen.genuine, seen.impostor, found[pair]
        assert (impostor >= threshold.score).mean() <= 1e-2
        # And no lower threshold that tells any two scores apart would do.
        refused = impostor[impostor < threshold.score].max()
        assert (impostor >= refused).mean() > 1e-2
        assert threshold.false_match_rate == 1e-2
        assert threshold.false_non_match_rate == pytest.approx((genuine < threshold.score).mean())
        assert (threshold.genuine_count, threshold.impostor_count) == (len(genuine), len(impostor))
    assert set(found) == set(PAIRS)


def test_too_few_people_for_so_small_a_rate_says_to_draw_more() -> None:
    with pytest.raises(ConfigError, match=r"expected at least 1000 pairs of strangers .* take more people"):
        thresholds(drawn_people(3, 1), 32, 16, noisy_pixels)


def test_a_network_that_tells_nobody_apart_gets_no_threshold() -> None:
    with pytest.raises(BundleError, match="tells nobody apart"):
        thresholds(drawn_people(12, 2), 32, 16, nobody, false_match_rate=0.1)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_no_recipe_learns_from_the_world_thresholds_are_found_in(path: Path) -> None:
    recipe = config.load(path, Recipe)
    assert not {WORLD_SEED, CHECK_SEED} & {recipe.train.seed, recipe.validation.seed}


def test_people_of_one_modality_alone_calibrate_nothing() -> None:
    crops = set_of([1, 2, 3], [1, 2, 4])
    with pytest.raises(ConfigError, match="both modalities"):
        scores(embedded(crops.images, crops, as_numbered(np.eye(3, dtype=np.float32))))
