"""Where int8 begins and ends in a graph, what moves before it without a change, and how ranges are found."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from export.fold import fold
from export.parity import by_onnx
from export.precision import METHODS, quantized, ranges
from export.precision.equalisation import equalised, pairs
from export.precision.graph import Graph
from export.precision.half import SMALLEST_NORMAL, to_half
from export.precision.probe import values
from export.precision.quantized import lifted, quantised, sites
from export.precision.rounding import in_half
from export.precision.rules import breaches
from export.to_onnx import to_onnx
from tests.export.networks import drawn_crops, drawn_network
from tests.export.precision.graphs import Sketch, crops, light


@pytest.fixture(scope="module")
def plain() -> onnx.ModelProto:
    network = drawn_network(5)
    return to_onnx(fold(network, "visible"), 32, 16, network.dimension)


@pytest.fixture(scope="module")
def int8(plain: onnx.ModelProto) -> onnx.ModelProto:
    model = lifted(plain)
    return quantised(model, ranges.reach(model, sites(Graph(model)), drawn_crops(1, 8), "minmax"))


def test_of_osnet_every_convolution_of_a_map_is_int8_and_nothing_else_is(int8: onnx.ModelProto) -> None:
    graph = Graph(int8)
    for node in graph.nodes:
        inside = [graph.made_by(name) == "DequantizeLinear" for name in node.input]
        if node.op_type == "Conv":
            gate = ".gate." in (node.input[1])
            assert inside[:2] == [not gate, not gate], node.name
            assert not any(inside[2:]), node.name
        elif node.op_type == "Add" and any(graph.made_by(name) == "Conv" for name in node.input):
            made = [graph.made_by(name) for name in node.input]
            assert sorted(made) == ["Conv", "DequantizeLinear"], node.name
            branch = node.input[made.index("Conv")]
            assert "conv3" in graph.producer[branch].input[1], "the shortcut is the identity side"
        elif node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            assert not any(inside), node.name
    assert sum(node.op_type == "Add" and "DequantizeLinear" in map(graph.made_by, node.input)
               for node in graph.nodes) == 6


def test_one_value_has_one_pair_and_every_weight_its_own(int8: onnx.ModelProto) -> None:
    read = [node.input[0] for node in int8.graph.node if node.op_type == "QuantizeLinear"]
    assert len(read) == len(set(read))
    assert breaches(int8) == []
    assert breaches(to_half(int8)) == []


def test_scales_are_normal_in_half_even_of_channels_that_are_dead() -> None:
    model = light()
    dead = next(tensor for tensor in model.graph.initializer if tensor.name == "branch.weight")
    weight = onnx.numpy_helper.to_array(dead).copy()
    weight[2] = 0
    dead.CopyFrom(onnx.numpy_helper.from_array(weight, dead.name))
    made = quantised(model, dict.fromkeys(sites(Graph(model)), 0.0))
    for tensor in made.graph.initializer:
        if tensor.name.endswith(".scale"):
            assert (onnx.numpy_helper.to_array(tensor) >= SMALLEST_NORMAL).all()
    half = to_half(made)
    assert {tensor.data_type for tensor in half.graph.initializer if tensor.name.endswith(".scale")} == {
        TensorProto.FLOAT16}
    assert np.isfinite(by_onnx(in_half(half), crops())).all()


def test_lifting_the_first_weights_changes_no_digit_and_keeps_their_scales_normal(plain: onnx.ModelProto) -> None:
    some = drawn_crops(2)
    assert np.array_equal(by_onnx(lifted(plain), some), by_onnx(plain, some))
    weight = Graph(lifted(plain)).number("conv1.conv.weight")
    assert np.abs(Graph(plain).number("conv1.conv.weight")).max() / 127 < SMALLEST_NORMAL
    assert np.abs(weight).max() / 127 > SMALLEST_NORMAL


def test_int8_is_close_to_what_it_was_made_from(plain: onnx.ModelProto, int8: onnx.ModelProto) -> None:
    some = drawn_crops(1, 8)
    exact = by_onnx(plain, some)
    assert (exact * by_onnx(int8, some)).sum(1).min() > 0.98
    assert (exact * by_onnx(in_half(to_half(int8)), some)).sum(1).min() > 0.98


@settings(max_examples=8)
# Reaches so near each other that no factor is cut off at 256.
@given(st.integers(0, 1000), st.lists(st.floats(0.5, 20), min_size=6, max_size=6))
def test_a_factor_moves_from_pointwise_to_depthwise_without_a_change(seed: int, reach: list[float]) -> None:
    model, some = light(seed, reach=reach), crops(4)
    moved = equalised(model, some)
    assert np.abs(by_onnx(moved, some) - by_onnx(model, some)).max() < 1e-5
    widest = np.abs(next(values(moved, ["pointwise"], some))["pointwise"]).max((0, 2, 3))
    assert widest.max() <= widest[widest > 0].min() * 1.01


def test_equal_channels_are_told_apart_by_int8_and_unequal_ones_are_not() -> None:
    model, some = light(3, reach=[1, 1, 1, 30, 100, 200]), crops()
    exact = by_onnx(model, some)
    worst = {}
    for name, base in (("as they are", model), ("equalised", equalised(model, some))):
        made = quantised(base, ranges.reach(base, sites(Graph(base)), some, "minmax"))
        worst[name] = float((1 - (exact * by_onnx(made, some)).sum(1)).max())
    assert worst["equalised"] < worst["as they are"] / 2


@pytest.mark.parametrize("between", ["relu", "second reader", "shared weight"])
def test_a_factor_does_not_move_past_what_would_feel_it(between: str) -> None:
    s = Sketch()
    value = s.node("Relu", [s.convolution(s.start(), "stem", 6, 3, 3)], "stem.relu")
    point = s.convolution(value, "pointwise", 6, 6)
    taps = s.convolution(s.node("Relu", [point], "felt") if between == "relu" else point, "depthwise", 6, 6, 3,
                         depthwise=True)
    if between == "second reader":
        taps = s.node("Add", [taps, point], "sum")
    if between == "shared weight":
        s.nodes.append(onnx.helper.make_node("Conv", [taps, "pointwise.weight"], ["again"], "again"))
        taps = "again"
    assert pairs(Graph(s.finish(taps, 6))) == []
    assert len(pairs(Graph(light()))) == 1


def test_of_two_convolutions_that_are_added_the_shallower_is_the_identity() -> None:
    for order in ((0, 1), (1, 0)):
        s = Sketch()
        stem = s.node("Relu", [s.convolution(s.start(), "stem", 6, 3)], "stem.relu")
        deep = s.convolution(s.node("Relu", [s.convolution(stem, "one", 6, 6)], "one.relu"), "two", 6, 6)
        both = [deep, s.convolution(stem, "down", 6, 6)]
        s.node("Add", [both[order[0]], both[order[1]]], "sum")
        graph = Graph(s.finish("sum", 6))
        assert quantized.identity_side(graph, graph.producer["sum"]) == order.index(1)


@pytest.mark.parametrize("seed", [0, 1])
def test_cuts_agree_with_onnx_runtimes_calibrators(seed: int) -> None:
    from onnxruntime.quantization.calibrate import HistogramCollector
    rng = np.random.default_rng(seed)
    sample = np.abs(rng.laplace(0, 1, 20_000) * rng.choice([0.2, 1, 5], 20_000)).astype(np.float32)
    counts, edges = np.histogram(sample, bins=2048, range=(0, float(sample.max())))
    cut = ranges.percentile(counts) * edges[1]
    assert np.quantile(sample, ranges.KEPT) <= cut + 1e-3
    assert (sample > cut).mean() <= 1 - ranges.KEPT + 1e-12
    # Theirs looks at both signs, in coarser bins here (it takes its time), and at each cut; ours at every eighth.
    both = np.concatenate([sample, -sample])
    top = float(sample.max())
    collector = HistogramCollector("entropy", True, 1023, 255, 99.999, "same")
    histogram = (*np.histogram(both, bins=1023, range=(-top, top)), -top, top)
    theirs = float(np.ravel(collector.get_entropy_threshold(histogram, 255)[1])[0])
    ours = ranges.entropy(counts) * top / 2048
    assert 0.5 < ours / theirs < 2


def test_ranges_are_of_the_crops_they_are_given_and_of_each_method() -> None:
    model, some = light(), crops(12)
    found = {method: ranges.reach(model, ["stem.relu"], some, method)["stem.relu"] for method in METHODS}
    every = np.concatenate([batch["stem.relu"].ravel() for batch in values(model, ["stem.relu"], some)])
    assert found["minmax"] == pytest.approx(every.max())
    assert found["entropy"] <= found["percentile"] <= found["minmax"] * 1.001
    assert ranges.reach(model, ["stem.relu"], some[-2:-1] * 0, "entropy")["stem.relu"] < found["minmax"]
