"""A folded network as one plain ONNX graph: uint8 crops in, unit vectors out.

The graph is written node by node from the folded network's trace. ``torch.onnx`` would need
another package and leaves behind what engines trip over: expanded zero biases that keep ONNX
Runtime from fusing anything (2.4 times slower), shape arithmetic, names that change with every
version. The vocabulary here is the dozen operations these networks are made of; anything
else is refused by name.

Colour order and scale fold exactly into the first convolution. The mean does not: the
convolution pads with zeros, which after the mean is taken off *are* the mean, so folding it
into the bias would change border pixels. It is one subtraction in front.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from cmnas_edge.preprocess import MEAN, STD
from export.fold import Affine
from train.networks.non_local import NonLocal
from train.networks.osnet import FixedWeights
from train.networks.pooling import EXPONENT, SMALLEST, GeneralisedMean

__all__ = ["IR_VERSION", "OPSET", "SHORTEST", "to_onnx"]

OPSET = 19
# Python 3.10's last ONNX Runtime, 1.23.2, reads up to IR 10; opset 19 needs no more than 9.
IR_VERSION = 9
# No embedding of a trained network is this short. Below it a row is scaled by 1 / SHORTEST, so that
# a crop without any response gives zeros, not NaN. Half precision can hold the number.
SHORTEST = 1e-6


def to_onnx(folded: fx.GraphModule, height: int, width: int, dimension: int) -> onnx.ModelProto:
    """Write a folded network as ONNX.

    Args:
        folded: From `export.fold.fold`.
        height: Rows of a crop.
        width: Columns of a crop.
        dimension: Entries of an embedding.

    Returns:
        A model with input ``crops``, uint8 ``(n, height, width, 3)``, BGR, and output
        ``embeddings``, float32 ``(n, dimension)`` of unit length, for any n from 1 up; its
        weights are inside.

    Raises:
        ValueError: The network does something the vocabulary lacks.
    """
    writer = _Writer(folded, height, width)
    writer.write()
    graph = helper.make_graph(
        writer.nodes, "embed",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", height, width, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dimension])],
        [numpy_helper.from_array(array, name) for name, array in writer.tensors.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                              producer_name="cmnas-edge")
    onnx.checker.check_model(model, full_check=True)
    return model


class _Writer:
    """Walks a trace and appends a node for each step; every value keeps the trace's name."""

    def __init__(self, folded: fx.GraphModule, height: int, width: int) -> None:
        self.folded = folded
        self.size = height, width
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, npt.NDArray[Any]] = {}
        self._modules = dict(folded.named_modules())

    def write(self) -> None:
        """Preprocessing, the traced network, unit length."""
        for step in self.folded.graph.nodes:
            if step.op == "placeholder":
                self._preprocess(step)
            elif step.op == "output":
                self._unit(cast("fx.Node", step.args[0]).name)
            else:
                self._rule(step)(self, step)

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> str:
        """Append a node of one output and return that output's name."""
        node = helper.make_node(kind, inputs, [output], name=output)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)
        return output

    def tensor(self, name: str, value: npt.NDArray[Any] | Tensor) -> str:
        """Keep a constant under a name; a layer used twice is kept once."""
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        self.tensors.setdefault(name, np.ascontiguousarray(array))
        return name

    def module(self, step: fx.Node) -> tuple[nn.Module, str]:
        """The layer a step calls, and its name in the network."""
        target = str(step.target)
        return self._modules[target], target.removeprefix("backbone.")

    def map_size(self, step: fx.Node) -> tuple[int, int]:
        """Rows and columns of the map that a step gives, for crops of this size."""
        if "tensor_meta" not in step.meta:
            with torch.no_grad():
                ShapeProp(self.folded).propagate(torch.zeros(1, 3, *self.size))
        _, _, height, width = step.meta["tensor_meta"].shape
        return height, width

    def _rule(self, step: fx.Node) -> Callable[[_Writer, fx.Node], None]:
        called = type(self._modules[str(step.target)]) if step.op == "call_module" else step.target
        if rule := _RULES.get(called):
            return rule
        raise ValueError(f"{step.name}: expected an operation of the export's vocabulary, found {called}; "
                         "write a rule for it in export/to_onnx.py")

    def _preprocess(self, step: fx.Node) -> None:
        users = list(step.users)
        stem = self._modules.get(str(users[0].target)) if len(users) == 1 else None
        if not isinstance(stem, nn.Conv2d) or stem.in_channels != 3:
            raise ValueError(f"expected one convolution of 3 channels to take the crops, found {users}")
        # (bgr - 255 mean) goes in; 1 / (255 std) and the order of the channels are the stem's.
        scale = 1 / (255 * torch.tensor(STD, dtype=torch.float64))
        weight = (stem.weight.detach().double() * scale.view(1, 3, 1, 1)).flip(1)
        self.tensor(f"{self.module(users[0])[1]}.weight", weight.to(torch.float32))
        mean = self.tensor("crops.mean", (255 * np.array(MEAN[::-1])).astype(np.float32).reshape(1, 3, 1, 1))
        planes = self.node("Transpose", ["crops"], "crops.nchw", perm=[0, 3, 1, 2])
        self.node("Sub", [self.node("Cast", [planes], "crops.float", to=TensorProto.FLOAT), mean], step.name)

    def _unit(self, value: str) -> None:
        axes = self.tensor("unit.axes", np.array([1], np.int64))
        shortest = self.tensor("unit.shortest", np.array(SHORTEST, np.float32))
        length = self.node("ReduceL2", [value, axes], "unit.length", keepdims=1)
        self.node("Div", [value, self.node("Max", [length, shortest], "unit.divisor")], "embeddings")


def _inputs(step: fx.Node) -> list[str]:
    return [arg.name for arg in step.args if isinstance(arg, fx.Node)]


def _pair(value: Any) -> list[int]:  # torch takes a number or one per axis
    return [value, value] if isinstance(value, int) else list(value)


def _convolution(writer: _Writer, step: fx.Node) -> None:
    module, name = writer.module(step)
    conv = cast("nn.Conv2d", module)
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise ValueError(f"{name}: expected zero padding given as numbers, found {conv.padding}")
    inputs = [*_inputs(step), writer.tensor(f"{name}.weight", conv.weight)]
    if conv.bias is not None:
        inputs.append(writer.tensor(f"{name}.bias", conv.bias))
    writer.node("Conv", inputs, step.name, kernel_shape=_pair(conv.kernel_size), strides=_pair(conv.stride),
                pads=_pair(conv.padding) * 2, dilations=_pair(conv.dilation), group=conv.groups)


def _linear(writer: _Writer, step: fx.Node) -> None:
    module, name = writer.module(step)
    linear = cast("nn.Linear", module)
    inputs = [*_inputs(step), writer.tensor(f"{name}.weight", linear.weight)]
    if linear.bias is not None:
        inputs.append(writer.tensor(f"{name}.bias", linear.bias))
    writer.node("Gemm", inputs, step.name, transB=1)


def _affine(writer: _Writer, step: fx.Node) -> None:
    module, name = writer.module(step)
    affine = cast("Affine", module)
    name = name.removesuffix(".affine")
    scale, shift = writer.tensor(f"{name}.scale", affine.scale), writer.tensor(f"{name}.shift", affine.shift)
    writer.node("Add", [writer.node("Mul", [*_inputs(step), scale], f"{name}.scaled"), shift], step.name)


def _mean(writer: _Writer, step: fx.Node) -> None:
    arguments = dict(zip(("input", "dim", "keepdim"), step.args, strict=False)) | step.kwargs
    if arguments.get("dim") != (2, 3):
        raise ValueError(f"{step.name}: expected a mean over rows and columns, found {arguments}")
    inputs = _inputs(step)
    if arguments.get("keepdim", False):
        writer.node("GlobalAveragePool", inputs, step.name)
        return
    pooled = writer.node("GlobalAveragePool", inputs, f"{step.name}.map")
    writer.node("Flatten", [pooled], step.name, axis=1)


def _generalised_mean(writer: _Writer, step: fx.Node) -> None:
    x, name = *_inputs(step), step.name
    smallest = writer.tensor("gem.smallest", np.array(SMALLEST, np.float32))
    root = writer.tensor("gem.root", np.array(1 / EXPONENT, np.float32))
    # x^3 as two products: engines have fast ones, and a power of a negative number is nobody's business.
    cube = writer.node("Mul", [writer.node("Mul", [x, x], f"{name}.square"), x], f"{name}.cube")
    mean = writer.node("Flatten", [writer.node("GlobalAveragePool", [cube], f"{name}.map")], f"{name}.mean", axis=1)
    writer.node("Pow", [writer.node("Add", [mean, smallest], f"{name}.positive"), root], name)


def _fixed_weights(writer: _Writer, step: fx.Node) -> None:
    module, name = writer.module(step)
    fused = ""
    for t, (stream, weight) in enumerate(zip(_inputs(step), cast("FixedWeights", module).weight, strict=True)):
        weighted = writer.node("Mul", [stream, writer.tensor(f"{name}.weight.{t}", weight[:, None, None])],
                               f"{step.name}.stream{t}")
        fused = writer.node("Add", [fused, weighted], f"{step.name}.sum{t}") if fused else weighted
    writer.node("Identity", [fused], step.name)


def _non_local(writer: _Writer, step: fx.Node) -> None:
    module, where = writer.module(step)
    block, x, name = cast("NonLocal", module), _inputs(step)[0], step.name
    height, width = writer.map_size(step)
    inner = block.g.out_channels
    flat = writer.tensor(f"{name}.flat", np.array([0, inner, height * width], np.int64))
    square = writer.tensor(f"{name}.square", np.array([0, inner, height, width], np.int64))

    def convolve(conv: nn.Conv2d, called: str, value: str, *, over: int = 1) -> str:
        weight, bias = conv.weight, cast("Tensor", conv.bias)
        inputs = [value, writer.tensor(f"{where}.{called}.weight", weight / over),
                  writer.tensor(f"{where}.{called}.bias", bias / over)]
        return writer.node("Conv", inputs, f"{name}.{called}", kernel_shape=[1, 1])

    # The mean over places is taken in theta's weights: one division less in the graph.
    theta = convolve(block.theta, "theta", x, over=height * width)
    maps = [writer.node("Reshape", [value, flat], f"{value}.flat")
            for value in (theta, convolve(block.phi, "phi", x), convolve(block.g, "g", x))]
    turned = writer.node("Transpose", [maps[1]], f"{name}.phi.turned", perm=[0, 2, 1])
    likeness = writer.node("MatMul", [turned, maps[0]], f"{name}.likeness")  # (n, places j, places i)
    told = writer.node("Reshape", [writer.node("MatMul", [maps[2], likeness], f"{name}.told"), square],
                       f"{name}.map")
    writer.node("Add", [x, convolve(block.project, "project", told)], name)


def _max_pool(writer: _Writer, step: fx.Node) -> None:
    _pool(writer, step, "MaxPool", ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode"))


def _average_pool(writer: _Writer, step: fx.Node) -> None:
    _pool(writer, step, "AveragePool", ("input", "kernel_size", "stride", "padding", "ceil_mode"))


def _pool(writer: _Writer, step: fx.Node, kind: str, names: Sequence[str]) -> None:
    arguments = dict(zip(names, step.args, strict=False)) | step.kwargs
    kernel = _pair(arguments["kernel_size"])
    stride = _pair(arguments.get("stride") or kernel)
    padding = _pair(arguments.get("padding", 0))
    exotic = arguments.get("ceil_mode") or _pair(arguments.get("dilation", 1)) != [1, 1]
    if exotic or (kind == "AveragePool" and padding != [0, 0]):
        raise ValueError(f"{step.name}: expected no ceil mode, dilation or padded mean, found {arguments}")
    writer.node(kind, _inputs(step), step.name, kernel_shape=kernel, strides=stride, pads=padding * 2)


def _multiply_add(writer: _Writer, step: fx.Node) -> None:
    base, *factors = _inputs(step)
    writer.node("Add", [base, writer.node("Mul", factors, f"{step.name}.product")], step.name)


def _plain(kind: str) -> Callable[[_Writer, fx.Node], None]:
    def rule(writer: _Writer, step: fx.Node) -> None:
        inputs = _inputs(step)
        if len(inputs) != len(step.args):
            raise ValueError(f"{step.name}: expected only tensors to go into {kind}, found {step.args}")
        writer.node(kind, inputs, step.name)
    return rule


_RULES: dict[Any, Callable[[_Writer, fx.Node], None]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    Affine: _affine,
    FixedWeights: _fixed_weights,
    GeneralisedMean: _generalised_mean,
    NonLocal: _non_local,
    functional.max_pool2d: _max_pool,
    functional.avg_pool2d: _average_pool,
    functional.relu: _plain("Relu"),
    torch.sigmoid: _plain("Sigmoid"),
    torch.addcmul: _multiply_add,
    operator.add: _plain("Add"),
    operator.mul: _plain("Mul"),
    "mean": _mean,
}
