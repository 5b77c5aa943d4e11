"""A recipe says what to build in one way only, and a wrong word in it is answered with the right one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cmnas_edge import config
from cmnas_edge.errors import ConfigError
from train.data.drawn import Drawn
from train.fit.recipe import Recipe
from train.fit.sources import Regdb
from train.networks.design import Design
from train.networks.space import Arch

RECIPE = Recipe(backbone="osnet_x0_25", norms="split", steps=9, train=Drawn(identities=2))


def test_an_arch_file_decides_every_site(tmp_path: Path) -> None:
    arch = Arch.of("osnet_x0_25", {"conv1.bn": "split", "fc.1": "split_statistics"})
    path = tmp_path / "arch.json"
    path.write_text(arch.to_json())
    recipe = msgspec.structs.replace(RECIPE, norms=None, arch=path)
    assert recipe.architecture() == arch
    assert RECIPE.architecture() == Arch.uniform("osnet_x0_25", "split")
    with pytest.raises(ConfigError, match="found both"):
        msgspec.structs.replace(RECIPE, arch=path).architecture()
    with pytest.raises(ConfigError, match="found neither"):
        msgspec.structs.replace(RECIPE, norms=None).architecture()


def test_an_arch_of_another_backbone_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    recipe = msgspec.structs.replace(RECIPE, norms=None, arch=path)
    with pytest.raises(ConfigError, match=r"arch\.json: expected an arch file, found No such file"):
        recipe.architecture()
    path.write_text(Arch.uniform("resnet50", "split").to_json())
    with pytest.raises(ConfigError, match=r"expected an arch of osnet_x0_25 .* found one of resnet50"):
        recipe.architecture()
    path.write_text("[]")
    with pytest.raises(ConfigError, match=r"arch\.json: arch: expected"):
        recipe.architecture()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="found something that is no text"):
        recipe.architecture()


@pytest.mark.parametrize(("line", "said"), [
    ("batch = 3", "unknown key 'batch'"),
    ("[train]\ndataset = 'regdb'\ntrail = 2", "unknown key 'trail' in [train]; did you mean 'trial'?"),
    ("[train]\ndataset = 'sysu'\ntrial = 2", "unknown key 'trial' in [train]"),
    ("[train]\ndataset = 'sysy'", ("expected drawn, sysu, regdb, llcm, market or folder at train.dataset, "
     "found 'sysy'; did you mean 'sysu'?")),
    ("draw = 'camera'\n[train]\ndataset = 'sysu'", ("expected cameras, published or shuffled at draw, found 'camera'; "
     "did you mean 'cameras'?")),
    ("[train]\nidentities = 3", "expected the key 'dataset', found none at train"),
    ("width = 9\n[train]\ndataset = 'drawn'\nidentities = 3\n[augmentation]\npad = 9", "width, 128 and 9, found 9"),
    ("[train]\ndataset = 'drawn'\nidentities = 3\n[optimiser]\nbeta = [0.5, 0.9]", "did you mean 'betas'?"),
])
def test_a_typo_is_answered_with_the_right_word(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f'backbone = "osnet_x0_25"\nnorms = "split"\nsteps = 1\n{line}\n')
    with pytest.raises(ConfigError) as caught:
        config.load(path, Recipe)
    assert said in str(caught.value)


def test_a_recipe_is_read_as_it_was_shown(tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(RECIPE, train=Regdb(trial=3), validation=Regdb(part="validation", trial=3))
    path = tmp_path / "r.toml"
    path.write_text(config.show(recipe))
    assert config.load(path, Recipe) == recipe


def test_a_design_is_built_and_an_arch_file_brings_its_own(tmp_path: Path) -> None:
    two = msgspec.structs.replace(RECIPE, design=Design(streams=2))
    assert two.architecture() == Arch.uniform("osnet_x0_25", "split", design=Design(streams=2))
    path = tmp_path / "arch.json"
    path.write_text(two.architecture().to_json())
    by_file = msgspec.structs.replace(RECIPE, norms=None, arch=path)
    assert by_file.architecture() == two.architecture()
    assert msgspec.structs.replace(by_file, design=Design(streams=2)).architecture() == two.architecture()
    with pytest.raises(ConfigError, match="streams 2 instead of 3"):
        msgspec.structs.replace(by_file, design=Design(streams=3)).architecture()
