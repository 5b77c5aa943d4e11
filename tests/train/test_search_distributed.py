"""Processes that search together find what one process finds, up to rounding."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmnas_edge import config
from train.data.drawn import Drawn, draw
from train.fit.distributed import World, merge
from train.fit.optimisers import Optimiser
from train.losses.objective import Losses
from train.networks.space import Arch
from train.search import mix
from train.search.bilevel import Searcher
from train.search.mixed_norm import SPACES, MixedBatchNorm, per_row
from train.search.recipe import Cost, Preference, SearchRecipe

ROOT = Path(__file__).resolve().parents[2]
# Every loss looks at the whole batch, at both levels.
LOSSES = Losses(triplet=1.0, contrast=0.5, cmmd=0.5, sp=5.0)
TINY = SearchRecipe(
    backbone="osnet_x0_25", space="extended", by="stage", height=32, width=16, seed=3, steps=3, identities_per_batch=4,
    crops_per_modality=2, train=Drawn(identities=4, cameras=(1, 3), per_camera=4), losses=LOSSES, guide=LOSSES,
    validation=Drawn(identities=2, first_identity=90, cameras=(1, 3), per_camera=1), evaluate_every=3,
    checkpoint_every=3, recalibrate=1, preference=Preference(every=1, rate=0.01), cost=Cost(price=0.1),
    # As in fitting: Adam would make a full step of a gradient that is rounding alone.
    optimiser=Optimiser(kind="sgd", rate=1e-4, warm_up=0, average=0.9))


def test_two_processes_search_as_one_and_only_the_first_writes(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(config.show(TINY))
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "train", "search"]
    ran = subprocess.run([sys.executable, *words, str(recipe), "--out", str(tmp_path / "two"), "--device", "cpu"],
                         cwd=ROOT, capture_output=True, text=True, check=False,
                         env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("done: ") == 1
    assert ran.stderr.count("3 of 3 steps, 100%") == 1
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2
    assert isinstance(TINY.train, Drawn)
    alone = Searcher(TINY, draw(TINY.train, 32, 16))
    began = copy.deepcopy(alone.supernet)
    figures = [alone.advance() for _ in range(TINY.steps)][-1]
    one, two = alone.state(), torch.load(tmp_path / "two" / "state.pt", weights_only=True)
    learnt = [name for name, _ in began.named_parameters() if name != "alpha"]
    for part in ("supernet", "average"):
        for name, tensor in one[part].items():
            if name not in learnt and name != "alpha":  # statistics: those of half the rows would be percents off
                torch.testing.assert_close(two[part][name], tensor, rtol=1e-4, atol=1e-6, msg=name)
        ways = [torch.cat([(state[part][name] - began.state_dict()[name]).reshape(-1) for name in learnt])
                for state in (one, two)]
        assert ways[0].norm() > 0
        assert (ways[1] - ways[0]).norm() < 5e-3 * ways[0].norm()
    assert one["supernet"]["alpha"].abs().min() > 1e-3
    torch.testing.assert_close(two["supernet"]["alpha"], one["supernet"]["alpha"], rtol=5e-3, atol=1e-5)
    # Adam takes steps of one length; its moments tell how long the gradients were.
    for name in ("exp_avg", "exp_avg_sq"):
        mine, theirs = (state["alpha"]["state"][0][name] for state in (two, one))
        assert theirs.norm() > 0
        assert (mine - theirs).norm() < 5e-3 * theirs.norm()
    scored, row = map(msgspec.json.decode, (tmp_path / "two" / "log.jsonl").read_bytes().splitlines())
    assert scored.keys() == {"step", "minutes", "scored", "validation"}
    assert row["guide"] == pytest.approx(figures["guide"], rel=1e-3)
    assert row["loss"] == pytest.approx(figures["loss"], rel=1e-3)
    assert Arch.from_json((tmp_path / "two" / "arch.json").read_text()) == alone.decided()


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    assert isinstance(TINY.train, Drawn)
    with pytest.raises(ValueError, match="multiple of the 3 processes"):
        Searcher(TINY, draw(TINY.train, 32, 16), world=World(0, 3))


class Meeting:
    """Processes played by threads: what each brings is known to all once all are here."""

    def __init__(self, count: int) -> None:
        self._barrier, self._brought = threading.Barrier(count, timeout=20), [torch.empty(0)] * count
        self._me = threading.local()

    def run(self, rank: int, what: Any) -> Any:
        self._me.rank = rank
        try:
            return what(rank)
        except BaseException:
            self._barrier.abort()
            raise

    def gather(self, x: Tensor) -> Tensor:
        return torch.cat(self._exchange(x))

    def all_reduce(self, x: Tensor) -> None:
        x.copy_(torch.stack(self._exchange(x.clone())).sum(0))

    def _exchange(self, x: Tensor) -> list[Tensor]:
        self._brought[self._me.rank] = x
        self._barrier.wait()
        everything = list(self._brought)
        self._barrier.wait()
        return everything


# Visible and infrared rows of each process: any, as long as each modality has two in all, or none.
rows_of_all = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=3).filter(
    lambda rows: any(map(sum, rows)) and all(sum(each) != 1 for each in zip(*rows, strict=True)))


@given(rows_of_all, st.sampled_from([(), (2, 1)]), st.sampled_from(sorted(SPACES)), st.booleans(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_mixed_norm_over_uneven_shares_is_the_norm_over_all_rows_in_value_and_in_every_gradient(
        rows: list[tuple[int, int]], size: tuple[int, ...], space: str, tracking: bool, seed: int) -> None:
    torch.manual_seed(seed)
    whole = MixedBatchNorm(3, SPACES[space]).double()
    with torch.no_grad():
        for tensor in (whole.weight, whole.bias, whole.running_mean):
            tensor.normal_()
    whole.tracking = tracking
    alpha = torch.randn(len(whole.choices), dtype=torch.float64)
    numbers = np.array(rows).sum(1)
    x = (torch.randn(numbers.sum(), 3, *size, dtype=torch.float64) * 3 + 1).requires_grad_()
    flags = torch.cat([torch.tensor([False] * visible + [True] * infrared) for visible, infrared in rows]).bool()
    upstream = torch.randn_like(x)
    copies = []
    for _ in rows:
        copies.append(MixedBatchNorm(3, SPACES[space]).double())
        copies[-1].load_state_dict(whole.state_dict())
        copies[-1].together, copies[-1].tracking = True, tracking

    def pass_through(norm: MixedBatchNorm, at: slice) -> list[Tensor]:
        mine, preference = x[at].detach().requires_grad_(), alpha.clone().requires_grad_()
        norm.mix = per_row(torch.softmax(preference, 0))
        y = norm(mine, flags[at])
        return [y, *torch.autograd.grad(y, (mine, norm.weight, norm.bias, preference), upstream[at])]

    ends = np.cumsum(numbers).tolist()
    meeting = Meeting(len(rows))
    with (mock.patch.object(mix, "gather", meeting.gather), mock.patch.object(mix.dist, "all_reduce",
                                                                            meeting.all_reduce),
          ThreadPoolExecutor(len(rows)) as threads):
        found = list(threads.map(lambda rank: meeting.run(rank, lambda rank: pass_through(
            copies[rank], slice(ends[rank] - numbers[rank], ends[rank]))), range(len(rows))))
    expected = pass_through(whole, slice(None))
    # A variance near zero is amplified by 1/eps = 1e5 in the gradient.
    for i, parts in enumerate(zip(*found, strict=True)):
        together = torch.cat(parts) if i < 2 else torch.stack(parts).sum(0)
        torch.testing.assert_close(together, expected[i], rtol=1e-8, atol=1e-7)
    for norm in copies:
        torch.testing.assert_close(norm.running_mean, whole.running_mean)
        torch.testing.assert_close(norm.running_var, whole.running_var)


@given(st.lists(st.lists(st.floats(-100, 100), max_size=5), min_size=1, max_size=4).filter(any))
def test_moments_of_groups_merge_into_those_of_all_values(groups: list[list[float]]) -> None:
    mean, var, number = merge(*(torch.tensor([[f(group)] for group in groups], dtype=torch.float64) for f in (
        lambda group: np.mean(group) if group else 0.0, lambda group: np.var(group) if group else 0.0, len)))
    values = np.concatenate(groups)
    assert number.item() == len(values)
    assert mean.item() == pytest.approx(values.mean(), abs=1e-10)
    assert var.item() == pytest.approx(values.var(), abs=1e-9)
