"""A recipe learns from a dataset on disk, opens nobody's picture it must not see, and ends where validation chose."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cmnas_edge import config
from cmnas_edge.errors import ConfigError
from cmnas_edge.synthetic.files import Asked
from cmnas_edge.synthetic.regdb import write_regdb
from cmnas_edge.synthetic.sysu import write_sysu
from train.__main__ import main
from train.data import datasets
from train.data.drawn import Drawn
from train.data.pictures import Pictures
from train.fit.loop import final_recipe, fit, worth
from train.fit.recipe import Optimiser, Recipe, varied
from train.fit.run import Run
from train.fit.sources import Market, Regdb, Sysu, everybody, overlap

TINY = Recipe(backbone="osnet_x0_25", norms="split", height=32, width=16, steps=4, identities_per_batch=2,
              crops_per_modality=1, train=Sysu(), validation=Sysu(part="validation"), evaluate_every=2,
              checkpoint_every=4, optimiser=Optimiser(rate=1e-3, warm_up=0))
ASKED = Asked(train=3, validation=2, test=3, per_camera=1, height=32, width=16)


@pytest.fixture(scope="module")
def sysu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica whose test people cannot be decoded: whoever opens one fails."""
    root = tmp_path_factory.mktemp("data") / "sysu"
    write_sysu(root, **ASKED._asdict())
    tested = datasets.read(root, "test")
    for row in range(len(tested)):
        tested.file(row).write_bytes(b"")
    with pytest.raises(ConfigError):
        run_on(root, root.parent / "proof", part="test")
    return root


def run_on(root: Path, cache: Path, part: str) -> None:
    from train.data import shards

    shards.decode(datasets.read(root, part), 32, 16, cache)


@pytest.fixture(scope="module")
def chosen(sysu: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert fit(TINY, folder, root=sysu, out=io.StringIO())
    return folder


def test_no_test_identity_is_read_by_any_run(
        sysu: Path, chosen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    before = datasets.read

    def noting(root: Path, part: str, *, name: str | None = None, trial: int = 1) -> Pictures:
        asked.append(part)
        return before(root, part, name=name, trial=trial)

    monkeypatch.setattr(datasets, "read", noting)
    assert fit(TINY, tmp_path / "again", root=sysu, out=io.StringIO())
    assert asked == ["train", "validation"]
    asked.clear()
    # All of it stands on pictures alone: those of the test people are empty files here.
    assert fit(final_recipe(TINY, chosen), tmp_path / "final", root=sysu, out=io.StringIO())
    assert asked == ["trainval"]


@pytest.mark.parametrize("part", ["test", "query", "gallery"])
def test_a_recipe_cannot_ask_for_test_people(part: str, tmp_path: Path) -> None:
    text = config.show(TINY).replace('part = "validation"', f'part = "{part}"')
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ConfigError, match=rf"trainval at validation\.part, found '{part}'"):
        config.load(tmp_path / "r.toml", Recipe)


def test_a_final_run_learns_from_everybody_up_to_the_best_step(sysu: Path, chosen: Path, tmp_path: Path) -> None:
    log = Run(chosen, TINY, writes=False).rows()
    scores = {row["step"]: worth(row["validation"]) for row in log if "validation" in row}
    assert set(scores) == {2, 4}
    recipe = final_recipe(TINY, chosen)
    assert recipe.until == max(scores, key=lambda step: scores[step])
    recipe = msgspec.structs.replace(recipe, until=3)
    assert fit(recipe, tmp_path, root=sysu, out=io.StringIO())
    assert [row["step"] for row in Run(tmp_path, recipe, writes=False).rows()] == [3]
    assert json.loads((tmp_path / "run.json").read_text())["identities"] == ASKED.train + ASKED.validation
    # Its rates are those of the whole schedule: it is the same run, ended early.
    assert recipe.steps == TINY.steps


def test_a_final_run_needs_a_finished_one(tmp_path: Path, chosen: Path) -> None:
    Run(tmp_path, TINY).note({"step": 2, "validation": {"visible-infrared": {"mean_ap": 3.0}}})
    with pytest.raises(ConfigError, match="scores up to step 2 of 4"):
        final_recipe(TINY, tmp_path)
    with pytest.raises(ConfigError, match="another one"):
        final_recipe(msgspec.structs.replace(TINY, seed=9), chosen)


def test_worth_is_about_crossing_modalities_where_it_can_be() -> None:
    rows = {"visible-visible": {"mean_ap": 90.0}, "visible-infrared": {"mean_ap": 10.0},
            "infrared-visible": {"mean_ap": 20.0}}
    assert worth(rows) == 15
    assert worth({"visible-visible": {"mean_ap": 90.0}}) == 90


def test_without_its_folder_a_dataset_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected the folder of sysu, found none; add --data ROOT"):
        fit(TINY, tmp_path, out=io.StringIO())


def test_the_command_takes_the_folder_and_the_split(
        sysu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "regdb"
    write_regdb(root, ASKED)
    recipe = tmp_path / "r.toml"
    recipe.write_text(config.show(msgspec.structs.replace(TINY, train=Regdb(), validation=None, steps=1)))
    words = ["fit", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*words, "--data", str(sysu)]) == 78
    assert "RegDB" in capsys.readouterr().err
    assert main([*words, "--data", str(root), "--trial", "3", "--seed", "5"]) == 0
    kept = (tmp_path / "run" / "recipe.toml").read_text()
    assert "trial = 3" in kept
    assert "seed = 5" in kept
    assert main([*words, "--data", str(root), "--trial", "11"]) == 78


def test_two_sets_that_can_share_somebody_are_told_before_anything_is_read() -> None:
    assert overlap(Sysu(part="trainval"), Sysu(part="validation"))
    assert overlap(Regdb(), Regdb())
    assert not overlap(Sysu(), Sysu(part="validation"))
    assert not overlap(Sysu(), Market())
    assert not overlap(Sysu(), Drawn(identities=3))
    with pytest.raises(ConfigError, match="of one dataset"):
        everybody(Sysu(), Market())
    drawn = Drawn(identities=3), Drawn(identities=2, first_identity=7)
    assert everybody(*drawn) == drawn


def test_a_drawn_final_run_learns_from_both_sets(tmp_path: Path) -> None:
    people = Drawn(identities=2, cameras=(1, 3), per_camera=1)
    recipe = msgspec.structs.replace(TINY, train=people, validation=msgspec.structs.replace(people, first_identity=50),
                                     final=True, steps=1)
    assert fit(recipe, tmp_path, out=io.StringIO())
    about = json.loads((tmp_path / "run.json").read_text())
    assert (about["identities"], about["crops"]) == (4, 8)


def test_only_regdb_has_splits_to_vary() -> None:
    assert varied(msgspec.structs.replace(TINY, train=Regdb(), validation=None), trial=4).train == Regdb(trial=4)
    with pytest.raises(ConfigError, match="leave it out"):
        varied(TINY, trial=2)
    with pytest.raises(ConfigError, match="--seed"):
        varied(TINY, seed=-1)
    assert np.isfinite(varied(TINY, seed=3).seed)
