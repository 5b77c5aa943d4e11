"""Folding changes where a number is kept, not what is computed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cmnas_edge.embedding import MODALITIES, Modality
from export.fold import Affine, fold
from export.parity import by_folded, by_network, compare
from tests.export.networks import drawn_crops, drawn_network, seeds
from train.networks.modality_bn import ModalityBatchNorm


@settings(max_examples=8, deadline=None)
@given(seeds, st.sampled_from(MODALITIES))
def test_any_architecture_with_any_statistics_folds_to_the_same_embeddings(seed: int, modality: Modality) -> None:
    network, crops = drawn_network(seed), drawn_crops(seed)
    step = compare(modality, "fold", by_network(network, crops, modality), by_folded(fold(network, modality), crops))
    assert step.cosine_distance < 1e-6
    assert step.absolute_error < 1e-5


def test_the_modalities_of_a_split_network_fold_to_different_ones_and_of_a_shared_to_the_same() -> None:
    crops = drawn_crops(1)
    for choice, same in (("split", False), ("split_statistics", False), ("shared", True)):
        network = drawn_network(1, choice=choice)
        a, b = (by_folded(fold(network, modality), crops) for modality in MODALITIES)
        assert (abs(a - b).max() < 1e-6) == same


@pytest.mark.parametrize(("backbone", "layers"), [("osnet_x0_25", 187), ("resnet50", 53)])
def test_no_norm_is_left_and_every_layer_that_had_one_has_a_bias(backbone: str, layers: int) -> None:
    network = drawn_network(2, backbone)
    folded = fold(network, "infrared")
    assert not [m for m in folded.modules() if isinstance(m, (ModalityBatchNorm, nn.BatchNorm1d, nn.BatchNorm2d))]
    steps = [node for node in folded.graph.nodes if node.op == "call_module"]
    assert sum(isinstance(folded.get_submodule(str(s.target)), nn.Conv2d) for s in steps) == layers
    biased = [folded.get_submodule(str(s.target)) for s in steps]
    # 60 pointwise halves of OSNet's Lite 3x3 have no norm and stay without a bias.
    without = sum(m.bias is None for m in biased if isinstance(m, nn.Conv2d))
    assert without == (60 if backbone == "osnet_x0_25" else 0)


def test_the_bnneck_becomes_one_multiply_add() -> None:
    network = drawn_network(3, "resnet50")
    folded = fold(network, "visible")
    affine = [m for m in folded.modules() if isinstance(m, Affine)]
    assert len(affine) == 1
    scale, shift = network.sites()[-1].norm.affine("visible")
    torch.testing.assert_close(affine[0].scale, scale.float(), rtol=0, atol=0)
    torch.testing.assert_close(affine[0].shift, shift.float(), rtol=0, atol=0)
    crops = drawn_crops(3, 2)
    assert compare("visible", "fold", by_network(network, crops, "visible"),
                   by_folded(folded, crops)).absolute_error < 1e-5


def test_weights_are_rounded_once_from_float64() -> None:
    network = drawn_network(4)
    folded = fold(network, "infrared")
    for site in network.sites():
        assert site.linear is not None
        name = next(n for n, m in network.named_modules() if m is site.linear)
        scale, _ = site.norm.affine("infrared")
        weight = site.linear.weight.detach().double()
        exact = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        assert torch.equal(folded.get_submodule(name).weight, exact.float())


def test_folding_leaves_the_network_as_it_was() -> None:
    network = drawn_network(5).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fold(network, "visible")
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert network.training


def test_a_norm_that_is_no_site_is_not_lost_in_silence() -> None:
    network = drawn_network(6)
    network.backbone.add_module("extra", nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match="extra"):
        fold(network, "visible")
