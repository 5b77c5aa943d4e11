"""A table is made of a dataset on disk from its first search to its last protocol, and goes on where it was stopped."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from cmnas_edge import config
from cmnas_edge.synthetic.files import Asked
from cmnas_edge.synthetic.regdb import write_regdb
from cmnas_edge.synthetic.sysu import write_sysu
from tests.proof import PROVING
from train.__main__ import main
from train.data.drawn import Drawn
from train.fit.recipe import Recipe
from train.fit.sources import Regdb, Sysu
from train.networks import checkpoint
from train.reproduce import work
from train.search.recipe import SearchRecipe

ASKED = Asked(train=4, validation=3, test=3, per_camera=2, height=32, width=16)
SEARCH = SearchRecipe(backbone="osnet_x0_25", by="stage", height=32, width=16, steps=1, identities_per_batch=2,
                      crops_per_modality=1, recalibrate=1, train=Drawn(identities=2),
                      validation=Drawn(identities=2, first_identity=9))
RECIPE = Recipe(backbone="osnet_x0_25", norms="split", height=32, width=16, steps=2, identities_per_batch=2,
                crops_per_modality=1, train=Sysu(), validation=Sysu(part="validation"), evaluate_every=1)
SPLITS = 10 if PROVING else 1  # that are really searched, trained and scored


class Jobs:
    """Each done in this process; of splits beyond ``SPLITS`` the figures are those of the first."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.stop_before = ""

    def __call__(self, words: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        if self.stop_before == words[0]:
            return 130
        self.done.append((log.parent.name, log.stem))
        if int(log.parent.name.split("_")[1]) > SPLITS:
            if words[0] == "evaluate":
                shutil.copy(log.parents[1] / "searched_1_0" / "figures.json", log.parent)
            return 0
        return main(words)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    found = Jobs()
    monkeypatch.setattr(work, "_in_a_process", found)
    return found


def command(folder: Path, what: str, recipe: Recipe) -> list[str]:
    (folder / "r.toml").write_text(config.show(recipe))
    (folder / "s.toml").write_text(config.show(SEARCH))
    return ["reproduce", what, "--out", str(folder / "out"), "--data", str(folder / what), "--recipe",
            str(folder / "r.toml"), "--search", str(folder / "s.toml"), "--device", "cpu"]


def test_sysu_is_searched_chosen_learnt_whole_and_scored_and_goes_on_where_it_stopped(
        tmp_path: Path, jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    write_sysu(tmp_path / "sysu", **ASKED._asdict())
    words = command(tmp_path, "sysu", RECIPE)
    jobs.stop_before = "evaluate"
    assert main(words) == 130
    assert jobs.done == [("searched_0_0", name) for name in ("search", "choose", "fit")]
    jobs.done.clear()
    jobs.stop_before = ""
    capsys.readouterr()
    assert main(words) == 0
    assert jobs.done == [("searched_0_0", "evaluate")]
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in capsys.readouterr().out
    for setting in ("all, single-shot", "all, multi-shot", "indoor, single-shot", "indoor, multi-shot"):
        assert f"| {setting} | searched (drawn people) |" in table
    assert "CM-NAS" not in table  # nobody published anything about drawn people
    (learnt,) = checkpoint.load(tmp_path / "out" / "searched_0_0" / "run" / "last.safetensors")[1].learnt
    assert learnt.source["part"] == "trainval"
    assert learnt.numbers == ((1, 7),)
    (searched,) = checkpoint.load(tmp_path / "out" / "searched_0_0" / "search" / "last.safetensors")[1].learnt
    assert searched.numbers == ((1, 4),)


def test_regdb_is_searched_and_scored_on_each_of_its_splits_and_the_table_is_their_mean(
        tmp_path: Path, jobs: Jobs) -> None:
    write_regdb(tmp_path / "regdb", ASKED._replace(train=8))  # two of eleven validate
    recipe = msgspec.structs.replace(RECIPE, train=Regdb(part="trainval"), validation=None)
    assert main(command(tmp_path, "regdb", recipe)) == 0
    assert sorted(jobs.done) == sorted((f"searched_{split}_0", name) for split in range(1, 11)
                                       for name in ("search", "fit", "evaluate"))
    table = (tmp_path / "out" / "table.md").read_text()
    for setting in ("visible-infrared", "infrared-visible"):
        assert f"| {setting} | searched (drawn people) |" in table
    assert "10 splits" in table
    for split in range(1, SPLITS + 1):
        where = tmp_path / "out" / f"searched_{split}_0" / "run" / "last.safetensors"
        (learnt,) = checkpoint.load(where)[1].learnt
        assert (learnt.source["part"], learnt.source["trial"]) == ("trainval", split)
