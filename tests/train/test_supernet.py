"""A mixed norm is exactly its branches' weighted sum, and a supernet on a path exactly that architecture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cmnas_edge.embedding import MODALITIES
from train.networks.build import build
from train.networks.modality_bn import MOMENTUM, ModalityBatchNorm
from train.networks.space import Arch, site_names
from train.search.mixed_norm import SPACES, MixedBatchNorm, per_row
from train.search.supernet import Supernet

shapes = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 5), st.sampled_from(
    [(), (1, 2), (2, 1), (3, 2), (4, 4)])).filter(lambda s: s[0] + s[1] > 0)


def drawn(shape: tuple[int, int, int, tuple[int, ...]], space: str, seed: int) -> tuple[MixedBatchNorm, Tensor, Tensor,
                                                                                   Tensor]:
    """A float64 norm with random numbers, a batch for it, its flags, and a preference."""
    visible, infrared, channels, size = shape
    torch.manual_seed(seed)
    norm = MixedBatchNorm(channels, SPACES[space]).double()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2)
    flags = torch.tensor([False] * visible + [True] * infrared)[torch.randperm(visible + infrared)]
    x = torch.randn(visible + infrared, channels, *size, dtype=torch.float64) * 3 + 1
    if len(size) == 2 and seed % 2:
        x = x.contiguous(memory_format=torch.channels_last)
    return norm, x.requires_grad_(), flags, torch.randn(len(norm.choices), dtype=torch.float64, requires_grad=True)


def branches(norm: MixedBatchNorm, x: Tensor, flags: Tensor, alpha: Tensor, *, training: bool) -> Tensor:
    """What a differentiable search usually writes: every choice by torch's own norms, weighted, and summed."""
    def rows_of(flat: Tensor) -> Tensor:
        return flat.view(-1, norm.channels)

    def plain(rows: Tensor, moments: int, affine: int) -> Tensor:
        return nn.functional.batch_norm(rows, norm.running_mean[moments].clone(), norm.running_var[moments].clone(),
                                        rows_of(norm.weight)[affine], rows_of(norm.bias)[affine], training, MOMENTUM)

    def split(affines: tuple[int, int]) -> Tensor:
        out = torch.zeros_like(x)
        for flag, moments in ((False, 0), (True, 1)):
            if bool((flags == flag).any()):
                out = out.index_put((flags == flag,), plain(x[flags == flag], moments, affines[moments]))
        return out

    each = [plain(x, 2, 2), split((0, 1))]
    if len(norm.choices) > 2:
        each.append(split((3, 3)))
    return (torch.softmax(alpha, 0).view(-1, *[1] * x.ndim) * torch.stack(each)).sum(0)


@given(shapes, st.sampled_from(sorted(SPACES)), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_mix_is_the_explicit_softmax_over_branches_in_value_and_in_every_gradient(
        shape: tuple[int, int, int, tuple[int, ...]], space: str, seed: int) -> None:
    norm, x, flags, alpha = drawn(shape, space, seed)
    inputs = (x, norm.weight, norm.bias, alpha)
    each = int(np.prod(shape[3]))
    for training in (True, False):
        if training and 1 in (shape[0] * each, shape[1] * each):
            continue
        norm.train(training)
        expected = branches(norm, x, flags, alpha, training=training)
        norm.mix = per_row(torch.softmax(alpha, 0))
        found = norm(x, flags)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        upstream = torch.randn_like(found)
        for mine, theirs in zip(torch.autograd.grad(found, inputs, upstream),
                                torch.autograd.grad(expected, inputs, upstream), strict=True):
            # A variance near zero is amplified by 1/eps = 1e5 in the gradient.
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-7)


@given(shapes, st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_running_statistics_are_those_of_plain_norms_and_stand_still_when_asked(
        shape: tuple[int, int, int, tuple[int, ...]], seed: int) -> None:
    norm, x, flags, _ = drawn(shape, "paper", seed)
    each = int(np.prod(shape[3]))
    if 1 in (shape[0] * each, shape[1] * each):
        with pytest.raises(ValueError, match="more than one value"):
            norm(x, flags)
        return
    plain = {choice: ModalityBatchNorm(shape[2], choice).double() for choice in ("shared", "split")}
    for each_norm in plain.values():
        norm.end_as(each_norm)
        each_norm(x, flags)
    norm.tracking = False
    before = norm.running_mean.clone(), norm.running_var.clone()
    norm(x, flags)
    assert torch.equal(norm.running_mean, before[0])
    assert torch.equal(norm.running_var, before[1])
    norm.tracking = True
    norm(x, flags)
    rows = [plain["split"].get_submodule(modality) for modality in MODALITIES] + [plain["shared"]]
    for row, bank in enumerate(rows):
        torch.testing.assert_close(norm.running_mean[row], bank.running_mean)
        torch.testing.assert_close(norm.running_var[row], bank.running_var)


def test_under_bf16_the_moments_are_still_counted_in_float32() -> None:
    torch.manual_seed(0)
    norm = MixedBatchNorm(3, SPACES["paper"])
    x = (100 + torch.randn(64, 3, 8, 8)).to(torch.bfloat16).requires_grad_()
    flags = torch.arange(64) < 40
    y = norm(x, flags)
    assert y.dtype == torch.bfloat16
    exact = torch.stack([x[~flags].double().mean((0, 2, 3)), x[flags].double().mean((0, 2, 3))])
    torch.testing.assert_close(norm.running_mean[:2].double() / MOMENTUM, exact, rtol=1e-5, atol=0)
    y.float().square().sum().backward()
    assert norm.weight.grad is not None
    assert norm.weight.grad.dtype == torch.float32


def test_nothing_but_the_input_is_kept_for_the_backward_pass() -> None:
    norm = MixedBatchNorm(8, SPACES["extended"])
    x = torch.randn(16, 8, 32, 16, requires_grad=True)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        norm(x, torch.arange(16) < 8)
    assert sum(kept.values()) < 1.05 * x.untyped_storage().nbytes()


@pytest.mark.parametrize(("backbone", "space"), [("osnet_x0_25", "extended"), ("resnet50", "paper")])
def test_a_supernet_that_follows_an_architecture_is_the_network_extracted_for_it(backbone: str, space: str) -> None:
    torch.manual_seed(1)
    supernet = Supernet(backbone, space=space, identities=3)
    with torch.no_grad():
        for tensor in (*supernet.parameters(), *supernet.buffers()):
            tensor.add_(0.1 * torch.rand_like(tensor))
    rng = np.random.default_rng(0)
    arch = Arch(backbone, tuple((name, supernet.choices[rng.integers(len(supernet.choices))])
                                for name in site_names(backbone)))
    network = supernet.extract(arch)
    assert network.arch == arch
    supernet.follow(arch)
    x, flags = torch.randn(6, 3, 64, 32), torch.arange(6) % 2 == 0
    for training in (True, False):
        supernet.train(training)
        network.train(training)
        with torch.no_grad():
            for mine, theirs in zip(supernet.network(x, flags), network(x, flags), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))
    for site, mixed in zip(network.sites(), supernet.network.sites(), strict=True):
        for modality in MODALITIES:
            # Both moved their running statistics, in float32.
            torch.testing.assert_close(site.norm.affine(modality), mixed.norm.affine(modality), rtol=1e-4, atol=1e-4)


def test_a_network_initialises_every_branch() -> None:
    torch.manual_seed(2)
    supernet = Supernet("osnet_x0_25", space="extended", identities=3)
    for choice in ("shared", "split_statistics"):
        network = build(Arch.uniform("osnet_x0_25", choice), identities=3)
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                tensor.uniform_(0.5, 1.5)
        supernet.begin_as(network)
        for tensor, theirs in zip(supernet.extract(network.arch).state_dict().values(),
                                  network.state_dict().values(), strict=True):
            torch.testing.assert_close(tensor, theirs)
    supernet.eval()
    network.eval()
    shared = supernet.extract(Arch.uniform("osnet_x0_25", "shared")).get_parameter("backbone.conv1.bn.weight")
    assert torch.equal(shared, network.get_parameter("backbone.conv1.bn.weight"))
    with pytest.raises(ValueError, match="expected a network of osnet_x0_25, found resnet50"):
        supernet.begin_as(build(Arch.uniform("resnet50", "shared")))


def test_the_shared_branch_begins_with_the_moments_of_both_halves() -> None:
    plain = ModalityBatchNorm(2, "split").double()
    x = torch.randn(40, 2, dtype=torch.float64) * torch.tensor([1.0, 3.0]) + 2
    with torch.no_grad():
        for modality, rows in zip(MODALITIES, x.split(20), strict=True):
            bank = plain.get_submodule(modality)
            bank.running_mean.copy_(rows.mean(0))
            bank.running_var.copy_(rows.var(0, correction=0))
    mixed = MixedBatchNorm(2, SPACES["paper"]).double()
    mixed.begin_as(plain)
    torch.testing.assert_close(mixed.running_mean[2], x.mean(0))
    torch.testing.assert_close(mixed.running_var[2], x.var(0, correction=0))


def test_sites_of_a_group_choose_together_and_the_gradient_reaches_their_preference() -> None:
    names = site_names("osnet_x0_25")
    groups = {"early": names[:40], "late": names[40:]}
    supernet = Supernet("osnet_x0_25", groups=groups)
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    arch = supernet.favourite()
    assert {arch.choice(name) for name in names[:40]} == {"split"}
    assert {arch.choice(name) for name in names[40:]} == {"shared"}
    x, flags = torch.randn(4, 3, 32, 16), torch.arange(4) < 2
    supernet.train()
    supernet.spread()
    grad, = torch.autograd.grad(supernet.network(x, flags).embedding.square().sum(), supernet.alpha)
    assert grad.shape == (2, 2)
    # A softmax's gradient adds up to nothing over the choices.
    torch.testing.assert_close(grad.sum(1), torch.zeros(2), atol=1e-4 * float(grad.abs().max()), rtol=0)
    assert bool((grad.abs().sum(1) > 0).all())
    with pytest.raises(ValueError, match="each of the 80 sites of osnet_x0_25 once, found 40 in 1 groups"):
        Supernet("osnet_x0_25", groups={"early": names[:40]})


def test_a_sampled_path_is_one_choice_everywhere_drawn_as_often_as_it_is_likely() -> None:
    supernet = Supernet("osnet_x0_25")
    with torch.no_grad():
        supernet.alpha[:, 1] = 1.0
    rng, split = np.random.default_rng(0), 0
    for _ in range(40):
        supernet.sample(torch.from_numpy(rng.gumbel(size=(80, 2))).float())
        mixes = torch.stack([site.norm.mix for site in supernet.network.sites()])[..., 0].detach()
        assert set(mixes.flatten().round(decimals=5).tolist()) == {0.0, 1.0}
        split += int(mixes[:, 0].sum())
    # 3,200 draws of p = 0.731: five standard deviations are 0.04.
    assert split / 3200 == pytest.approx(1 / (1 + np.exp(-1)), abs=0.04)
    supernet.train()
    out = supernet.network(torch.randn(4, 3, 32, 16), torch.arange(4) < 2).embedding.square().sum()
    assert bool((torch.autograd.grad(out, supernet.alpha)[0] != 0).any())


def test_what_a_space_lacks_is_refused() -> None:
    supernet = Supernet("osnet_x0_25")
    with pytest.raises(ValueError, match="expected choices of shared, split, found split_statistics"):
        supernet.follow(Arch.uniform("osnet_x0_25", "split_statistics"))
    with pytest.raises(ValueError, match="expected one of osnet_x0_25, found one of resnet50"):
        supernet.extract(Arch.uniform("resnet50", "shared"))
    with pytest.raises(ValueError, match="expected one of paper, extended"):
        Supernet("osnet_x0_25", space="wide")
    with pytest.raises(ValueError, match="one flag for each of 3 rows, found 2"):
        MixedBatchNorm(2, SPACES["paper"])(torch.zeros(3, 2), torch.zeros(2, dtype=torch.bool))
