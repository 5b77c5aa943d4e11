"""Parts that each modality has as its own: the hand-designed two-stream networks."""

from __future__ import annotations

import copy
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from cmnas_edge.embedding import MODALITIES
from tests.export.networks import drawn_network, flags
from train.networks.backbones import parts
from train.networks.build import Network, build
from train.networks.design import Design
from train.networks.modality_bn import ModalityBatchNorm, Rows
from train.networks.routes import Own
from train.networks.space import BNNECK, Arch, Choice, site_names

DEEP = {"osnet_x0_25": 4, "resnet50": 5}


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(("backbone", "stem"), [
    ("osnet_x0_25", {"conv1.conv.weight": (16, 3, 7, 7), **{f"conv1.bn.{name}": (16,) for name in (
        "weight", "bias", "running_mean", "running_var")}}),
    ("resnet50", {"conv1.weight": (64, 3, 7, 7), **{f"bn1.{name}": (64,) for name in (
        "weight", "bias", "running_mean", "running_var")}})])
def test_a_two_stream_rival_has_the_stem_twice_and_nothing_else(
    backbone: str, stem: dict[str, tuple[int, ...]]
) -> None:
    shared = shapes(build(Arch.uniform(backbone, "shared")))
    rival = shapes(build(Arch.uniform(backbone, "shared", design=Design(own=1))))
    assert {f"backbone.{name}": shape for name, shape in stem.items()}.items() <= shared.items()
    gone, came = shared.items() - rival.items(), rival.items() - shared.items()
    assert dict(gone) == {f"backbone.{name}": shape for name, shape in stem.items()}
    assert dict(came) == {f"backbone.{module}.{modality}.{inner}": shape for modality in MODALITIES
                          for name, shape in stem.items() for module, _, inner in [name.partition(".")]}


@pytest.mark.parametrize("backbone", ["osnet_x0_25"])
def test_every_owned_part_costs_what_it_weighs_once_more(backbone: str) -> None:
    shared = build(Arch.uniform(backbone, "shared"))
    total = sum(p.numel() for p in shared.parameters())
    for own, modules in enumerate(parts(backbone).values(), start=1):
        total += sum(p.numel() for module in modules for p in shared.backbone.get_submodule(module).parameters())
        rival = build(Arch.uniform(backbone, "shared", design=Design(own=own)))
        assert sum(p.numel() for p in rival.parameters()) == total


@pytest.mark.parametrize("backbone", DEEP)
def test_both_copies_start_alike_and_so_as_the_shared_network(backbone: str) -> None:
    torch.manual_seed(0)
    shared = build(Arch.uniform(backbone, "shared")).eval()
    torch.manual_seed(0)
    rival = build(Arch.uniform(backbone, "shared", design=Design(own=DEEP[backbone]))).eval()
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = shared(x, torch.zeros(3, dtype=torch.bool)).embedding
        found = rival(x, torch.tensor([True, False, True])).embedding
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("backbone", "own"), [("osnet_x0_25", 1), ("osnet_x0_25", 4), ("resnet50", 1)])
def test_outputs_follow_the_order_of_the_rows(backbone: str, own: int, training: bool) -> None:
    network = drawn_network(1, backbone, design=Design(own=own)).double().train(training)
    x = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    infrared = torch.tensor([False, True, True, False, True])
    order = torch.tensor([4, 0, 2, 1, 3])
    expected = copy.deepcopy(network)(x, infrared)
    for found, wanted in zip(network(x[order], infrared[order])[:3], expected[:3], strict=True):
        torch.testing.assert_close(found, wanted[order])


def test_a_part_is_its_modalitys_own_whatever_the_order_of_the_rows() -> None:
    torch.manual_seed(0)
    own = Own(nn.Conv2d(2, 3, 1))
    x, infrared = torch.randn(5, 2, 4, 4), torch.tensor([True, False, False, True, False])
    with torch.no_grad():
        cast("nn.Conv2d", own.infrared).weight.mul_(-2)
        found = own(x, Rows.of(infrared))
        visible, other = (cast("Tensor", getattr(own, modality)(x)) for modality in MODALITIES)
    torch.testing.assert_close(found, torch.where(infrared[:, None, None, None], other, visible))


def test_a_step_teaches_a_modalitys_copy_by_its_own_rows_only() -> None:
    torch.manual_seed(0)
    network = build(Arch.uniform("osnet_x0_25", "shared", design=Design(own=2)), identities=4).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    features = network(torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.bool))
    nn.functional.cross_entropy(features.logits, torch.arange(4)).backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (".infrared." in name), name
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert any(".visible." in name for name in moved)
    assert not any(".infrared." in name for name in moved)


@pytest.mark.parametrize(("backbone", "design"), [
    ("osnet_x0_25", Design()), ("osnet_x0_25", Design(own=3)), ("resnet50", Design(own=3, non_local=True))])
def test_norms_are_all_there_are_and_each_sees_what_its_layer_gave(backbone: str, design: Design) -> None:
    network = drawn_network(0, backbone, design=design)
    norms = network.norms()
    assert {id(norm.norm) for norm in norms} == {
        id(module) for module in network.modules() if isinstance(module, ModalityBatchNorm)}
    assert len({norm.name for norm in norms}) == len(norms)
    assert all(network.backbone.get_submodule(norm.name) is norm.norm for norm in norms)
    assert tuple(site.name for site in network.sites() if site.name != BNNECK) == site_names(backbone, design)
    assert {id(site.norm) for site in network.sites()} <= {id(norm.norm) for norm in norms}
    given: dict[str, Tensor] = {}
    taken: dict[str, Tensor] = {}
    for norm in norms:
        norm.norm.register_forward_pre_hook(
            lambda module, inputs, name=norm.name: taken.__setitem__(name, inputs[0]))
        if norm.linear is not None:
            norm.linear.register_forward_hook(
                lambda module, inputs, output, name=norm.name: given.__setitem__(name, output))
    with torch.no_grad():
        network(torch.randn(2, 3, 32, 32), torch.tensor([True, False]))
    assert all(torch.equal(given[norm.name], taken[norm.name]) for norm in norms if norm.linear is not None)
    assert set(taken) == {norm.name for norm in norms}


def test_the_last_norms_of_owned_residual_branches_are_named_as_everywhere() -> None:
    # What silences residual branches at the start finds them by these endings.
    network = build(Arch.uniform("osnet_x0_25", "split", design=Design(own=2)))
    assert [norm.name for norm in network.norms() if norm.name.startswith("conv2.") and
            norm.name.endswith(".conv3.bn")] == [
        "conv2.visible.0.conv3.bn", "conv2.infrared.0.conv3.bn",
        "conv2.visible.1.conv3.bn", "conv2.infrared.1.conv3.bn"]


@pytest.mark.parametrize(("choice", "backbone", "design"), [
    ("split", "osnet_x0_25", Design()), ("split_statistics", "osnet_x0_25", Design()),
    ("shared", "osnet_x0_25", Design()), ("split", "osnet_x0_25", Design(own=2, streams=2, lite=False)),
    ("split_statistics", "resnet50", Design(own=3, non_local=True))])
def test_the_plain_network_of_a_modality_computes_what_the_modality_sees(
    choice: Choice, backbone: str, design: Design
) -> None:
    network = drawn_network(3, backbone, choice, design=design)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.randn(2, 3, 32, 32)
    for modality in MODALITIES:
        plain = network.plain(modality)
        assert plain.arch.design.own == 0
        assert {choice for _, choice in plain.arch.choices} == {"shared"}
        assert shapes(plain) == shapes(build(plain.arch))
        with torch.no_grad():
            expected = network(x, flags(modality, 2)).embedding
            for seen_as in MODALITIES:
                torch.testing.assert_close(plain(x, flags(seen_as, 2)).embedding, expected)
            plain.backbone.get_submodule("bn1" if backbone == "resnet50" else "conv1.bn").weight.fill_(7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
