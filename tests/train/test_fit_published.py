"""What published recipes do besides: go on from the average, teach the classifier first, begin with ImageNet."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor

from cmnas_edge.errors import BundleError, ConfigError
from train.data.drawn import Drawn, draw
from train.fit.loop import fit
from train.fit.optimisers import Optimiser
from train.fit.recipe import Recipe
from train.fit.trainer import Trainer
from train.losses.objective import Losses
from train.networks import checkpoint, importers
from train.networks.build import build
from train.networks.space import Arch

PEOPLE = Drawn(identities=4, cameras=(1, 3), per_camera=1)
CROPS = draw(PEOPLE, 32, 16)
# Everything whose state must survive an interruption: moments and their maximum, pieces, epochs, reloads, freezing.
TINY = Recipe(backbone="osnet_x0_25", norms="split", height=32, width=16, seed=3, steps=6, identities_per_batch=2,
              crops_per_modality=1, pieces=1, draw="published", train=PEOPLE, evaluate_every=2, checkpoint_every=3,
              losses=Losses(cmmd=0.05, sp=5.0),
              optimiser=Optimiser(kind="amsgrad", rate=1e-3, warm_up=0, drops=(4,), hold=2, betas=(0.5, 0.999),
                                  backbone=0.1, decay="all", average=0.9, average_ramp=0, reload_average=True,
                                  classifier_first=1, clip=5.0))


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def test_a_run_goes_on_from_its_average_after_every_evaluation() -> None:
    quirk = Trainer(TINY, CROPS)
    plain = Trainer(msgspec.structs.replace(
        TINY, optimiser=msgspec.structs.replace(TINY.optimiser, reload_average=False)), CROPS)
    for step in range(1, 7):
        if step in (3, 5):  # two epochs have ended, and were evaluated as they were
            assert plain.average is not None
            plain.network.load_state_dict(plain.average.state_dict())
        quirk.advance()
        plain.advance()
        for name, tensor in quirk.network.state_dict().items():
            assert torch.equal(tensor, plain.network.state_dict()[name]), (step, name)
    assert quirk.kept is quirk.network
    assert plain.kept is plain.average


def test_a_run_with_all_of_it_ends_with_the_same_bits_after_any_stop(tmp_path: Path) -> None:
    fit(TINY, tmp_path / "straight", out=io.StringIO())
    for stop in (1, 2, 3, 5):
        fit(TINY, tmp_path / "stopped", out=io.StringIO(), stop_at=stop)
    fit(TINY, tmp_path / "stopped", out=io.StringIO())
    one, two = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("straight", "stopped"))
    for part in ("network", "average"):
        assert all(torch.equal(tensor, two[part][name]) for name, tensor in one[part].items())
    for index, moments in one["optimiser"]["state"].items():
        assert all(torch.equal(tensor, two["optimiser"]["state"][index][name]) for name, tensor in moments.items())
    # The weights as they were at the end are shipped, not what a further step would have gone on from.
    shipped = checkpoint.load(tmp_path / "stopped" / "last.safetensors")[0].state_dict()
    assert all(torch.equal(shipped[name], tensor) for name, tensor in two["network"].items())


def test_at_first_only_the_classifier_learns_and_statistics_stand_still() -> None:
    trainer = Trainer(TINY, CROPS)
    before = copied(trainer.network.state_dict())
    trainer.advance()
    after = copied(trainer.network.state_dict())
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "classifier.weight", "classifier.bias"}
    trainer.advance()
    moved = {name for name, tensor in trainer.network.state_dict().items() if not torch.equal(tensor, after[name])}
    assert any("running_mean" in name for name in moved)
    assert "backbone.conv1.conv.weight" in moved


def test_imported_weights_begin_every_branch_of_a_split_site(tmp_path: Path) -> None:
    torch.manual_seed(8)
    given = build(Arch.uniform("osnet_x0_25", "shared"), identities=9)
    with torch.no_grad():
        for site in given.sites():
            site.norm.running_mean.uniform_()
            site.norm.weight.uniform_()
    torch.save(importers.to_torchreid(given), tmp_path / "imagenet.pth")
    recipe = msgspec.structs.replace(TINY, start=tmp_path / "imagenet.pth", start_format="torchreid")
    trainer = Trainer(recipe, CROPS)
    head = trainer.network.classifier.weight.detach().clone()  # type: ignore[union-attr]
    trainer.start_from(tmp_path / "imagenet.pth", "data")
    expected = given.state_dict()
    for network in (trainer.network, trainer.kept):
        for name, tensor in network.state_dict().items():
            if not name.startswith("classifier."):
                plain = name.replace(".visible.", ".").replace(".infrared.", ".")
                assert torch.equal(tensor, expected[plain]), name
    assert torch.equal(trainer.network.classifier.weight, head)  # type: ignore[union-attr]
    assert fit(msgspec.structs.replace(recipe, steps=1), tmp_path / "run", out=io.StringIO())


def test_weights_that_are_missing_or_foreign_are_never_ignored(tmp_path: Path) -> None:
    nowhere = msgspec.structs.replace(TINY, start=tmp_path / "imagenet.pth", start_format="torchvision")
    with pytest.raises(ConfigError, match=r"imagenet\.pth: expected a checkpoint to start from, found No such file"):
        fit(nowhere, tmp_path / "run", out=io.StringIO())
    (tmp_path / "imagenet.pth").write_bytes(b"weights")
    with pytest.raises((BundleError, ConfigError), match=r"imagenet\.pth"):
        fit(nowhere, tmp_path / "run", out=io.StringIO())
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "imagenet.pth")
    as_osnet = msgspec.structs.replace(nowhere, start_format="torchreid")
    with pytest.raises(BundleError, match=r"imagenet\.pth"):
        fit(as_osnet, tmp_path / "run", out=io.StringIO())


def test_batches_made_ahead_are_the_same_batches() -> None:
    plain, ahead = Trainer(TINY, CROPS), Trainer(TINY, CROPS, workers=2)
    try:
        for _ in range(3):
            assert plain.advance() == ahead.advance()
    finally:
        ahead.close()
    assert all(torch.equal(tensor, ahead.network.state_dict()[name])
               for name, tensor in plain.network.state_dict().items())
