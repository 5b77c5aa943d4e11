"""CMMD and SP agree with CM-NAS's in value and gradient, and with what the docstrings say they see."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shared import SHARED, needs_shared
from tests.train.loss_cases import BF16, CUTS, Arrays, batch, cases, close, leaf
from train.losses.c3mmd import Kernel, cmmd, sp

KERNELS: tuple[Kernel, ...] = ("second_moment", "both_moments")
seeds = st.integers(0, 2**32 - 1)


def near(gradient: torch.Tensor | None, expected: npt.NDArray[np.float32]) -> None:
    """As near as float32 comes: a share of the entry, and of the largest one, whose terms it is a difference of."""
    assert gradient is not None
    wide = expected.dtype == np.float64
    floor = (1e-14 if wide else 1e-5) * max(float(np.abs(expected).max()), 1e-2)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-10 if wide else 1e-4, atol=floor)


def check_c3mmd(case: Arrays) -> None:
    """The reference knows rows by their place: visible ones first, ``num_pos`` of an identity one after another."""
    count = len(case["v"])
    labels = (torch.arange(count) // int(case["num_pos"])).repeat(2)
    infrared = torch.arange(2 * count) >= count
    for term in ("cmmd", "sp", "total"):
        visible, infra = leaf(case["v"]), leaf(case["t"])
        rows = torch.cat([visible, infra])
        if term == "total":
            loss = 5.0 * sp(rows, labels, infrared) + 0.05 * cmmd(rows, labels, infrared)
        else:
            loss = (cmmd if term == "cmmd" else sp)(rows, labels, infrared)
        loss.backward()
        close(loss, case[term])
        near(visible.grad, case[f"{term}_gv"])
        near(infra.grad, case[f"{term}_gt"])


@pytest.mark.parametrize("name", sorted(cases(CUTS / "c3mmd.npz")))
def test_c3mmd_and_its_gradients_are_the_references(name: str) -> None:
    check_c3mmd(cases(CUTS / "c3mmd.npz")[name])


@needs_shared("golden/c3mmd.npz")
def test_c3mmd_is_the_references_on_every_case_however_large() -> None:
    for case in cases(SHARED / "golden" / "c3mmd.npz").values():
        check_c3mmd(case)


def crowd(seed: int, *, equal: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A float64 batch in no order: three identities, as many rows of each and of either modality, or not."""
    rng = np.random.default_rng(seed)
    counts = np.full((3, 2), 2) if equal else rng.integers(1, 5, (3, 2))
    labels = np.repeat([7, 7, 2, 2, 5, 5], counts.ravel())
    infrared = np.repeat([False, True] * 3, counts.ravel())
    turn = rng.permutation(len(labels))
    return (torch.from_numpy(rng.normal(size=(len(labels), 6))), torch.from_numpy(labels[turn]),
            torch.from_numpy(infrared[turn]))


def moments(features: torch.Tensor, labels: torch.Tensor, infrared: torch.Tensor, kernel: Kernel) -> float:
    """The discrepancy by its closed form, identity by identity."""
    rows = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    found = []
    for person in np.unique(labels.numpy()):
        x, y = (rows[(labels == person).numpy() & (infrared == side).numpy()] for side in (False, True))
        seconds = np.square(x.T @ x / len(x) - y.T @ y / len(y)).sum()
        means = np.square(x.mean(0) - y.mean(0)).sum()
        found.append(seconds + (2 * means if kernel == "both_moments" else 0))
    return float(np.mean(found))


@settings(max_examples=30, deadline=None)
@given(seed=seeds, equal=st.booleans(), kernel=st.sampled_from(KERNELS))
def test_cmmd_compares_moments_of_each_identity_however_many_rows_it_has(
        seed: int, equal: bool, kernel: Kernel) -> None:
    features, labels, infrared = crowd(seed, equal=equal)
    found = cmmd(features, labels, infrared, kernel=kernel).item()
    assert found == pytest.approx(moments(features, labels, infrared, kernel), abs=1e-12)
    assert -1e-12 <= found <= (2 if kernel == "second_moment" else 10)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, kernel=st.sampled_from(KERNELS))
def test_neither_the_order_of_rows_nor_their_lengths_change_cmmd(seed: int, kernel: Kernel) -> None:
    features, labels, infrared = crowd(seed, equal=False)
    rng = np.random.default_rng(seed)
    turn = torch.from_numpy(rng.permutation(len(labels)))
    lengths = torch.from_numpy(rng.uniform(0.01, 100, (len(labels), 1)))
    assert cmmd((features * lengths)[turn], labels[turn], infrared[turn], kernel=kernel).item() == pytest.approx(
        cmmd(features, labels, infrared, kernel=kernel).item(), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_the_published_kernel_is_blind_to_signs_and_the_other_one_sees_them(seed: int) -> None:
    visible = torch.from_numpy(np.random.default_rng(seed).normal(size=(6, 5)))
    labels, infrared = torch.tensor([0, 0, 0, 1, 1, 1]).repeat(2), torch.arange(12) >= 6
    opposite = torch.cat([visible, -visible]).requires_grad_()
    assert cmmd(opposite, labels, infrared).item() == pytest.approx(0, abs=1e-12)
    seen = cmmd(opposite, labels, infrared, kernel="both_moments")
    # The means are 2 |mean x| apart; twice the square of that is what the kernel adds.
    unit = visible / visible.norm(dim=1, keepdim=True)
    assert seen.item() == pytest.approx(8 * unit.view(2, 3, 5).mean(1).square().sum(1).mean().item(), abs=1e-12)
    seen.backward()
    assert opposite.grad is not None
    assert opposite.grad.abs().max() > 1e-4


@settings(max_examples=30, deadline=None)
@given(seed=seeds, factor=st.floats(0.01, 100))
def test_sp_is_blind_to_a_rotation_or_a_factor_of_one_modality(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    visible = torch.from_numpy(rng.normal(size=(6, 5)))
    turned = factor * visible @ torch.from_numpy(np.linalg.qr(rng.normal(size=(5, 5)))[0])
    labels, infrared = torch.tensor([0, 0, 0, 1, 1, 1]).repeat(2), torch.arange(12) >= 6
    assert sp(torch.cat([visible, turned]), labels, infrared).item() == pytest.approx(0, abs=1e-12)
    swapped = torch.cat([visible, turned[[3, 4, 5, 0, 1, 2]]])
    assert sp(swapped, labels, infrared).item() > 1e-4


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_sp_pairs_the_first_rows_of_an_identity_and_then_the_second_ones(seed: int) -> None:
    features, labels, infrared = crowd(seed, equal=True)
    rows = features.numpy()
    pairs = [pair for person in (2, 5, 7) for pair in zip(
        np.flatnonzero((labels == person).numpy() & ~infrared.numpy()),
        np.flatnonzero((labels == person).numpy() & infrared.numpy()), strict=True)]
    total = 0.0
    for v, t in pairs:
        row_v = np.array([rows[v] @ rows[other] for other, _ in pairs])
        row_t = np.array([rows[t] @ rows[other] for _, other in pairs])
        total += np.square(row_v / np.linalg.norm(row_v) - row_t / np.linalg.norm(row_t)).sum()
    assert sp(features, labels, infrared).item() == pytest.approx(total / len(pairs) ** 2, abs=1e-12)


def test_an_identity_in_one_modality_is_refused_by_cmmd() -> None:
    rows, flags = torch.eye(4), torch.tensor([False, True, False, False])
    with pytest.raises(ValueError, match="every identity in both modalities"):
        cmmd(rows, torch.tensor([0, 0, 1, 1]), flags)
    with pytest.raises(ValueError, match="every identity in both modalities"):
        cmmd(rows[:0], torch.tensor([], dtype=torch.int64), flags[:0])


@pytest.mark.parametrize(("labels", "flags"), [
    ([0, 0, 0, 1, 1], [False, False, True, False, True]),           # more visible than infrared rows
    ([0, 0, 0, 1, 1, 1], [False, False, True, True, True, False]),  # as many, but not of each
    ([0, 1], [False, True]),                                        # as many, but of others
    ([0, 1], [False, False]),
    ([], []),
])
def test_sp_says_what_a_batch_must_look_like(labels: list[int], flags: list[bool]) -> None:
    with pytest.raises(ValueError, match=r"of every identity, as many visible as infrared rows.*draw K of both"):
        sp(torch.eye(6)[:len(labels)], torch.tensor(labels, dtype=torch.int64), torch.tensor(flags, dtype=torch.bool))


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="found 'rbf'"):
        cmmd(*batch(), kernel="rbf")  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.parametrize("kernel", KERNELS)
def test_cmmd_of_bfloat16_features_is_computed_in_float32(scale: float, kernel: Kernel) -> None:
    features, labels, infrared = batch(scale=scale)
    narrow = features.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = cmmd(narrow, labels, infrared, kernel=kernel)
    found.backward()
    assert narrow.grad is not None
    assert bool(torch.isfinite(narrow.grad).all())
    assert found.item() == cmmd(narrow.detach().float(), labels, infrared, kernel=kernel).item()
    # Rounding turns a unit vector by a share u at most, so a cosine moves by 2u, (a.b)^2 by 4u and (1 + a.b)^2 by
    # 8u; a discrepancy is made of four means of them.
    moved = 4 * (4 if kernel == "second_moment" else 8) * BF16
    assert abs(found.item() - cmmd(features, labels, infrared, kernel=kernel).item()) <= 1.01 * moved


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_sp_of_bfloat16_features_is_computed_in_float32(scale: float) -> None:
    features, labels, infrared = batch(scale=scale)
    narrow = features.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = sp(narrow, labels, infrared)
    found.backward()
    assert narrow.grad is not None
    assert bool(torch.isfinite(narrow.grad).all())
    assert found.item() == sp(narrow.detach().float(), labels, infrared).item()
    # An entry of a Gram matrix moves by 2u |a| |b|, so a row of it by 2u |a| F with F the root of the sum of all
    # |b|^2, and its direction by twice that over its length; the root of the mean square moves by the mean move.
    moved = []
    for side in (features[~infrared].detach(), features[infrared].detach()):
        length = side.norm(dim=1)
        moved.append(4 * BF16 * length * length.square().sum().sqrt() / (side @ side.T).norm(dim=1))
    bound = (sum(moved).square().sum() / len(moved[0]) ** 2).sqrt().item()
    assert abs(found.sqrt().item() - sp(features, labels, infrared).sqrt().item()) <= 1.01 * bound
