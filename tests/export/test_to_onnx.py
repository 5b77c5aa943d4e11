"""The graph is plain, takes crops as OpenCV gives them, and says what the network says."""

from __future__ import annotations

import copy
from collections import Counter
from typing import cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn

from cmnas_edge.embedding import MODALITIES, Modality
from export.fold import fold
from export.parity import by_folded, by_network, by_onnx, compare
from export.to_onnx import to_onnx
from tests.export.networks import drawn_crops, drawn_network, seeds
from train.networks.build import Network

HEIGHT, WIDTH = 32, 16


def written(network: Network, modality: Modality = "visible") -> onnx.ModelProto:
    return to_onnx(fold(network, modality), HEIGHT, WIDTH, network.dimension)


@pytest.fixture(scope="module")
def osnet() -> Network:
    return drawn_network(0)


@pytest.fixture(scope="module")
def model(osnet: Network) -> onnx.ModelProto:
    return written(osnet)


@settings(max_examples=8, deadline=None)
@given(seeds, st.sampled_from(MODALITIES))
def test_any_architecture_with_any_statistics_says_the_same_on_onnx_runtime(seed: int, modality: Modality) -> None:
    network, crops = drawn_network(seed), drawn_crops(seed)
    step = compare(modality, "onnx", by_network(network, crops, modality), by_onnx(written(network, modality), crops))
    assert step.cosine_distance < 1e-6
    assert step.absolute_error < 1e-5


def test_resnet_says_the_same_on_onnx_runtime() -> None:
    network, crops = drawn_network(1, "resnet50"), drawn_crops(1, 2)
    step = compare("infrared", "onnx", by_network(network, crops, "infrared"),
                   by_onnx(written(network, "infrared"), crops))
    assert step.absolute_error < 1e-5


def test_the_graph_holds_only_plain_operations(model: onnx.ModelProto) -> None:
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds == {"Conv": 187, "Relu": 101, "GlobalAveragePool": 25, "Sigmoid": 24, "Mul": 24, "Add": 24,
                     "AveragePool": 2, "MaxPool": 1, "Flatten": 1, "Gemm": 1, "Transpose": 1, "Cast": 1, "Sub": 1,
                     "ReduceL2": 1, "Max": 1, "Div": 1}
    assert {node.domain for node in model.graph.node} == {""}


def test_every_initializer_is_used_and_none_is_an_input(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    names = [tensor.name for tensor in model.graph.initializer]
    assert set(names) <= used
    assert len(set(names)) == len(names)
    assert [value.name for value in model.graph.input] == ["crops"]


def test_old_runtimes_can_read_it(model: onnx.ModelProto) -> None:
    assert model.ir_version <= 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]


def test_it_takes_any_number_of_uint8_crops_and_gives_float32(model: onnx.ModelProto) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    crops, embeddings = session.get_inputs()[0], session.get_outputs()[0]
    assert (crops.name, crops.type, crops.shape) == ("crops", "tensor(uint8)", ["n", HEIGHT, WIDTH, 3])
    assert (embeddings.name, embeddings.type, embeddings.shape) == ("embeddings", "tensor(float)", ["n", 512])
    for n in (1, 2, 9):
        assert session.run(None, {"crops": drawn_crops(0, n)})[0].shape == (n, 512)


def test_every_row_has_length_one(model: onnx.ModelProto) -> None:
    np.testing.assert_allclose(np.linalg.norm(by_onnx(model, drawn_crops(2, 6)), axis=1), 1, atol=1e-5)


def test_blue_comes_first(model: onnx.ModelProto, osnet: Network) -> None:
    crops = drawn_crops(3)
    right = by_network(osnet, crops, "visible")
    assert np.abs(by_onnx(model, crops) - right).max() < 1e-5
    assert np.abs(by_onnx(model, crops[..., ::-1].copy()) - right).max() > 1e-3


@pytest.mark.parametrize("level", [0, 255])
def test_borders_are_exact(model: onnx.ModelProto, osnet: Network, level: int) -> None:
    # On a flat crop the zero padding is the only edge there is: a mean folded through it shows at once.
    crops = np.full((1, HEIGHT, WIDTH, 3), level, np.uint8)
    assert np.abs(by_onnx(model, crops) - by_network(osnet, crops, "visible")).max() < 1e-5


def test_a_crop_without_any_response_gives_zeros_not_nan() -> None:
    network = drawn_network(4, choice="shared")
    with torch.no_grad():
        network.backbone.get_submodule("fc.1").bias.fill_(-1e3)  # below every ReLU
    assert not by_onnx(written(network), drawn_crops(4)).any()


def test_the_shared_gate_is_written_once_and_used_by_every_stream(model: onnx.ModelProto) -> None:
    uses = Counter(name for node in model.graph.node for name in node.input)
    assert uses["conv2.0.gate.fc1.weight"] == 4


def test_writing_twice_gives_the_same_bytes(osnet: Network, model: onnx.ModelProto) -> None:
    assert written(osnet).SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


class _Strange(nn.Module):
    def __init__(self, then: str) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.then = then

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x)
        if self.then == "softmax":
            return torch.softmax(y, 1)
        if self.then == "mean":
            return y.mean((1, 2))
        if self.then == "scale":
            return y * 2
        if self.then == "pool":
            return nn.functional.max_pool2d(y, 3, ceil_mode=True)
        return y + x.mean((2, 3), keepdim=True)


@pytest.mark.parametrize(("then", "words"), [
    ("softmax", "vocabulary.*softmax"), ("mean", "mean over rows and columns"), ("scale", "only tensors"),
    ("pool", "ceil"), ("second use", "one convolution of 3 channels")])
def test_what_the_vocabulary_lacks_is_refused_by_name(then: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_onnx(cast("fx.GraphModule", fx.symbolic_trace(_Strange(then))), HEIGHT, WIDTH, 4)


def test_writing_leaves_the_folded_network_as_it_was(osnet: Network) -> None:
    folded = fold(osnet, "visible")
    crops = drawn_crops(5)
    before = by_folded(copy.deepcopy(folded), crops)
    to_onnx(folded, HEIGHT, WIDTH, 512)
    np.testing.assert_array_equal(by_folded(folded, crops), before)
