"""A run that meets a full disk, numbers that are none, other data or no GPU says so, and keeps its last good state."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from cmnas_edge.errors import ConfigError, DeviceError, DiskFull
from train.__main__ import main
from train.data.drawn import Drawn, draw
from train.fit import devices, scalars
from train.fit.loop import fit
from train.fit.recipe import Optimiser, Recipe
from train.fit.run import Run
from train.fit.trainer import Trainer

PEOPLE = Drawn(identities=3, cameras=(1, 3), per_camera=1)
TINY = Recipe(backbone="osnet_x0_25", norms="split", height=32, width=16, steps=4, identities_per_batch=2,
              crops_per_modality=1, train=PEOPLE, checkpoint_every=1, optimiser=Optimiser(rate=1e-3, warm_up=0))


def run(folder: Path, recipe: Recipe = TINY, stop_at: int | None = None) -> bool:
    return fit(recipe, folder, out=io.StringIO(), stop_at=stop_at)


def step_of(folder: Path) -> int:
    return int(torch.load(folder / "state.pt", weights_only=True)["step"])


@pytest.mark.parametrize("call", range(3))
def test_out_of_disk_at_a_checkpoint_the_last_good_state_survives(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, stop_at=2)
    before = (tmp_path / "state.pt").read_bytes()
    calls = iter(range(100))

    def full(_: int) -> None:
        if next(calls) > call + 1:  # the recipe and run.json are written first, then the log, state, checkpoint
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match="found a full disk; free some space and give the same command again"):
            run(tmp_path)
    assert step_of(tmp_path) == (3 if call == 2 else 2)
    assert call == 2 or (tmp_path / "state.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    assert run(tmp_path)  # once there is room
    assert step_of(tmp_path) == 4


def test_torch_meeting_a_full_disk_while_it_writes_is_the_same_sentence(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Run(tmp_path, TINY)
    kept.save({"step": 1})

    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def into_full(state: Any, _: Any, save: Any = torch.save) -> None:
        save(state, Full())

    monkeypatch.setattr(torch, "save", into_full)
    with pytest.raises(DiskFull):
        kept.save({"step": 2})
    assert step_of(tmp_path) == 1


@pytest.mark.parametrize("spoil", ["weights", "layer", "statistics"])
def test_the_first_to_leave_the_numbers_is_named_with_its_step(spoil: str) -> None:
    trainer = Trainer(TINY, draw(PEOPLE, 32, 16))
    trainer.advance()
    with torch.no_grad():
        parts = dict(trainer.network.state_dict())
        if spoil == "weights":
            parts["backbone.conv3.0.conv1.conv.weight"][0] = torch.inf
            who = r"backbone\.conv3\.0\.conv1\.conv\.weight"
        elif spoil == "layer":
            parts["backbone.conv4.0.conv1.conv.weight"].fill_(3e38)  # finite, but what it makes is not
            who = r"the output of backbone\.conv4\.0\.conv1\.conv"
        else:
            parts["backbone.conv2.0.conv1.bn.infrared.running_var"][0] = torch.nan
            who = r"backbone\.conv2\.0\.conv1\.bn\.infrared\.running_var"
    if spoil == "statistics":  # training does not read them, but they would be shipped
        with pytest.raises(ConfigError, match=rf"step 1: expected finite weights.*{who}.*last saved state is kept"):
            trainer.require_finite()
    else:
        with pytest.raises(ConfigError, match=rf"step 2: expected a finite loss, found (nan|inf).*{who}"):
            trainer.advance()


def test_weights_that_left_the_numbers_never_replace_a_good_state(tmp_path: Path) -> None:
    wild = msgspec.structs.replace(TINY, optimiser=Optimiser(kind="sgd", rate=1e38, warm_up=0, average=0))
    with pytest.raises(ConfigError, match="last saved state is kept"):
        run(tmp_path, wild)
    if (tmp_path / "state.pt").exists():
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        assert all(bool(torch.isfinite(tensor).all()) for tensor in state["network"].values())


def test_a_gradient_that_is_none_is_caught_before_the_weights_move() -> None:
    trainer = Trainer(TINY, draw(PEOPLE, 32, 16))
    before = {name: tensor.clone() for name, tensor in trainer.network.named_parameters()}
    trainer.network.classifier.weight.register_hook(lambda gradient: gradient * torch.inf)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"finite gradient.*classifier\.weight"):
        trainer.advance()
    for name, tensor in trainer.network.named_parameters():
        assert torch.equal(tensor, before[name]), name


def test_a_run_goes_on_with_the_data_it_began_with_only(tmp_path: Path) -> None:
    kept = Run(tmp_path, TINY)
    kept.sign({"data": "a" * 64})
    kept.save({"step": 1})
    with pytest.raises(ConfigError, match="expected the data this run began with"):
        Run(tmp_path, TINY).sign({"data": "b" * 64})


def test_a_gpu_where_none_is_asked_for_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="expected an NVIDIA GPU"):
        devices.choose("cuda")
    assert devices.choose("auto") == devices.choose("cpu") == torch.device("cpu")
    (tmp_path / "r.toml").write_text('backbone = "osnet_x0_25"\nnorms = "split"\nsteps = 1\n'
                                     '[train]\ndataset = "drawn"\nidentities = 3\n')
    assert main(["fit", str(tmp_path / "r.toml"), "--out", str(tmp_path / "run"), "--device", "cuda"]) == 69
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_curves_lie_beside_the_log_and_nobody_needs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = scalars.Scalars(tmp_path / "curves")
    curves.add({"step": 3, "minutes": 1, "loss": 2.5, "validation": {"visible-infrared": {"rank1": 50}}})
    curves.close()
    written = b"".join(path.read_bytes() for path in (tmp_path / "curves").iterdir())
    assert b"loss" in written
    assert b"validation/visible-infrared/rank1" in written
    assert b"minutes" not in written
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    silent = scalars.Scalars(tmp_path / "none")
    silent.add({"step": 1, "loss": 1.0})
    silent.close()
    assert not (tmp_path / "none").exists()


def test_people_who_come_otherwise_than_the_recipe_says_are_told_in_one_line(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    fit(TINY, tmp_path / "whole", out=told, stop_at=1)
    assert "left out" not in told.getvalue()
    assert "more than once" not in told.getvalue()
    crops = draw(PEOPLE, 32, 16)
    lonely = crops.take((crops.identity != crops.identity.max()) | crops.infrared)
    monkeypatch.setattr("train.fit.sources.read", lambda *_, **__: lonely)
    told = io.StringIO()
    fit(msgspec.structs.replace(TINY, crops_per_modality=3), tmp_path / "odd", out=told, stop_at=1)
    lines = [line.strip() for line in told.getvalue().splitlines()]
    assert lines.count("1 of 3 people were seen in one modality only: left out; 2 of 2 people have fewer crops of a "
                       "modality than the 3 that a batch takes of it, the fewest 1: theirs come more than once, up to "
                       "about 3 times") == 1
