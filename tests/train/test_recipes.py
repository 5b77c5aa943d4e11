"""Every recipe in the project says where it is from and what to expect, keeps its people apart, and takes a step."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import torch

from cmnas_edge import config
from cmnas_edge.synthetic.files import Asked
from cmnas_edge.synthetic.market import write_market
from cmnas_edge.synthetic.regdb import write_regdb
from cmnas_edge.synthetic.sysu import write_sysu
from tests.proof import PROVING
from train.data.drawn import Drawn
from train.fit import sources
from train.fit.recipe import Recipe
from train.fit.sources import overlap, together
from train.fit.trainer import Trainer

FOLDER = Path(__file__).resolve().parents[2] / "train" / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.toml") if not path.name.startswith("search_"))
LARGE = ("resnet50", "osnet_x1_0")
ASKED = Asked(train=3, validation=1, test=1, per_camera=2, height=64, width=32)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replicas")
    write_sysu(folder / "sysu", **ASKED._asdict())
    write_regdb(folder / "regdb", ASKED)
    write_market(folder / "market", ASKED)
    return folder


def one_step(path: Path, replicas: Path) -> None:
    recipe = config.load(path, Recipe)
    tiny = msgspec.structs.replace(recipe, height=64, width=32, start=None, identities_per_batch=2,
                                   crops_per_modality=2)
    if isinstance(recipe.train, Drawn):
        tiny = msgspec.structs.replace(tiny, train=Drawn(identities=2, cameras=(1, 3), per_camera=2))
    name = str(recipe.train.__struct_config__.tag)
    crops = together((sources.read(tiny.train, 64, 32, root=replicas / name, cache=replicas / "crops"),))
    trainer = Trainer(tiny, crops)
    before = {key: tensor.clone() for key, tensor in trainer.network.state_dict().items()}
    figures = trainer.advance()
    assert all(torch.isfinite(torch.tensor(value)) for value in figures.values())
    moved = {key for key, tensor in trainer.network.state_dict().items() if not torch.equal(tensor, before[key])}
    assert "classifier.weight" in moved
    assert any("running_mean" in key for key in moved) != bool(recipe.optimiser.classifier_first)


SMALL = [path for path in RECIPES if not any(name in path.stem for name in LARGE)]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_a_small_recipe_takes_a_step(path: Path, replicas: Path) -> None:
    one_step(path, replicas)


@pytest.mark.prove
@pytest.mark.skipif(not PROVING, reason="seconds each: make prove")
@pytest.mark.parametrize("path", [path for path in RECIPES if path not in SMALL], ids=lambda path: path.stem)
def test_a_large_recipe_takes_a_step(path: Path, replicas: Path) -> None:
    one_step(path, replicas)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_tells_its_story_first(path: Path) -> None:
    head = path.read_text().partition("\nbackbone")[0]
    assert all(line.startswith("#") for line in head.strip().splitlines())
    for word in ("Source", "Command", "Hardware", "Hours", "Score"):
        assert re.search(rf"^# {word} +\S", head, re.MULTILINE), word
    command = re.search(r"python -m train fit (\S+)", head)
    assert command is not None
    assert FOLDER / Path(command[1]).name == path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_keeps_its_people_apart_and_its_rates_meet_their_epochs(path: Path) -> None:
    recipe = config.load(path, Recipe)
    assert recipe.validation is None or not overlap(recipe.train, recipe.validation)
    how, epoch = recipe.optimiser, recipe.optimiser.hold
    assert recipe.steps % epoch == 0
    assert all(step % epoch == 0 for step in (*how.drops, how.warm_up, how.classifier_first))
    assert recipe.architecture().backbone == recipe.backbone


def test_the_coupling_of_average_and_test_is_on_where_it_was_published_only() -> None:
    on = {path.stem for path in RECIPES if config.load(path, Recipe).optimiser.reload_average}
    assert on == {"cmnas_resnet50_sysu", "cmnas_resnet50_regdb"}
