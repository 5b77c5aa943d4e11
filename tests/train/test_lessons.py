"""A checkpoint knows whom it was taught, and is not scored on them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch

from cmnas_edge.errors import ConfigError
from cmnas_edge.synthetic.files import Asked
from cmnas_edge.synthetic.llcm import write_llcm
from cmnas_edge.synthetic.market import write_market
from cmnas_edge.synthetic.regdb import write_regdb
from train.__main__ import main
from train.data import datasets
from train.data.drawn import Drawn, draw
from train.fit.lessons import UNLABELLED, lesson, of, require_strangers, trial, unsure
from train.fit.loop import final_recipe, fit
from train.fit.optimisers import Optimiser
from train.fit.recipe import Recipe
from train.fit.sources import Folder, Regdb, Sysu, overlap
from train.networks import checkpoint
from train.networks.build import build
from train.networks.checkpoint import Checkpoint, Lesson
from train.networks.space import Arch

TINY = Recipe(backbone="osnet_x0_25", norms="split", height=32, width=16, steps=2, identities_per_batch=2,
              crops_per_modality=1, train=Drawn(identities=3, cameras=(1, 3), per_camera=1), evaluate_every=2,
              checkpoint_every=2, optimiser=Optimiser(rate=1e-3, warm_up=0))
META = Checkpoint(height=32, width=16, seed=0, commit="x", data="y")
CROPS = draw(Drawn(identities=2, cameras=(1, 3), per_camera=1), 32, 16)


def taught(*lessons: Lesson) -> Checkpoint:
    return msgspec.structs.replace(META, learnt=lessons)


def evaluate(path: Path, *words: str) -> int:
    return main(["evaluate", str(path), "--device", "cpu", *words])


def kept(path: Path, meta: Checkpoint) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    checkpoint.save(path, build(Arch.uniform("osnet_x0_25", "split"), identities=2), meta)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lessons") / "run"
    assert fit(TINY, folder, out=io.StringIO())
    return folder / "last.safetensors"


def test_a_run_writes_whom_it_taught_and_whom_its_start_was_taught(run: Path, tmp_path: Path) -> None:
    first = {"dataset": "drawn", "identities": 3, "first_identity": 0, "cameras": [1, 3], "per_camera": 1, "seed": 0,
             "first_crop": 0}
    assert of(checkpoint.load(run)[1]) == (Lesson(first),)
    later = msgspec.structs.replace(TINY, start=run, train=Drawn(identities=2, first_identity=7, cameras=(1, 3)))
    assert fit(later, tmp_path / "later", out=io.StringIO())
    known = of(checkpoint.load(tmp_path / "later" / "last.safetensors")[1])
    assert [one.source["first_identity"] for one in known] == [0, 7]


def test_drawn_people_that_a_checkpoint_learnt_from_are_refused(
        run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = ["--identities", "4", "--per-camera", "1", "--cameras", "1", "2", "3"]
    assert evaluate(run, *some, "--first", "2") == 78
    said = capsys.readouterr()
    assert "found some of those it did (numbers 0 to 2 of world 0); give --first 3 or above" in said.err
    assert not said.out
    for words in (["--first", "3"], ["--first", "2", "--seed", "1"]):
        assert evaluate(run, *some, *words) == 0
        assert "not known" not in capsys.readouterr().out


def test_statistics_learnt_from_people_count_as_well(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapted.safetensors"
    words = ["adapt", str(run), "--out", str(out), "--device", "cpu", "--drawn", "9", "--first", "500"]
    assert main([*words, "--cameras", "1", "3", "--per-camera", "2"]) == 0
    assert [one.source["first_identity"] for one in of(checkpoint.load(out)[1])] == [0, 500]
    assert evaluate(out, "--identities", "4", "--first", "508") == 78


def test_what_nobody_can_rule_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--identities", "3", "--per-camera", "1", "--cameras", "1", "2"]
    assert evaluate(kept(tmp_path / "old", META), *words) == 0
    assert "It does not say whom it was taught" in capsys.readouterr().out
    assert unsure(taught(UNLABELLED)).startswith("Its norms were adapted to unlabelled pictures")
    assert unsure(taught(Lesson({"dataset": "of a later version"}))).startswith("It does not say")
    assert not unsure(taught(lesson(Sysu(), CROPS)))


def test_a_trial_of_regdb_is_asked_about_its_own_test_people_only(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_regdb(tmp_path / "regdb", Asked(train=2, validation=2, test=3, per_camera=1, height=32, width=16))
    path = kept(tmp_path / "runs" / "one" / "last.safetensors", taught(lesson(Regdb(trial=2), CROPS)))
    assert evaluate(path, "--data", str(tmp_path / "regdb"), "--trial", "1") == 78
    assert "found test people of trial 1 of RegDB, half of whom trial 2 taught it" in capsys.readouterr().err
    assert evaluate(path, "--data", str(tmp_path / "regdb")) == 0
    assert "regdb, trial 2" in capsys.readouterr().out
    assert (trial(META), trial(taught(lesson(Sysu(), CROPS)))) == (1, 1)
    both = taught(lesson(Regdb(trial=2), CROPS), lesson(Regdb(trial=5, part="trainval"), CROPS))
    for number in (2, 5):
        with pytest.raises(ConfigError, match="half of whom"):
            require_strangers(path, both, Regdb(trial=number))


def test_people_of_two_trials_of_regdb_overlap() -> None:
    assert overlap(Regdb(trial=1), Regdb(trial=2, part="validation"))
    assert not overlap(Regdb(trial=2), Regdb(trial=2, part="validation"))


def own(root: Path, seed: int, people: range = range(1, 9)) -> Path:
    rng = np.random.default_rng(seed)
    for person in people:
        for camera, modality in (("gate", "infrared"), ("yard", "visible")):
            where = root / "people" / str(person) / camera / modality
            where.mkdir(parents=True)
            cv2.imwrite(str(where / "1.png"), rng.integers(0, 255, (32, 16, 3), np.uint8))
    return root


def test_a_final_run_on_ones_own_people_is_not_scored_on_them_whatever_they_are_called(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site, recipe = own(tmp_path / "site", 0), msgspec.structs.replace(
        TINY, train=Folder(), validation=Folder(part="validation"))
    assert fit(recipe, tmp_path / "runs" / "first", root=site, out=io.StringIO())
    assert evaluate(tmp_path / "runs" / "first" / "last.safetensors", "--data", str(site)) == 0
    final = final_recipe(recipe, tmp_path / "runs" / "first")
    assert fit(final, tmp_path / "runs" / "final", root=site, out=io.StringIO())
    path = tmp_path / "runs" / "final" / "last.safetensors"
    (known,) = of(checkpoint.load(path)[1])
    assert (known.source, len(known.pictures)) == ({"dataset": "folder", "part": "trainval"}, 8)
    capsys.readouterr()
    for called in (site, tmp_path / "elsewhere"):
        site = site.rename(called)
        assert evaluate(path, "--data", str(site)) == 78
        assert "did not learn from, found 2 of 2 that it did, such as " in capsys.readouterr().err
    assert evaluate(path, "--data", str(own(tmp_path / "other", 1))) == 0


def test_a_run_is_not_judged_by_one_person(tmp_path: Path) -> None:
    alone = msgspec.structs.replace(TINY, validation=Drawn(identities=1, first_identity=9, cameras=(1, 2, 3)))
    with pytest.raises(ConfigError, match=r"at least two people in \[validation\], found one"):
        fit(alone, tmp_path / "run", out=io.StringIO())


@pytest.mark.parametrize(("layout", "write"), [("regdb", write_regdb), ("llcm", write_llcm), ("market", write_market)])
def test_drawn_people_on_disk_are_known_by_their_numbers_wherever_they_were_met(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str,
        write: Callable[[Path, Asked], int]) -> None:
    root = tmp_path / layout
    write(root, Asked(train=4, validation=0, test=4, per_camera=1, height=32, width=16, seed=5))
    for part in ("trainval", "test"):
        for person, path in zip((found := datasets.read(root, part)).identity, found.paths, strict=True):
            assert person < 1 or person in map(int, re.findall(r"\d+", path)), path
    learnt, asked = (np.unique(datasets.read(root, part).identity) for part in ("trainval", "test"))
    asked = asked[asked > 0]
    assert not set(learnt) & set(asked)
    drawn = Drawn(identities=1, first_identity=int(asked[1]), cameras=(1, 3), per_camera=1, seed=5)
    path = kept(tmp_path / "runs" / "drawn" / "last.safetensors", taught(lesson(drawn, CROPS)))
    assert evaluate(path, "--data", str(root)) == 78
    assert f"found drawn ones that it did (1 of {len(asked)}, such as number {asked[1]} of world 5)" in (
        capsys.readouterr().err)
    for harmless in (msgspec.structs.replace(drawn, seed=6),
                     msgspec.structs.replace(drawn, first_identity=int(learnt[0]))):
        path = kept(tmp_path / "runs" / "drawn" / "last.safetensors", taught(lesson(harmless, CROPS)))
        assert evaluate(path, "--data", str(root)) == 0


def test_a_run_on_drawn_people_on_disk_is_not_scored_on_them_when_they_are_drawn_anew(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "regdb"
    write_regdb(root, Asked(train=4, validation=0, test=4, per_camera=1, height=32, width=16, seed=5))
    recipe = msgspec.structs.replace(TINY, train=Regdb(part="trainval", trial=3))
    assert fit(recipe, tmp_path / "runs" / "one", root=root, out=io.StringIO())
    path = tmp_path / "runs" / "one" / "last.safetensors"
    (known,) = of(checkpoint.load(path)[1])
    people = np.unique(datasets.read(root, "trainval", trial=3).identity)
    assert known.world == 5
    assert [n for first, last in known.numbers for n in range(first, last + 1)] == people.tolist()
    asked = ["--identities", "2", "--per-camera", "1", "--cameras", "1", "2", "3", "--seed", "5"]
    assert evaluate(path, *asked, "--first", str(people[-1] - 1)) == 78
    assert f"give --first {people[-1] + 1} or above" in capsys.readouterr().err
    assert evaluate(path, *asked, "--first", str(people[-1] + 1)) == 0
    assert evaluate(path, "--data", str(root)) == 0  # its own test people
    (root / "drawn.json").write_text("[]")
    assert evaluate(path, "--data", str(root)) == 78
    assert "drawn.json: expected how these people were drawn" in capsys.readouterr().err
