"""A BatchNorm site: which rows share statistics, and which share scale and shift."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cmnas_edge.embedding import MODALITIES, Modality
from train.networks.modality_bn import ModalityBatchNorm, Rows
from train.networks.space import CHOICES, Choice

flags = st.lists(st.booleans(), min_size=4, max_size=12).filter(lambda f: 2 <= sum(f) <= len(f) - 2)
choices = st.sampled_from(CHOICES)
seeds = st.integers(0, 2**31 - 1)


def random_norm(choice: Choice, channels: int, seed: int) -> ModalityBatchNorm:
    """A site whose every number is random, in double so that bounds are tight."""
    generator = torch.Generator().manual_seed(seed)
    norm = ModalityBatchNorm(channels, choice).double()
    with torch.no_grad():
        for tensor in norm.state_dict().values():
            tensor.copy_(torch.rand(channels, generator=generator) + 0.5)
    return norm


def plain_norm(norm: ModalityBatchNorm, prefix: str) -> nn.BatchNorm1d:
    """Torch's own batch norm with the numbers that hold for one modality."""
    state = norm.state_dict()
    plain = nn.BatchNorm1d(norm.channels, dtype=torch.float64)
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(plain, name).copy_(state.get(f"{prefix}.{name}", state.get(name)))
    return plain.train(norm.training)


def batch(rows: list[bool], seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(rows), *shape, generator=generator, dtype=torch.float64), torch.tensor(rows)


@given(flags, seeds, st.booleans(), st.sampled_from(["split", "split_statistics"]))
@settings(deadline=None)
def test_a_split_site_is_one_plain_batch_norm_per_modality_in_any_order(
    rows: list[bool], seed: int, training: bool, choice: Choice
) -> None:
    norm = random_norm(choice, 3, seed).train(training)
    x, infrared = batch(rows, seed, 3)
    expected = torch.empty_like(x)
    after = {}
    for modality, chosen in zip(MODALITIES, (~infrared, infrared), strict=True):
        plain = plain_norm(norm, modality)
        expected[chosen] = plain(x[chosen])
        after[modality] = plain
    torch.testing.assert_close(norm(x, infrared), expected)
    for modality, plain in after.items():
        own = norm.get_submodule(modality)
        torch.testing.assert_close(own.running_mean, plain.running_mean)
        torch.testing.assert_close(own.running_var, plain.running_var)


@given(flags, seeds, st.booleans())
@settings(deadline=None)
def test_a_shared_site_is_one_plain_batch_norm_whoever_the_rows_are(
    rows: list[bool], seed: int, training: bool
) -> None:
    norm = random_norm("shared", 3, seed).train(training)
    x, infrared = batch(rows, seed, 3)
    plain = plain_norm(norm, "none")
    torch.testing.assert_close(norm(x, infrared), plain(x))
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)


@given(flags, seeds, choices)
@settings(deadline=None)
def test_shuffling_rows_shuffles_outputs_and_gradients_and_changes_nothing_else(
    rows: list[bool], seed: int, choice: Choice
) -> None:
    x, infrared = batch(rows, seed, 2, 3, 2)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    results = []
    for chosen in (torch.arange(len(rows)), order):
        norm = random_norm(choice, 2, seed)
        moved = x[chosen].requires_grad_()
        y = norm(moved, infrared[chosen])
        (y**3).sum().backward()
        assert moved.grad is not None
        results.append((y.detach(), moved.grad, norm.state_dict()))
    (y, grad, state), (shuffled_y, shuffled_grad, shuffled_state) = results
    torch.testing.assert_close(shuffled_y, y[order])
    torch.testing.assert_close(shuffled_grad, grad[order])
    torch.testing.assert_close(shuffled_state, state)


@pytest.mark.parametrize("choice", ["split", "split_statistics"])
@pytest.mark.parametrize(("present", "absent"), [MODALITIES, MODALITIES[::-1]])
def test_an_absent_modality_leaves_its_statistics_untouched(
    choice: Choice, present: Modality, absent: Modality
) -> None:
    norm = random_norm(choice, 3, 0)
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    x, infrared = batch([present == "infrared"] * 6, 1, 3)
    expected = plain_norm(norm, present)(x)
    torch.testing.assert_close(norm(x, infrared), expected)
    after = norm.state_dict()
    for tensor in ("running_mean", "running_var"):
        assert torch.equal(after[f"{absent}.{tensor}"], before[f"{absent}.{tensor}"])
        assert not torch.equal(after[f"{present}.{tensor}"], before[f"{present}.{tensor}"])


@given(seeds, choices)
@settings(deadline=None)
def test_affine_is_what_evaluation_does_to_a_channel(seed: int, choice: Choice) -> None:
    norm = random_norm(choice, 3, seed).eval()
    x, infrared = batch([True, False, True], seed, 3)
    y = norm(x, infrared)
    for row, is_infrared in enumerate(infrared.tolist()):
        scale, shift = norm.affine(MODALITIES[is_infrared])
        torch.testing.assert_close(y[row], scale * x[row] + shift)
        assert scale.dtype == torch.float64


@pytest.mark.parametrize(("choice", "parameters", "buffers"), [
    ("shared", 2, 2), ("split", 4, 4), ("split_statistics", 2, 4)])
def test_a_choice_stores_what_it_needs_and_no_more(choice: Choice, parameters: int, buffers: int) -> None:
    norm = ModalityBatchNorm(7, choice)
    assert sum(p.numel() for p in norm.parameters()) == 7 * parameters
    assert sum(b.numel() for b in norm.buffers()) == 7 * buffers


@pytest.mark.parametrize("infrared", [
    torch.zeros(3), torch.zeros(3, 1, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)])
def test_flags_that_are_not_one_bool_per_row_are_refused(infrared: Tensor) -> None:
    with pytest.raises(ValueError, match="expected"):
        ModalityBatchNorm(2, "shared")(torch.zeros(3, 2), infrared)


@given(st.lists(st.booleans(), max_size=9))
def test_grouping_puts_visible_rows_first_and_restoring_undoes_it(rows: list[bool]) -> None:
    infrared = torch.tensor(rows, dtype=torch.bool)
    plan = Rows.of(infrared)
    grouped = plan.group(infrared)
    assert grouped.tolist() == sorted(rows)
    assert plan.visible_count == rows.count(False)
    assert plan.restore(grouped).tolist() == rows
