"""Two processes that take every step together end where one process does, up to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch
import torch.distributed as dist
from torch.nn import functional

from cmnas_edge import config
from train.data.augment import Augmentation
from train.data.drawn import Drawn, draw
from train.fit.distributed import batch_norm
from train.fit.loop import fit
from train.fit.optimisers import Optimiser
from train.fit.recipe import Recipe
from train.fit.trainer import Trainer
from train.losses.objective import Losses

ROOT = Path(__file__).resolve().parents[2]
# Every loss looks at the whole batch; split norms have statistics of each modality, shared ones of both.
LOSSES = Losses(triplet=1.0, contrast=0.5, cmmd=0.5, sp=5.0, cosine=8.0)
TINY = Recipe(backbone="osnet_x0_25", norms="split", height=32, width=16, seed=3, steps=3, identities_per_batch=4,
              crops_per_modality=2, train=Drawn(identities=6, cameras=(1, 3), per_camera=2), losses=LOSSES,
              validation=Drawn(identities=3, first_identity=90, cameras=(1, 2, 3), per_camera=1), evaluate_every=3,
              # Adam would make a full step of a gradient that is rounding alone; long steps would make chaos of it.
              checkpoint_every=3, optimiser=Optimiser(kind="sgd", rate=1e-4, warm_up=0, average=0.9))


def test_two_processes_give_the_result_of_one_and_only_the_first_writes(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(config.show(TINY))
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "train", "fit", str(recipe)]
    ran = subprocess.run([sys.executable, *words, "--out", str(tmp_path / "two"), "--device", "cpu"], cwd=ROOT,
                         capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("done: ") == 1
    assert ran.stderr.count("3 of 3 steps, 100%") == 1
    assert fit(TINY, tmp_path / "one")
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2
    one, two = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("one", "two"))
    began = Trainer(TINY, draw(TINY.train, 32, 16)).network
    learnt = [name for name, _ in began.named_parameters()]
    for part in ("network", "average"):
        for name, tensor in one[part].items():
            if name not in learnt:  # statistics of all rows: those of a half would be percents off
                torch.testing.assert_close(two[part][name], tensor, rtol=1e-4, atol=1e-6, msg=name)
        ways = [torch.cat([(state[part][name] - began.state_dict()[name]).reshape(-1) for name in learnt])
                for state in (one, two)]
        assert ways[0].norm() > 0
        assert (ways[1] - ways[0]).norm() < 5e-3 * ways[0].norm()
    logs = [[msgspec.json.decode(line) for line in (tmp_path / name / "log.jsonl").read_bytes().splitlines()]
            for name in ("one", "two")]
    assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]] == [3, 3]
    for name, value in logs[0][1].items():
        if name != "minutes":
            assert logs[1][1][name] == pytest.approx(value, rel=1e-3), name


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("shape", [(6, 5), (4, 5, 3, 2)])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_the_synchronised_norm_of_one_process_is_torchs_own(alone: None, shape: tuple[int, ...], offset: float) -> None:
    torch.manual_seed(0)
    x = (torch.randn(shape) * 2 + offset).requires_grad_()
    weight, bias = torch.randn(5).requires_grad_(), torch.randn(5).requires_grad_()
    target = torch.randn(shape)
    found = []
    for norm in (functional.batch_norm, batch_norm):
        mean, var = torch.full((5,), 0.5), torch.full((5,), 2.0)
        y = norm(x, mean, var, weight, bias, True, 0.1, 1e-5)
        found.append((y, mean, var, *torch.autograd.grad((y * target).sum(), (x, weight, bias))))
    # A mean of 1000 leaves float32 four digits of what differs from it.
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if not offset else {"rtol": 1e-2, "atol": 2e-3}
    for ours, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)
    known = x, *found[0][1:3], weight, bias
    torch.testing.assert_close(batch_norm(*known), functional.batch_norm(*known))


def test_pieces_add_up_to_the_whole_batch_where_no_norm_and_no_loss_looks_further() -> None:
    # Frozen statistics and a loss of each row alone: the classifier's gradient is the mean over pieces.
    how = Optimiser(kind="sgd", rate=0.1, warm_up=0, average=0, classifier_first=9, weight_decay=0)
    whole = msgspec.structs.replace(TINY, optimiser=how, losses=Losses(triplet=0))
    crops = draw(TINY.train, 32, 16)
    ends = []
    for pieces in (1, 2, 4):
        trainer = Trainer(msgspec.structs.replace(whole, pieces=pieces), crops)
        figures = [trainer.advance() for _ in range(2)]
        ends.append((trainer.network.state_dict(), figures))
    for state, figures in ends[1:]:
        for name, tensor in ends[0][0].items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-5, atol=1e-7)
        for mine, theirs in zip(figures, ends[0][1], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-5)


def test_pieces_differ_where_a_norm_sees_one_at_a_time() -> None:
    crops = draw(TINY.train, 32, 16)
    one, two = (Trainer(msgspec.structs.replace(TINY, pieces=pieces, augmentation=Augmentation().scaled(0)), crops)
                for pieces in (1, 2))
    one.advance()
    two.advance()
    assert not torch.allclose(one.network.state_dict()["backbone.conv1.bn.visible.running_var"],
                              two.network.state_dict()["backbone.conv1.bn.visible.running_var"], rtol=1e-3)


@pytest.mark.parametrize("pieces", [3, 8])
def test_a_batch_that_cannot_be_cut_is_refused(pieces: int) -> None:
    with pytest.raises(ValueError, match="multiple of the"):
        Trainer(msgspec.structs.replace(TINY, pieces=pieces), draw(TINY.train, 32, 16))


def test_a_long_gradient_is_cut_to_its_length_after_all_pieces_are_in() -> None:
    crops = draw(TINY.train, 32, 16)
    moved = []
    for clip in (0.0, 0.5):
        how = Optimiser(kind="sgd", rate=1.0, warm_up=0, average=0, clip=clip, weight_decay=0)
        trainer = Trainer(msgspec.structs.replace(TINY, optimiser=how, pieces=2), crops)
        before = torch.cat([p.detach().reshape(-1).clone() for p in trainer.network.parameters()])
        trainer.advance()
        after = torch.cat([p.detach().reshape(-1) for p in trainer.network.parameters()])
        moved.append(after - before)
    assert moved[0].norm() > 5
    # A first Nesterov step goes 1 + 0.9 times as far as the gradient is long.
    assert moved[1].norm() == pytest.approx(1.9 * 0.5, rel=1e-3)
    torch.testing.assert_close(moved[1] / moved[1].norm(), moved[0] / moved[0].norm(), rtol=1e-3, atol=1e-4)
