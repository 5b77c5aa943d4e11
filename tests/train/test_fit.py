"""A run goes on exactly where it stopped, says why it cannot go on, and learns."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from cmnas_edge import config
from cmnas_edge.errors import ConfigError
from cmnas_edge.progress import Progress
from train.__main__ import main
from train.data.augment import Augmentation
from train.data.drawn import Drawn, draw
from train.evaluate import embed, normalised, score
from train.fit.loop import fit
from train.fit.recipe import Curriculum, Optimiser, Recipe
from train.fit.trainer import Trainer
from train.losses.objective import Losses
from train.networks import checkpoint
from train.networks.build import adopt, build
from train.networks.design import Design

ROOT = Path(__file__).resolve().parents[2]
TINY = Recipe(
    backbone="osnet_x0_25", norms="split", height=64, width=32, seed=3, steps=6, identities_per_batch=2,
    crops_per_modality=2, train=Drawn(identities=4, cameras=(1, 3), per_camera=2),
    validation=Drawn(identities=3, first_identity=90, cameras=(1, 2, 3), per_camera=1),
    evaluate_every=3, checkpoint_every=2, curriculum=Curriculum(identities=3, hold=2, grow=2),
    losses=Losses(contrast=0.5), optimiser=Optimiser(rate=1e-3, warm_up=2))


def run(folder: Path, recipe: Recipe = TINY, stop_at: int | None = None) -> str:
    told = io.StringIO()
    fit(recipe, folder, out=told, stop_at=stop_at)
    return told.getvalue()


def state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
    return found


def same(a: Any, b: Any) -> bool:
    """Bit for bit, through dicts and lists of tensors."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    run(folder)
    return folder


def figures(folder: Path) -> list[dict[str, Any]]:
    rows = [msgspec.json.decode(line) for line in (folder / "log.jsonl").read_bytes().splitlines()]
    return [{key: value for key, value in row.items() if key != "minutes"} for row in rows]


def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_bits(straight: Path, tmp_path: Path) -> None:
    run(tmp_path, stop_at=3)
    assert state(tmp_path)["step"] == 3
    run(tmp_path, stop_at=4)
    run(tmp_path)
    assert same(state(tmp_path), state(straight))
    kept, expected = (checkpoint.load(folder / "last.safetensors")[0] for folder in (tmp_path, straight))
    assert same(dict(kept.state_dict()), dict(expected.state_dict()))
    assert figures(tmp_path) == figures(straight)


def command(folder: Path) -> list[str]:
    recipe = folder.with_suffix(".toml")
    recipe.write_text(config.show(TINY))
    return [sys.executable, "-m", "train", "fit", str(recipe), "--out", str(folder)]


def start(folder: Path, until: str) -> subprocess.Popen[str]:
    """A run in a process of its own, once its folder holds the file."""
    process = subprocess.Popen(command(folder), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (folder / until).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)  # the other process's clock is not ours to turn
    return process


def test_a_run_that_was_killed_ends_with_the_same_bits(straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, "state.pt")
    process.kill()
    process.communicate()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert state(folder)["step"] in (2, 4, 6)
        run(folder)
    finally:
        torch.set_num_threads(threads)
    assert figures(folder) == figures(straight)
    assert same(state(folder)["network"], state(straight)["network"])


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, "state.pt")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    assert process.returncode in (0, 130)
    if process.returncode == 130:
        assert "go on with: python -m train fit" in err
        assert 2 <= state(folder)["step"] <= 6
    else:
        assert "done" in out  # it had only just finished


def test_a_loss_that_leaves_the_numbers_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    wild = msgspec.structs.replace(TINY, optimiser=Optimiser(kind="sgd", rate=1e38, warm_up=0))
    with pytest.raises(ConfigError, match=r"step [2-6]: expected a finite loss, found (nan|inf)"):
        run(tmp_path, wild)


def test_a_run_can_start_from_a_checkpoint_with_its_classifier_if_the_people_are_the_same(straight: Path) -> None:
    start = straight / "last.safetensors"
    given, meta = checkpoint.load(start)
    for data, classifier_too in ((meta.data, True), ("other", False)):
        trainer = Trainer(TINY, draw(TINY.train, 64, 32))
        trainer.start_from(start, data)
        for name, tensor in given.state_dict().items():
            taken = not name.startswith("classifier.") or classifier_too
            for network in (trainer.network, trainer.kept):
                assert torch.equal(network.state_dict()[name], tensor) == taken or name == "classifier.bias"


@pytest.mark.parametrize("data_is_the_same", [True, False])
def test_a_checkpoint_of_another_architecture_begins_every_branch_and_the_log_says_so_once(
        straight: Path, tmp_path: Path, data_is_the_same: bool) -> None:
    start = straight / "last.safetensors"
    given, meta = checkpoint.load(start)
    other = msgspec.structs.replace(TINY, norms="split_statistics", start=start)
    trainer = Trainer(other, draw(TINY.train, 64, 32))
    fresh = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    trainer.start_from(start, meta.data if data_is_the_same else "other")
    expected = build(trainer.network.arch, identities=given.identities)
    expected.load_state_dict(fresh)
    adopt(given, expected, classifier=data_is_the_same)
    for network in (trainer.network, trainer.kept):
        assert same(dict(network.state_dict()), dict(expected.state_dict()))
    assert same(expected.state_dict()["classifier.weight"], fresh["classifier.weight"]) != data_is_the_same
    said = "last.safetensors is of another architecture (split instead of split_statistics at conv1.bn, "
    assert run(tmp_path / "run", other, stop_at=1).count(said) == 1
    assert said not in run(tmp_path / "run", other, stop_at=2)
    lite = msgspec.structs.replace(other, design=Design(fusion="scalar_gate"))
    assert re.search(r"\d+ tensors that it lacks begin afresh, such as backbone\.\S*gate", run(tmp_path / "b", lite, 1))


def test_a_checkpoint_of_another_backbone_is_no_start(straight: Path, tmp_path: Path) -> None:
    other = msgspec.structs.replace(TINY, backbone="osnet_x0_5", start=straight / "last.safetensors")
    with pytest.raises(ConfigError, match=r"last\.safetensors: expected a network of osnet_x0_5, found osnet_x0_25;"):
        run(tmp_path, other)
    with pytest.raises(ConfigError, match="No such file"):
        run(tmp_path / "b", msgspec.structs.replace(TINY, start=tmp_path / "none.safetensors"))


def test_a_folder_of_another_recipe_is_left_alone(straight: Path) -> None:
    before = state(straight)
    with pytest.raises(ConfigError, match="found another one"):
        run(straight, msgspec.structs.replace(TINY, seed=4))
    assert same(state(straight), before)


def test_a_damaged_state_is_refused_in_a_sentence(straight: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text((straight / "recipe.toml").read_text())
    (tmp_path / "state.pt").write_bytes((straight / "state.pt").read_bytes()[:-50_000])
    with pytest.raises(ConfigError, match=r"state\.pt: .*delete the folder"):
        run(tmp_path)


def test_people_to_score_on_must_not_be_learnt_from(tmp_path: Path) -> None:
    shared = msgspec.structs.replace(TINY, validation=Drawn(identities=3, first_identity=3))
    with pytest.raises(ConfigError, match="found some in both"):
        run(tmp_path, shared)


def test_a_recipe_that_asks_for_too_many_people_is_refused(tmp_path: Path) -> None:
    greedy = msgspec.structs.replace(TINY, identities_per_batch=5)
    with pytest.raises(ConfigError, match="at most the 4 identities"):
        run(tmp_path, greedy)


def test_what_is_kept_is_the_moving_average_and_can_be_loaded(straight: Path) -> None:
    network, meta = checkpoint.load(straight / "last.safetensors")
    assert (meta.height, meta.width, meta.seed) == (64, 32, 3)
    assert meta.data == draw(TINY.train, 64, 32).fingerprint()
    assert same(dict(network.state_dict()), dict(state(straight)["average"]))
    assert not same(dict(network.state_dict()), dict(state(straight)["network"]))


def test_the_log_holds_every_evaluation_and_its_four_pairs(straight: Path) -> None:
    rows = figures(straight)
    assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6]
    scored = [row for row in rows if "validation" in row]
    assert [row["step"] for row in scored] == [3, 6]
    # One infrared camera: nothing infrared to search for an infrared query.
    assert set(scored[0]["validation"]) == {"visible-visible", "infrared-visible", "visible-infrared"}


def test_a_few_steps_teach_a_few_people() -> None:
    recipe = msgspec.structs.replace(
        TINY, identities_per_batch=4, curriculum=Curriculum(), optimiser=Optimiser(rate=3e-3, warm_up=5, average=0),
        augmentation=Augmentation().scaled(0), losses=Losses(triplet=0.5), steps=60)
    trainer = Trainer(recipe, draw(recipe.train, 64, 32))
    losses = [trainer.advance()["cross_entropy"] for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])


def test_the_rate_warms_up_and_then_falls_to_nothing() -> None:
    how = Optimiser(rate=2.0, warm_up=4)
    rates = [how.at(step, 20) for step in range(21)]
    assert rates[0] == pytest.approx(0.5)
    assert max(rates) == rates[3] == rates[4] == 2.0
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == pytest.approx(1.0)
    assert rates[20] == pytest.approx(0)


def test_a_curriculum_grows_from_few_people_to_all() -> None:
    plan = Curriculum(identities=5, hold=10, grow=20)
    assert [plan.share(step) for step in (0, 10, 20, 30, 99)] == [0, 0, 0.5, 1, 1]
    assert Curriculum().share(0) == 1


def test_progress_tells_the_time_left_from_the_pace_of_this_process() -> None:
    now, out = [0.0], io.StringIO()
    with Progress("steps", out, lambda: now[0], first=100) as progress:
        for step in range(101, 121):
            now[0] += 1.5
            progress(step, 200, "loss 1.25")
        progress.say("looked")
    assert out.getvalue().splitlines() == ["107 of 200 steps, 53%, 140 s left, loss 1.25",
                                           "114 of 200 steps, 57%, 129 s left, loss 1.25", "looked"]


def test_a_line_that_stays_replaces_the_one_that_changes_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now, out = [0.0], Terminal()
    with Progress("steps", out, lambda: now[0]) as progress:
        now[0] = 1
        progress(1, 2)
        progress.say("looked")
    assert out.getvalue().rstrip().endswith("looked")
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().split("\r")[2].startswith("looked")


def test_a_run_tells_how_far_it_is_and_what_it_is_worth(tmp_path: Path) -> None:
    told = run(tmp_path, msgspec.structs.replace(TINY, steps=3))
    assert "4 of 4 people drawn, 100%" in told
    assert "3 of 3 steps, 100%" in told
    assert "step 3, rank-1/mAP: visible-visible" in told


def test_an_embedding_that_sees_who_it_is_scores_full_marks() -> None:
    crops = draw(Drawn(identities=5, cameras=(1, 2, 3, 6), per_camera=2), 32, 16)
    perfect = np.eye(5, dtype=np.float32)[crops.classes()]
    for row in score(perfect, crops, trials=2).values():
        assert row == {"rank1": 100, "rank10": 100, "mean_ap": 100, "mean_inp": 100}
    blind = np.zeros_like(perfect)
    assert score(blind, crops, trials=2)["infrared-visible"]["rank1"] == 0


def test_each_crop_is_embedded_through_its_own_modality(straight: Path) -> None:
    network, _ = checkpoint.load(straight / "last.safetensors")
    crops = draw(Drawn(identities=2, cameras=(1, 3), per_camera=1), 64, 32)
    with torch.inference_mode():
        expected = network(normalised(crops.images), torch.from_numpy(crops.infrared)).embedding
    np.testing.assert_allclose(embed(network, crops), torch.nn.functional.normalize(expected).numpy(), atol=1e-5)


def test_embedding_a_set_is_embedding_its_parts_in_any_order(straight: Path) -> None:
    network, _ = checkpoint.load(straight / "last.safetensors")
    crops = draw(Drawn(identities=3, cameras=(1, 3), per_camera=2), 64, 32)
    turn = np.random.default_rng(0).permutation(len(crops))
    whole = embed(network, crops)
    np.testing.assert_allclose(embed(network, crops.take(turn)), whole[turn], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)


def test_the_command_scores_a_checkpoint(straight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(straight / "last.safetensors"), "--identities", "12", "--per-camera", "1"]
    assert main(command) == 0
    exact = capsys.readouterr().out
    assert "| infrared-visible |" in exact
    assert main([*command, "--loosen", "0.5"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] != exact.splitlines()[1:]
    assert main(["evaluate", str(straight / "last.safetensors"), "--cameras", "0"]) == 78


@pytest.mark.parametrize("options", [
    ["--cameras", "3"], ["--cameras", "1"], ["--cameras", "2", "3"], ["--cameras", "3", "3"], ["--identities", "0"],
    ["--identities", "-1"], ["--first", "-5"], ["--seed", "-1"], ["--per-camera", "0"], ["--loosen", "-1"],
    ["--loosen", "nan"], ["--first", "1" + 30 * "0"]])
def test_people_who_cannot_be_scored_are_one_sentence(
        straight: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--identities", "2", "--per-camera", "1"]
    assert main(["evaluate", str(straight / "last.safetensors"), *few, *options]) == 78
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize("line", ["seed = -1", "seed = 18446744073709551616",
                                  "train = {dataset = 'drawn', identities = 4, first_crop = -1}",
                                  "validation = {dataset = 'drawn', identities = 3, first_identity = -1}"])
def test_a_seed_that_is_none_is_refused_before_anything_is_drawn(
        tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    key = line.partition(" ")[0]
    rows = {"backbone": '"osnet_x0_25"', "norms": '"split"', "steps": "1",
            "train": "{dataset = 'drawn', identities = 4}",
            "validation": "{dataset = 'drawn', identities = 3, first_identity = 90}", key: line.partition("= ")[2]}
    recipe = tmp_path / "r.toml"
    recipe.write_text("".join(f"{name} = {value}\n" for name, value in rows.items()))
    assert main(["fit", str(recipe), "--out", str(tmp_path / "run")]) == 78
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert key in shown
    assert not (tmp_path / "run").exists()


def test_the_command_says_what_is_wrong_with_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('backbone = "osnet_x0_25"\nnormz = "split"\n')
    assert main(["fit", str(recipe), "--out", str(tmp_path / "run")]) == 78
    assert "unknown key 'normz'; did you mean 'norms'?" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "none.safetensors")]) == 78
