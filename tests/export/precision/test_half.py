"""Half precision is judged as hardware has it, not as a processor pretends it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from export.parity import by_onnx
from export.precision import overflow
from export.precision.half import to_half
from export.precision.rounding import in_bfloat16, in_half
from export.to_onnx import SHORTEST, to_onnx
from tests.export.networks import drawn_crops, drawn_network
from tests.export.precision.graphs import Sketch, crops, light, overflowing
from tests.export.precision.torch_half import by_torch
from train.networks.build import Network


@pytest.fixture(scope="module")
def network() -> Network:
    return drawn_network(3)


@pytest.fixture(scope="module")
def written(network: Network) -> onnx.ModelProto:
    from export.fold import fold
    return to_onnx(fold(network, "infrared"), 32, 16, network.dimension)


def test_all_but_the_head_is_half_and_the_outside_stays_as_it_was(written: onnx.ModelProto) -> None:
    half = to_half(written)
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert {kind for name, kind in kinds.items() if name.endswith(("weight", "bias"))} == {TensorProto.FLOAT16}
    assert half.graph.input == written.graph.input
    assert half.graph.output == written.graph.output
    casts = [(node.input[0], node.output[0]) for node in half.graph.node if node.op_type == "Cast"]
    assert len(casts) == 2, casts
    shortest = next(tensor for tensor in half.graph.initializer if tensor.name == "unit.shortest")
    assert numpy_helper.to_array(shortest) == np.float32(SHORTEST)
    assert shortest.data_type == TensorProto.FLOAT


def test_a_crop_without_response_is_zeros_in_half_too(written: onnx.ModelProto) -> None:
    dead = onnx.ModelProto()
    dead.CopyFrom(written)
    for tensor in dead.graph.initializer:
        if tensor.name.startswith("fc.0"):
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tuple(tensor.dims), np.float32), tensor.name))
    assert not by_onnx(in_half(to_half(dead)), drawn_crops(0)).any()


@pytest.mark.parametrize(("kind", "kept_bits"), [("half", 11), ("bfloat16", 8)])
def test_rounding_every_value_is_what_torch_computes_in_that_precision(kind: str, kept_bits: int) -> None:
    # torch rounds every value that leaves a layer, too; between, both add up wide. What is left are ties
    # and the order of sums, each of which moves an entry by a step of the precision or not at all.
    model, some = light(4), crops()
    ours = by_onnx(in_half(to_half(model)) if kind == "half" else in_bfloat16(model), some)
    theirs = by_torch(model, some, torch.float16 if kind == "half" else torch.bfloat16)
    exact = by_onnx(model, some)
    assert np.abs(ours - theirs).max() < 2.0**-kept_bits
    assert np.abs(ours - exact).max() > np.abs(exact).max() * 2.0**-(kept_bits + 6), "nothing was rounded"


@given(st.integers(0, 2**32 - 1))
def test_bfloat16_constants_are_rounded_to_the_nearest_and_ties_to_even(bits: int) -> None:
    from export.precision.rounding import _rounded
    value = np.array([bits], np.uint32).view(np.float32)
    if not np.isfinite(value).all() or np.abs(value) > 3.3e38:
        return
    ours = numpy_helper.to_array(_rounded(numpy_helper.from_array(value, "x")))
    assert ours.view(np.uint32) == torch.from_numpy(value).bfloat16().float().numpy().view(np.uint32)


def test_a_processor_lets_an_overflow_pass_and_rounding_does_not() -> None:
    model, some = overflowing(), crops()
    assert np.isfinite(by_onnx(to_half(model), some)).all(), "the processor has become honest: this room can go"
    assert not np.isfinite(by_onnx(in_half(to_half(model)), some)).all()


def test_a_planted_overflow_is_named_with_how_far_it_goes() -> None:
    found = overflow.too_large(overflowing(), crops())
    assert list(found) == ["up"]
    assert found["up"] == pytest.approx(160_000, rel=1e-3)
    assert "up 160,000" in overflow.told(found)
    assert not overflow.too_large(overflowing(29_000), crops())


def test_a_constant_that_half_cannot_hold_and_a_value_that_is_no_number_are_named() -> None:
    model = light()
    for tensor in model.graph.initializer:
        if tensor.name == "branch.bias":
            tensor.CopyFrom(numpy_helper.from_array(np.full(6, 7e4, np.float32), tensor.name))
        if tensor.name == "last.weight":
            tensor.CopyFrom(numpy_helper.from_array(np.full((8, 6), np.nan, np.float32), tensor.name))
    found = overflow.too_large(model, crops())
    assert {"branch.bias", "last.weight", "embeddings"} <= set(found)
    assert not np.isfinite(next(iter(found.values())))


def test_graphs_that_cannot_be_half_are_a_programmers_mistake() -> None:
    sketch = Sketch()
    with pytest.raises(ValueError, match="opset 19"):
        to_half(sketch.finish(sketch.start(), 3, opset=18))
    bare = light()
    del bare.graph.node[-3:]
    with pytest.raises(ValueError, match="unit vectors"):
        to_half(bare)
