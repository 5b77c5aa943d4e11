"""The linter names the node that breaks a rule of TensorRT's, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.precision.graph import Graph
from export.precision.half import to_half
from export.precision.quantized import quantised, sites
from export.precision.rules import RULES, breaches
from tests.export.precision.graphs import light


class Spoilt:
    """A graph without fault, to spoil."""

    def __init__(self, *, half: bool = False) -> None:
        model = light()
        self.model = quantised(model, dict.fromkeys(sites(Graph(model)), 3.0))
        if half:
            self.model = to_half(self.model)

    def node(self, name: str) -> onnx.NodeProto:
        return next(node for node in self.model.graph.node if node.output[0] == name)

    def tensor(self, name: str, array: npt.ArrayLike, kind: type = np.float32) -> str:
        for tensor in list(self.model.graph.initializer):
            if tensor.name == name:
                self.model.graph.initializer.remove(tensor)
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, kind), name))
        return name

    def before(self, name: str, *nodes: onnx.NodeProto) -> None:
        every = list(self.model.graph.node)
        place = every.index(self.node(name))
        del self.model.graph.node[:]
        self.model.graph.node.extend([*every[:place], *nodes, *every[place:]])

    def pair(self, value: str, reader: str, position: int, scale: npt.ArrayLike = 0.1) -> None:
        """Send what a node reads through int8."""
        self.tensor("new.scale", scale)
        self.tensor("new.zero", np.zeros(np.shape(scale)), np.int8)
        self.before(reader, *_pair(value, "new.scale", "new.zero", "new.int8", "new.again"))
        self.node(reader).input[position] = "new.again"


def _pair(value: str, scale: str, zero: str, narrow: str, wide: str) -> list[onnx.NodeProto]:
    return [helper.make_node("QuantizeLinear", [value, scale, zero], [narrow], narrow),
            helper.make_node("DequantizeLinear", [narrow, scale, zero], [wide], wide)]


def opset(s: Spoilt) -> str:
    s.model.opset_import[0].version = 23
    return s.model.graph.name


def computed_scale(s: Spoilt) -> str:
    s.before("taps.relu.int8", helper.make_node("Identity", [s.tensor("told", 0.1)], ["computed"], "computed"))
    s.node("taps.relu.int8").input[1] = s.node("taps.relu.again").input[1] = "computed"
    return "taps.relu.int8"


def no_scale(s: Spoilt) -> str:
    s.tensor("branch.weight.scale", [0.1, 0, 0.1, 0.1, 0.1, 0.1])
    return "branch.weight.int8"


def subnormal(s: Spoilt) -> str:
    s.tensor("taps.relu.scale", 1e-5, np.float16)
    return "taps.relu.int8"


def wide_scale(s: Spoilt) -> str:
    s.tensor("taps.relu.scale", 0.1)
    return "taps.relu.int8"


def zero_point(s: Spoilt) -> str:
    s.node("taps.relu.int8").input[2] = s.node("taps.relu.again").input[2] = s.tensor("three", 3, np.int8)
    return "taps.relu.int8"


def unsigned(s: Spoilt) -> str:
    s.node("taps.relu.int8").input[2] = s.node("taps.relu.again").input[2] = s.tensor("none", 0, np.uint8)
    return "taps.relu.int8"


def two_scales(s: Spoilt) -> str:
    s.node("taps.relu.again").input[1] = s.tensor("other", 0.2)
    return "taps.relu.int8"


def other_axis(s: Spoilt) -> str:
    for name in ("branch.weight.int8", "branch.weight.again"):
        s.node(name).attribute[0].i = 1
    return "branch"


def many_scales(s: Spoilt) -> str:
    s.tensor("taps.relu.scale", [0.1] * 6)
    for name in ("taps.relu.int8", "taps.relu.again"):
        s.node(name).input[2] = "zeros.6"
    return "taps.relu.int8"


def float_weight(s: Spoilt) -> str:
    s.node("pointwise").input[1] = "pointwise.weight"
    return "pointwise"


def byte_bias(s: Spoilt) -> str:
    s.pair("branch.bias", "branch", 2)
    return "branch"


def before_relu(s: Spoilt) -> str:
    s.pair("depthwise", "taps.relu", 0)
    return "new.again"


def wrong_side(s: Spoilt) -> str:
    s.node("sum").input[1] = "stem.relu"
    s.pair("branch", "sum", 0)
    return "sum"


def both_sides(s: Spoilt) -> str:
    s.pair("branch", "sum", 0)
    return "sum"


def float_identity(s: Spoilt) -> str:
    s.node("sum").input[1] = "stem.relu"
    return "sum"


def byte_head(s: Spoilt) -> str:
    s.pair("flat", "last", 0)
    s.before("last", *_pair("last.weight", "new.scale", "new.zero", "w8", "w"))
    s.node("last").input[1] = "w"
    return "last"


def byte_mean(s: Spoilt) -> str:
    s.pair("sum.relu", "mean", 0)
    return "mean"


def joined(s: Spoilt) -> str:
    s.pair("sum.relu", "mean", 0)
    s.before("mean", helper.make_node("Concat", ["new.again", "stem.relu.again"], ["joined"], "joined", axis=2))
    s.node("mean").input[0] = "joined"
    return "joined"


def padded(s: Spoilt) -> str:
    s.before("stem.relu.int8", helper.make_node("Pad", ["stem.relu", s.tensor("pads", [0] * 8, np.int64)], ["padded"],
                                                "padded"))
    s.node("stem.relu.int8").input[0] = "padded"
    return "stem.relu.again"


SPOILERS: dict[str, tuple[Callable[[Spoilt], str], ...]] = {
    "opset 19 to 22": (opset,),
    "scales are constants": (computed_scale,),
    "scales are positive": (no_scale,),
    "half-precision scales are normal numbers": (subnormal,),
    "scales are of the precision of the weights beside": (wide_scale,),
    "zero points are zero": (zero_point,),
    "integers are signed bytes": (unsigned,),
    "pairs share their scale": (two_scales,),
    "weights by output channel": (other_axis,),
    "activations by tensor": (many_scales,),
    "both inputs of a product": (float_weight,),
    "biases are float": (byte_bias,),
    "nothing between a convolution and its ReLU": (before_relu,),
    "of a residual sum the identity alone": (wrong_side, both_sides, float_identity),
    "gates and heads are float": (byte_head,),
    "means, norms and sigmoids read float": (byte_mean,),
    "one scale for what is joined": (joined,),
    "nothing between padding and its convolution": (padded,),
}
HALF = (subnormal, wide_scale)


def test_every_rule_has_a_graph_that_breaks_it() -> None:
    assert list(SPOILERS) == list(RULES)


@pytest.mark.parametrize("half", [False, True])
def test_what_this_room_makes_breaks_no_rule(half: bool) -> None:
    assert breaches(Spoilt(half=half).model) == []
    assert breaches(light()) == []


@pytest.mark.parametrize(("rule", "spoil"), [(rule, spoil) for rule, some in SPOILERS.items() for spoil in some])
def test_a_graph_that_breaks_one_rule_is_told_so_by_node_and_rule(rule: str, spoil: Callable[[Spoilt], str]) -> None:
    spoilt = Spoilt(half=spoil in HALF)
    node = spoil(spoilt)
    found = breaches(spoilt.model)
    assert {breach.rule for breach in found} == {rule}
    assert node in {breach.node for breach in found}
    assert len({breach.node.removesuffix(".int8").removesuffix(".again") for breach in found}) == 1
    assert str(found[0]).startswith(f"{found[0].node}: ")


def test_weights_that_are_bytes_already_are_as_good_as_a_pair() -> None:
    s = Spoilt()
    s.node("branch.weight.again").input[0] = s.tensor("bytes", np.ones((6, 6, 1, 1)), np.int8)
    s.model.graph.node.remove(s.node("branch.weight.int8"))
    assert breaches(s.model) == []
    s.tensor("bytes", np.ones((6, 6, 1, 1)), np.uint8)
    assert [breach.rule for breach in breaches(s.model)] == ["integers are signed bytes"]


def test_scales_of_a_transposed_convolution_lie_on_its_second_axis() -> None:
    nodes = [helper.make_node("DequantizeLinear", ["w8", "s", "z"], ["w"], "w", axis=1),
             helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["x8"], "x8"),
             helper.make_node("DequantizeLinear", ["x8", "one", "zero"], ["xf"], "xf"),
             helper.make_node("ConvTranspose", ["xf", "w"], ["y"], "y")]
    constants = {"w8": np.ones((4, 6, 1, 1), np.int8), "s": np.ones(6, np.float32), "z": np.zeros(6, np.int8),
                 "one": np.ones((), np.float32), "zero": np.zeros((), np.int8)}
    graph = helper.make_graph(nodes, "up", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 2, 2])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6, 2, 2])],
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    assert breaches(model) == []
    nodes[0].attribute[0].i = 0
    model.graph.node[0].attribute[0].i = 0
    assert [breach.rule for breach in breaches(model)] == ["weights by output channel"]
