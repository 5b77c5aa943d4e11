"""What TensorRT asks of QuantizeLinear and DequantizeLinear, as rules that name the node that breaks one.

Paraphrased from NVIDIA's pages on explicit quantisation, the source of onnx-tensorrt and its issues. Some are
refusals (a zero point that is not zero), some are silent losses of speed (a pair between a convolution and its ReLU,
a residual sum whose identity stays float) or of accuracy (a gate in int8). None of it was tried on a device here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from export.precision.graph import Graph, attribute
from export.precision.half import SMALLEST_NORMAL

__all__ = ["RULES", "Breach", "breaches"]

OPSETS = range(19, 23)
_QUANTISE, _WIDEN = "QuantizeLinear", "DequantizeLinear"
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FLOAT_ONLY = ("GlobalAveragePool", "ReduceL2", "LpNormalization", "Sigmoid", "InstanceNormalization", "Softmax")
Found = Iterator[tuple[str, str]]  # a node's name, and what is the matter with it


class Breach(NamedTuple):
    """A rule that a node breaks, and how."""

    rule: str
    node: str
    found: str

    def __str__(self) -> str:
        return f"{self.node}: {self.found} ({self.rule})"


def breaches(model: onnx.ModelProto) -> list[Breach]:
    """Every rule that a graph breaks, and where; empty if TensorRT has nothing to object to.

    Args:
        model: With its weights inside, of any precision.
    """
    graph = Graph(model)
    return [Breach(rule, node, found) for rule, check in RULES.items() for node, found in check(graph)]


def _opset(graph: Graph) -> Found:
    version = max(entry.version for entry in graph.model.opset_import if entry.domain in ("", "ai.onnx"))
    if version not in OPSETS:
        yield graph.model.graph.name, f"opset {version}"


def _constant_scale(graph: Graph) -> Found:
    for node in _pairs(graph):
        if node.input[1] not in graph.constants:
            yield node.name, f"scale {node.input[1]} is computed"


def _positive_scale(graph: Graph) -> Found:
    for node in _pairs(graph):
        if node.input[1] in graph.constants and not (graph.number(node.input[1]) > 0).all():
            yield node.name, f"scale {graph.number(node.input[1]).min():g}"


def _normal_scale(graph: Graph) -> Found:
    for node in _pairs(graph):
        tensor = graph.constants.get(node.input[1])
        if tensor is not None and tensor.data_type == TensorProto.FLOAT16:
            least = float(graph.number(node.input[1]).astype(np.float32).min())
            if 0 < least < SMALLEST_NORMAL:
                yield node.name, f"scale {least:g}"


def _one_type(graph: Graph) -> Found:
    products = [node for node in graph.nodes if node.op_type in _PRODUCTS]
    halves = {TensorProto.FLOAT16} & {graph.constants[name].data_type for node in products for name in node.input
                                      if name in graph.constants}
    for node in _pairs(graph):
        tensor = graph.constants.get(node.input[1])
        if halves and tensor is not None and tensor.data_type != TensorProto.FLOAT16:
            yield node.name, "a float32 scale where other weights are float16"


def _symmetric(graph: Graph) -> Found:
    for node in _pairs(graph):
        name = node.input[2] if len(node.input) > 2 else ""
        if name and (name not in graph.constants or graph.number(name).any()):
            yield node.name, f"zero point {graph.number(name).ravel()[0] if name in graph.constants else 'computed'}"


def _signed(graph: Graph) -> Found:
    for node in _pairs(graph):
        zero = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        default = TensorProto.INT8 if node.op_type == _WIDEN else TensorProto.UINT8
        kind = attribute(node, "output_dtype", 0) or (zero.data_type if zero is not None else default)
        if node.op_type == _QUANTISE and kind != TensorProto.INT8:
            yield node.name, f"makes {TensorProto.DataType.Name(kind).lower()}"
        if node.op_type == _WIDEN and (held := graph.constants.get(node.input[0])) is not None \
                and held.data_type != TensorProto.INT8:
            yield node.name, f"reads {TensorProto.DataType.Name(held.data_type).lower()}"


def _paired(graph: Graph) -> Found:
    for node in _pairs(graph):
        if node.op_type == _QUANTISE:
            others = [reader for reader in graph.readers.get(node.output[0], []) if reader.op_type != _WIDEN
                      or list(reader.input[1:]) != list(node.input[1:])]
            if others or node.output[0] in graph.outputs:
                yield node.name, "is read by something else than a DequantizeLinear of its own scale"
        elif graph.made_by(node.input[0]) != _QUANTISE and node.input[0] not in graph.constants:
            yield node.name, f"reads {node.input[0]}, which no QuantizeLinear makes"


def _by_channel(graph: Graph) -> Found:
    for node in graph.nodes:
        if node.op_type not in _PRODUCTS or not (widen := _widen(graph, node.input[1])):
            continue
        origin = _origin(graph, node.input[1])
        if origin not in graph.constants or widen.input[1] not in graph.constants:
            continue
        axis, shape = 1 if node.op_type == "ConvTranspose" else 0, graph.constants[origin].dims
        count = graph.number(widen.input[1]).size
        if count > 1 and (attribute(widen, "axis", 1) != axis or count != shape[axis]):
            yield node.name, (f"{count} scales on axis {attribute(widen, 'axis', 1)} for weights of {list(shape)}, "
                              f"whose outputs are axis {axis}")


def _by_tensor(graph: Graph) -> Found:
    for node in _pairs(graph):
        several = node.input[1] in graph.constants and graph.number(node.input[1]).size > 1
        if node.op_type == _QUANTISE and node.input[0] not in graph.constants and several:
            yield node.name, "several scales for an activation"


def _both(graph: Graph) -> Found:
    for node in graph.nodes:
        if node.op_type in _PRODUCTS:
            inside = [bool(_widen(graph, name)) for name in node.input[:2]]
            if any(inside) and not all(inside):
                yield node.name, f"only its {'activation' if inside[0] else 'weight'} is int8"


def _float_bias(graph: Graph) -> Found:
    for node in graph.nodes:
        if node.op_type in _PRODUCTS and len(node.input) > 2 and _widen(graph, node.input[2]):
            yield node.name, f"its bias {node.input[2]} comes through {_WIDEN}"


def _free_relu(graph: Graph) -> Found:
    for node in graph.nodes:
        if node.op_type == "Relu" and (widen := _widen(graph, node.input[0])) \
                and graph.made_by(_origin(graph, node.input[0])) in _PRODUCTS:
            yield widen.name, "stands between a convolution and its ReLU"


def _residual(graph: Graph) -> Found:
    for node in graph.nodes:
        if node.op_type != "Add" or any(name in graph.constants for name in node.input):
            continue
        inside = [bool(_widen(graph, name)) for name in node.input]
        branch = [_is_branch(graph, name) for name in node.input]
        if not any(branch):
            continue
        if all(inside):
            yield node.name, "both sides pass through int8, so no convolution can take the sum"
        elif not any(inside):
            yield node.name, "the identity does not pass through int8, so no int8 convolution can take the sum"
        elif branch[inside.index(True)] and not all(branch):
            yield node.name, "the convolution's side passes through int8 instead of the identity"


def _gates(graph: Graph) -> Found:
    for node in graph.nodes:
        if node.op_type in _PRODUCTS and graph.after_mean(node.input[0]) \
                and any(_widen(graph, name) for name in node.input):
            yield node.name, "is behind a mean over the map, and in int8"


def _floats(graph: Graph) -> Found:
    for node in graph.nodes:
        if node.op_type in _FLOAT_ONLY and _widen(graph, node.input[0]):
            yield node.name, f"{node.op_type} reads what passed through int8"


def _concat(graph: Graph) -> Found:
    for node in graph.nodes:
        if node.op_type == "Concat":
            widens = [_widen(graph, name) for name in node.input]
            after = [reader for reader in graph.readers.get(node.output[0], []) if reader.op_type == _QUANTISE]
            scales = {widen.input[1] if widen else "none" for widen in widens} | {q.input[1] for q in after}
            if any(widens) and len(scales) > 1:
                yield node.name, f"joins values of scales {', '.join(sorted(scales))}"


def _pads(graph: Graph) -> Found:
    for node in graph.nodes:
        if node.op_type == "Conv" and (widen := _widen(graph, node.input[0])) \
                and graph.made_by(_origin(graph, node.input[0])) == "Pad":
            yield widen.name, "stands between a Pad and its convolution"


RULES: dict[str, Callable[[Graph], Found]] = {
    "opset 19 to 22": _opset,
    "scales are constants": _constant_scale,
    "scales are positive": _positive_scale,
    "half-precision scales are normal numbers": _normal_scale,
    "scales are of the precision of the weights beside": _one_type,
    "zero points are zero": _symmetric,
    "integers are signed bytes": _signed,
    "pairs share their scale": _paired,
    "weights by output channel": _by_channel,
    "activations by tensor": _by_tensor,
    "both inputs of a product": _both,
    "biases are float": _float_bias,
    "nothing between a convolution and its ReLU": _free_relu,
    "of a residual sum the identity alone": _residual,
    "gates and heads are float": _gates,
    "means, norms and sigmoids read float": _floats,
    "one scale for what is joined": _concat,
    "nothing between padding and its convolution": _pads,
}


def _pairs(graph: Graph) -> list[onnx.NodeProto]:
    return [node for node in graph.nodes if node.op_type in (_QUANTISE, _WIDEN)]


def _widen(graph: Graph, name: str) -> onnx.NodeProto | None:
    node = graph.producer.get(name)
    return node if node is not None and node.op_type == _WIDEN else None


def _origin(graph: Graph, name: str) -> str:
    """What a value was before it passed through int8."""
    if widen := _widen(graph, name):
        made = graph.producer.get(widen.input[0])
        return made.input[0] if made is not None and made.op_type == _QUANTISE else widen.input[0]
    return name


def _is_branch(graph: Graph, name: str) -> bool:
    """Whether a side of a sum is a convolution in int8 that nothing else reads."""
    origin = _origin(graph, name)
    made = graph.producer.get(origin)
    return made is not None and made.op_type == "Conv" and _widen(graph, made.input[1]) is not None \
        and graph.only_reader(origin) is not None
