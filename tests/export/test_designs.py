"""Whatever a network is built of, each modality leaves as a plain graph that says the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cmnas_edge.embedding import MODALITIES
from export.fold import fold
from export.parity import by_folded, by_network, by_onnx, compare, enforce
from export.to_onnx import to_onnx
from tests.export.networks import drawn_crops, drawn_network
from train.networks.design import Design

HEIGHT, WIDTH = 32, 16
DESIGNS = [
    ("osnet_x0_25", Design(streams=1, fusion="gate_per_stream")),
    ("osnet_x0_25", Design(streams=2, fusion="gate_per_stream", own=1)),
    ("osnet_x0_25", Design(streams=3, fusion="fixed")),
    ("osnet_x0_25", Design(streams=1, fusion="fixed", pool="gem")),
    ("osnet_x0_25", Design(fusion="scalar_gate", own=4)),
    ("osnet_x0_25", Design(fusion="sum", pool="gem", own=2)),
    ("osnet_x0_25", Design(lite=False, streams=2, own=3)),
    ("resnet50", Design(own=4, non_local=True)),
]


@pytest.mark.parametrize(("backbone", "design"), DESIGNS)
def test_every_design_says_the_same_folded_and_on_onnx_runtime(backbone: str, design: Design) -> None:
    network, crops = drawn_network(1, backbone, design=design), drawn_crops(1)
    said = []
    for modality in MODALITIES:
        folded = fold(network, modality)
        model = to_onnx(folded, HEIGHT, WIDTH, network.dimension)
        trained = by_network(network, crops, modality)
        enforce([compare(modality, "folded", trained, by_folded(folded, crops)),
                 compare(modality, "onnx", trained, by_onnx(model, crops))])
        said.append(trained)
        assert not {tensor.name for tensor in model.graph.initializer} - {
            name for node in model.graph.node for name in node.input}
        assert {node.domain for node in model.graph.node} == {""}
    assert np.abs(said[0] - said[1]).max() > 1e-3
    # Rows of a crop without any other crop's influence, and crops that differ.
    assert np.abs(said[0][0] - said[0][1]).max() > 1e-3


def test_non_local_blocks_matter_and_are_written_with_two_products() -> None:
    network, crops = drawn_network(2, "resnet50", "shared", design=Design(non_local=True)), drawn_crops(2, 2)
    model = to_onnx(fold(network, "visible"), HEIGHT, WIDTH, network.dimension)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert (kinds["MatMul"], kinds["Reshape"], kinds["Conv"]) == (10, 20, 53 + 20)
    with_blocks = by_network(network, crops, "visible")
    for norm in network.norms():
        if norm.name.endswith("non_local.norm"):
            for parameter in norm.norm.parameters():
                parameter.data.zero_()
    assert np.abs(by_network(network, crops, "visible") - with_blocks).max() > 1e-3


def test_the_places_of_a_non_local_block_are_those_of_the_size_exported_for() -> None:
    network = drawn_network(3, "resnet50", design=Design(own=1, non_local=True, pool="gem"))  # AGW
    crops = drawn_crops(3, 2, 64, 48)
    model = to_onnx(fold(network, "infrared"), 64, 48, network.dimension)
    enforce([compare("infrared", "onnx", by_network(network, crops, "infrared"), by_onnx(model, crops))])


def test_a_part_that_a_modality_owns_is_written_under_its_plain_name() -> None:
    network = drawn_network(4, design=Design(own=2))
    plain = drawn_network(4, choice="shared")
    names = [{tensor.name for tensor in to_onnx(fold(each, "infrared"), HEIGHT, WIDTH, 512).graph.initializer}
             for each in (network, plain)]
    assert names[0] == names[1]


def test_an_empty_map_pools_to_zeros_not_to_nan() -> None:
    network = drawn_network(5, choice="shared", design=Design(pool="gem"))
    norm = network.sites()[-2].norm  # behind conv5
    assert norm.bias is not None
    norm.bias.data.fill_(-1e3)
    model = to_onnx(fold(network, "visible"), HEIGHT, WIDTH, 512)
    found = by_onnx(model, drawn_crops(5, 1))
    np.testing.assert_allclose(found, by_network(network, drawn_crops(5, 1), "visible"), atol=1e-5)
    assert bool(np.isfinite(found).all())
