"""Statistics come from the new cameras' crops alone, weights from nowhere but the checkpoint."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cmnas_edge.errors import ConfigError
from train.__main__ import main
from train.adapt import adapt, read
from train.data.crops import Crops
from train.data.drawn import Drawn, draw
from train.evaluate import normalised
from train.networks import checkpoint
from train.networks.build import Network, build
from train.networks.space import Arch

CROPS = draw(Drawn(identities=12, cameras=(31, 32, 33), per_camera=2), 32, 16)  # 48 visible, 24 infrared
STATISTICS = (".running_mean", ".running_var")


def network(norms: str = "split") -> Network:
    torch.manual_seed(4)
    return build(Arch.uniform("osnet_x0_25", norms), identities=3).eval()  # type: ignore[arg-type]


def copied(some: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in some.state_dict().items()}


@pytest.mark.parametrize("norms", ["shared", "split", "split_statistics"])
def test_every_statistic_moves_and_no_weight_does(norms: str) -> None:
    one = network(norms)
    before = copied(one)
    adapt(one, CROPS)
    moved = {name for name, tensor in one.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if name.endswith(STATISTICS)}
    assert not one.training


def test_the_first_norm_has_the_mean_and_variance_of_all_crops() -> None:
    one = network()
    adapt(one, CROPS)
    with torch.no_grad():
        for modality, infrared in (("visible", False), ("infrared", True)):
            seen = one.backbone.conv1.conv(normalised(CROPS.images[CROPS.infrared == infrared]))  # type: ignore[operator]
            state = one.state_dict()
            torch.testing.assert_close(state[f"backbone.conv1.bn.{modality}.running_mean"], seen.mean((0, 2, 3)),
                                       rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(state[f"backbone.conv1.bn.{modality}.running_var"], seen.var((0, 2, 3)),
                                       rtol=1e-2, atol=1e-4)


def test_many_batches_count_alike_whatever_was_known_before() -> None:
    many = Crops(*(np.concatenate([getattr(CROPS, name)] * 6) for name in ("images", "identity", "camera", "infrared")))
    one, two = network(), network()
    with torch.no_grad():
        for name, tensor in two.state_dict().items():
            if name.endswith(".running_mean"):
                tensor.fill_(1e6)  # of which nothing may be left
    adapt(one, many)
    adapt(two, many)
    assert all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())
    with torch.no_grad():
        seen = one.backbone.conv1.conv(normalised(CROPS.images[~CROPS.infrared]))  # type: ignore[operator]
    torch.testing.assert_close(one.state_dict()["backbone.conv1.bn.visible.running_mean"], seen.mean((0, 2, 3)),
                               rtol=1e-3, atol=1e-4)


def test_a_share_of_the_old_can_be_kept() -> None:
    old, new, half = network(), network(), network()
    adapt(new, CROPS)
    adapt(half, CROPS, kept=0.5)
    for name, tensor in half.state_dict().items():
        mean = (old.state_dict()[name] + new.state_dict()[name]) / 2
        torch.testing.assert_close(tensor, mean, rtol=1e-5, atol=1e-6)


def test_with_one_modality_only_what_serves_it_alone_moves() -> None:
    one = build(Arch.of("osnet_x0_25", {"conv1.bn": "split", "conv5.bn": "split_statistics"})).eval()
    before = copied(one)
    adapt(one, CROPS.take(CROPS.infrared))
    moved = {name for name, tensor in one.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {f"backbone.{site}.infrared.{what}" for site in ("conv1.bn", "conv5.bn")
                     for what in ("running_mean", "running_var")}


def test_too_few_crops_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 16 crops of a modality, found 5 infrared ones"):
        adapt(network(), CROPS.take(np.r_[np.flatnonzero(~CROPS.infrared), np.flatnonzero(CROPS.infrared)[:5]]))


def test_the_command_reads_any_folder_that_says_its_modalities(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run" / "last.safetensors"
    path.parent.mkdir()
    one = network()
    checkpoint.save(path, one, checkpoint.Checkpoint(height=32, width=16, seed=7, commit="x", data="y"))
    for row, (image, infrared) in enumerate(zip(CROPS.images, CROPS.infrared, strict=True)):
        folder = tmp_path / "crops" / "door" / ("infrared" if infrared else "visible") / str(row % 3)
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(os.fspath(folder / f"{row}.png"), image)
    (tmp_path / "crops" / "contact.png").write_bytes(b"no modality, so never opened")
    found = read(tmp_path / "crops", 32, 16)
    assert (len(found), int(found.infrared.sum())) == (len(CROPS), int(CROPS.infrared.sum()))
    assert found.images.sum() == CROPS.images.sum()

    out = tmp_path / "there" / "adapted.safetensors"
    words = ["adapt", str(path), "--out", str(out), "--device", "cpu"]
    assert main([*words, "--crops", str(tmp_path / "crops")]) == 0
    assert "adapted to 48 visible and 24 infrared crops" in capsys.readouterr().out
    adapt(one, found, kept=0.5)
    kept, meta = checkpoint.load(out)
    assert meta.seed == 7
    assert all(torch.equal(tensor, one.state_dict()[name]) for name, tensor in kept.state_dict().items())

    assert main([*words, "--drawn", "10", "--cameras", "31", "33", "--per-camera", "2"]) == 0
    assert "20 visible and 20 infrared" in capsys.readouterr().out
    for wrong in (["--crops", str(tmp_path / "run")], ["--crops", str(tmp_path / "nowhere")], ["--drawn", "0"],
                  ["--drawn", "4", "--keep", "1"], ["--drawn", "10", "--cameras", "0"]):
        assert main([*words, *wrong]) == 78
        assert len([line for line in capsys.readouterr().err.splitlines() if "adapt:" in line]) == 1
    (tmp_path / "crops" / "door" / "visible" / "0" / "x.jpg").write_bytes(b"")
    assert main([*words, "--crops", str(tmp_path / "crops")]) == 78
    assert "x.jpg: expected a picture" in capsys.readouterr().err


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["mkdir", "fsync"])
def test_a_full_disk_is_worth_waiting_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str], code: int, call: str) -> None:
    path, out = tmp_path / "x.safetensors", tmp_path / "new" / "y.safetensors"
    checkpoint.save(path, network(), checkpoint.Checkpoint(height=32, width=16, seed=7, commit="x", data="y"))

    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, full)
    assert main(["adapt", str(path), "--out", str(out), "--device", "cpu", "--drawn", "10", "--cameras", "31", "33",
                 "--per-camera", "2"]) == 75
    assert "y.safetensors: expected room for a checkpoint, found a full disk; free" in capsys.readouterr().err
    assert not out.parent.exists() or not list(out.parent.iterdir())


@pytest.mark.parametrize("link", ["", "symlink_to", "hardlink_to"])
def test_the_checkpoint_itself_is_never_written_over(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], link: str) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, network(), checkpoint.Checkpoint(height=32, width=16, seed=7, commit="x", data="y"))
    out = tmp_path / ".." / tmp_path.name / "x.safetensors"
    if link:
        out = tmp_path / "other.safetensors"
        getattr(out, link)(path)
    before = path.read_bytes()
    assert main(["adapt", str(path), "--out", str(out), "--device", "cpu", "--drawn", "10", "--cameras", "31", "33",
                 "--per-camera", "2"]) == 78
    assert "expected another file than the checkpoint that is read" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert out.samefile(path)
