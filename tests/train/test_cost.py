"""What an architecture is said to cost is what its network and its graphs really weigh."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import Tensor, nn

from cmnas_edge.embedding import MODALITIES, Modality
from export.fold import fold
from export.to_onnx import to_onnx
from export.weights import ALIGNMENT, WEIGHTS, write_graphs
from tests.export.networks import drawn_network
from train.networks.backbones import BACKBONES
from train.networks.build import Network, build
from train.networks.cost import Cost, bytes_of, layers, site_bytes, size_of
from train.networks.design import Design
from train.networks.space import CHOICES, Arch, Choice, site_names

OSNET_DESIGNS = [Design(), Design(own=3), Design(lite=False, streams=2), Design(fusion="gate_per_stream", own=1),
                 Design(fusion="fixed", streams=3, pool="gem"), Design(fusion="scalar_gate"), Design(fusion="sum")]


def graphs(network: Network) -> dict[Modality, onnx.ModelProto]:
    return {modality: to_onnx(fold(network, modality), 32, 16, network.dimension) for modality in MODALITIES}


def tensors(model: onnx.ModelProto) -> set[bytes]:
    return {numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT}


def weighed(models: dict[Modality, onnx.ModelProto]) -> Cost:
    """Bytes of the tensors that are in the graphs, told apart by their contents."""
    def size(contents: Iterable[bytes]) -> int:
        return sum(len(content) for content in contents)

    visible, infrared = tensors(models["visible"]), tensors(models["infrared"])
    return Cost(size(visible & infrared), size(visible - infrared), size(infrared - visible))


@pytest.mark.parametrize(("choice", "design"), [
    *((None, design) for design in OSNET_DESIGNS), ("split", Design()), ("split_statistics", Design())])
def test_bytes_are_those_of_the_exported_tensors(design: Design, choice: Choice | None) -> None:
    network = drawn_network(1, choice=choice, design=design)
    models = graphs(network)
    cost = bytes_of(network.arch)
    assert cost == weighed(models)
    assert cost.total == sum(map(len, tensors(models["visible"]) | tensors(models["infrared"])))
    assert cost.without_sharing == sum(len(content) for model in models.values() for content in tensors(model))


def test_bytes_are_those_of_the_exported_tensors_of_resnet50() -> None:
    network = drawn_network(2, "resnet50", design=Design(own=1, non_local=True, pool="gem"))
    assert bytes_of(network.arch) == weighed(graphs(network))


def test_a_bundles_weights_are_these_bytes_and_their_padding(tmp_path: Path) -> None:
    network = drawn_network(3)
    models = graphs(network)
    write_graphs(models, tmp_path)
    count = len(tensors(models["visible"]) | tensors(models["infrared"]))
    assert 0 <= (tmp_path / WEIGHTS).stat().st_size - bytes_of(network.arch).total < ALIGNMENT * count


@st.composite
def arches(draw: st.DrawFn) -> Arch:
    backbone = draw(st.sampled_from(list(BACKBONES)))
    own = draw(st.integers(0, 4))
    design = (Design(own=own, non_local=draw(st.booleans())) if backbone == "resnet50" else
              Design(own=own, lite=draw(st.booleans()), streams=draw(st.integers(1, 4))))
    names = site_names(backbone, design)
    return Arch(backbone, tuple((name, draw(st.sampled_from(CHOICES))) for name in names), design)


@settings(max_examples=25, deadline=None)
@given(arches())
def test_what_sites_cost_adds_up(arch: Arch) -> None:
    prices = site_bytes(arch.backbone, arch.design)
    assert tuple(prices) == site_names(arch.backbone, arch.design)
    shared = bytes_of(Arch.uniform(arch.backbone, "shared", design=arch.design))
    apart = sum(prices[site] for site, choice in arch.choices if choice != "shared")
    cost = bytes_of(arch)
    assert cost.total == shared.total + apart
    assert cost.without_sharing == shared.without_sharing
    assert cost.visible == cost.infrared == shared.visible + apart


def test_a_split_costs_little_behind_a_depthwise_convolution_and_the_weight_behind_a_pointwise_one() -> None:
    prices = site_bytes("osnet_x1_0")
    assert prices["conv2.0.conv2a.bn"] == 4 * (64 * 9 + 64)
    assert prices["conv5.bn"] == 4 * (512 * 512 + 512)
    assert prices["conv1.bn"] == 4 * (64 * 3 * 49 + 64)
    assert prices["fc.1"] == 4 * (512 * 512 + 512)
    assert site_bytes("osnet_x1_0", Design(lite=False))["conv2.0.conv2a.bn"] == 4 * (64 * 64 * 9 + 64)
    assert site_bytes("resnet50")["layer4.2.bn2"] == 4 * (512 * 512 * 9 + 512)


def test_sharing_everything_halves_and_owning_everything_buys_nothing() -> None:
    shared = bytes_of(Arch.uniform("resnet50", "shared"))
    assert shared.without_sharing == 2 * shared.total
    assert shared.visible == 0
    own = bytes_of(Arch.uniform("resnet50", "shared", design=Design(own=5)))
    # All but the neck and four constants.
    assert own.shared_once == 4 * (2 * 2048 + 4)


@pytest.mark.parametrize(("backbone", "choice", "own"), [
    *(("osnet_x0_25", choice, own) for choice in CHOICES for own in (0, 2)),
    ("resnet50", "shared", 0), ("resnet50", "split", 3)])
def test_parameters_are_those_of_the_built_networks(backbone: str, choice: Choice, own: int) -> None:
    designs = ([Design(own=own, non_local=True)] if backbone == "resnet50" else
               [Design(own=own), Design(own=own, lite=False, streams=3), Design(own=own, fusion="fixed")])
    for design in designs:
        network = build(Arch.uniform(backbone, choice, design=design))
        size = size_of(network.arch)
        assert size.trained == sum(p.numel() for p in network.parameters())
        assert size.parameters == sum(p.numel() for p in network.plain("visible").parameters())


def macs(network: Network, height: int, width: int) -> int:
    """Multiply-adds of convolutions and Linear for one crop, from the shapes that really occur."""
    counted = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        counted += output[0].numel() * int(np.prod(module.weight.shape[1:]))

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, height, width), torch.zeros(1, dtype=torch.bool))
    return counted


@pytest.mark.parametrize("design", OSNET_DESIGNS)
@pytest.mark.parametrize("size", [(64, 32), (70, 43)])
def test_multiply_adds_are_those_that_happen(design: Design, size: tuple[int, int]) -> None:
    network = build(Arch.uniform("osnet_x0_25", "split", design=design))
    assert size_of(network.arch, *size).macs == macs(network, *size)


@pytest.mark.parametrize("size", [(64, 32), (50, 35)])
def test_multiply_adds_of_resnet50_are_those_that_happen(size: tuple[int, int]) -> None:
    network = build(Arch.uniform("resnet50", "shared", design=Design(own=1)))
    assert size_of(network.arch, *size).macs == macs(network, *size)


def test_a_non_local_block_counts_its_products_of_matrices() -> None:
    plain, more = (size_of(Arch.uniform("resnet50", "shared", design=design)).macs
                   for design in (Design(), Design(non_local=True)))
    # Places at 256x128: 32x16 in the second stage, 16x8 in the third.
    blocks = 2 * [(512, 512)] + 3 * [(1024, 128)]
    assert more - plain == sum(4 * n * c * c // 2 + 2 * n * n * c // 2 for c, n in blocks)


@pytest.mark.parametrize(("streams", "parameters", "macs_at_256x128"), [(1, 0, 0), (2, 2, 2), (3, 5, 5), (4, 9, 9)])
def test_streams_cost_what_is_computed_by_hand(streams: int, parameters: int, macs_at_256x128: int) -> None:
    # x1.0 has two blocks each with 64, 96 and 128 channels inside, on 64x32, 32x16 and 16x8 places.
    stages = ((64, 64 * 32), (96, 32 * 16), (128, 16 * 8))
    lite = sum(2 * (c * c + 9 * c + 2 * c) for c, _ in stages)
    passes = sum(2 * (c * c + 9 * c) * n for c, n in stages)
    gates = sum(2 * 2 * c * (c // 16) for c, _ in stages)
    one = size_of(Arch.uniform("osnet_x1_0", "shared", design=Design(streams=1)))
    some = size_of(Arch.uniform("osnet_x1_0", "shared", design=Design(streams=streams)))
    assert some.parameters - one.parameters == parameters * lite
    assert some.macs - one.macs == macs_at_256x128 * passes + (streams - 1) * gates


def test_full_3x3s_cost_what_is_computed_by_hand() -> None:
    stages = ((64, 64 * 32), (96, 32 * 16), (128, 16 * 8))
    lite, full = (size_of(Arch.uniform("osnet_x1_0", "shared", design=Design(lite=lite))) for lite in (True, False))
    # Ten 3x3s in each of two blocks of a stage: 9 c^2 in place of c^2 + 9 c.
    assert full.parameters - lite.parameters == sum(20 * (8 * c * c - 9 * c) for c, _ in stages)
    assert full.macs - lite.macs == sum(20 * (8 * c * c - 9 * c) * n for c, n in stages)


@pytest.mark.parametrize(("backbone", "design"), [
    *(("osnet_x0_25", design) for design in OSNET_DESIGNS), ("resnet50", Design(non_local=True))])
def test_layers_are_the_networks_own_by_name_and_shape(backbone: str, design: Design) -> None:
    plain = build(Arch.uniform(backbone, "split", design=design)).plain("visible")
    state = plain.state_dict()
    found = list(layers(backbone, design))
    norms = {norm.name for norm in plain.norms() if norm.linear is not None}
    assert {layer.norm for layer in found} - {None} == norms
    assert {f"backbone.{layer.name}.weight": layer.weight for layer in found} == {
        name: tuple(tensor.shape) for name, tensor in state.items() if tensor.ndim > 1}
    assert {f"backbone.{layer.name}.bias" for layer in found if layer.biased} == {
        name for name in state if name.endswith(".bias") and name.rpartition(".")[0].removeprefix("backbone.")
        not in {*norms, "bnneck"}}
