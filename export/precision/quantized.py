"""A float32 graph with QuantizeLinear and DequantizeLinear where TensorRT wants them, and nowhere else.

Symmetric int8; weights by output channel, activations by tensor, biases in float. Convolutions of maps are
quantised, activation and weight; gates, means, the last layer and the unit vector stay as they are: they cost
nothing and lose most. Of a residual sum the identity alone passes through int8, so that the convolution on the other
side can take the sum and its ReLU with it. One value has one pair, however many read it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from export.precision.graph import Graph, rewritten
from export.precision.half import SMALLEST_NORMAL

__all__ = ["identity_side", "lifted", "quantised", "quantised_convolutions", "sites"]

_TOP = 127  # -128 is left out: symmetric


def quantised_convolutions(graph: Graph) -> list[onnx.NodeProto]:
    """Convolutions of maps by constant weights; those behind a mean over the map are a gate's."""
    return [node for node in graph.nodes
            if node.op_type == "Conv" and node.input[1] in graph.constants and not graph.after_mean(node.input[0])]


def identity_side(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Which input of a residual sum is the identity, 0 or 1; None if a node is no residual sum.

    A residual sum has a convolution of a map on one side that nothing else reads. Where both sides are such, the
    identity is the one with less behind it: the block's shortcut.
    """
    if node.op_type != "Add" or any(name in graph.constants for name in node.input):
        return None
    maps = quantised_convolutions(graph)
    branch = [graph.producer.get(name) in maps and graph.only_reader(name) is node for name in node.input]
    if not any(branch):
        return None
    if all(branch):
        return int(graph.depth(node.input[1]) < graph.depth(node.input[0]))
    return branch.index(False)


def sites(graph: Graph) -> list[str]:
    """Values that pass through int8, in the order in which they are made."""
    named = {node.input[0] for node in quantised_convolutions(graph)}
    for node in graph.nodes:
        if (side := identity_side(graph, node)) is not None:
            named.add(node.input[side])
    return [name for node in graph.nodes for name in node.output if name in named]


def lifted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take a power of two out of what a first convolution reads, and into its weights.

    Crops of 0 to 255 go into weights that were divided by as much, so small that their scales would fall below half's
    normal numbers. Powers of two change no digit.
    """
    graph = Graph(model)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, npt.NDArray[np.float32]] = {}
    for node in graph.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node in quantised_convolutions(graph) and len(graph.readers[node.input[1]]) == 1 \
                and graph.made_by(node.input[0]) in ("Sub", "Cast"):
            weight = graph.number(node.input[1])
            factor = 2.0 ** max(0, int(np.ceil(-np.log2(max(float(np.abs(weight).max()), 2.0**-100)))))
            constants[node.input[1]] = (weight * factor).astype(np.float32)
            constants["lifted.by"] = np.array(1 / factor, np.float32)
            nodes.append(helper.make_node("Mul", [node.input[0], "lifted.by"], ["lifted"], "lifted"))
            copy.input[0] = "lifted"
        nodes.append(copy)
    return rewritten(model, nodes, constants)


def quantised(model: onnx.ModelProto, reach: Mapping[str, float]) -> onnx.ModelProto:
    """Put the pairs in.

    Args:
        model: Float32, with its weights inside.
        reach: For each of its `sites`, the magnitude at which it is cut off.
    """
    graph = Graph(model)
    convolutions = quantised_convolutions(graph)
    constants: dict[str, npt.NDArray[np.generic]] = {"zero": np.zeros((), np.int8)}
    nodes: list[onnx.NodeProto] = []
    inside = set(sites(graph))
    weights = {node.input[1] for node in convolutions}

    def pair(name: str, zero: str, *, by_channel: bool = False) -> None:
        for kind, value, output in (("QuantizeLinear", name, f"{name}.int8"),
                                    ("DequantizeLinear", f"{name}.int8", f"{name}.again")):
            node = helper.make_node(kind, [value, f"{name}.scale", zero], [output], output)
            if by_channel:
                node.attribute.append(helper.make_attribute("axis", 0))
            nodes.append(node)

    for name in sorted(weights):
        widest = np.abs(graph.number(name)).reshape(len(graph.number(name)), -1).max(1)
        constants[f"{name}.scale"] = _scale(widest)
        constants[f"zeros.{len(widest)}"] = np.zeros(len(widest), np.int8)
        pair(name, f"zeros.{len(widest)}", by_channel=True)
    for node in graph.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node in convolutions:
            copy.input[0], copy.input[1] = f"{node.input[0]}.again", f"{node.input[1]}.again"
        elif (side := identity_side(graph, node)) is not None:
            copy.input[side] = f"{node.input[side]}.again"
        nodes.append(copy)
        for name in node.output:
            if name in inside:
                constants[f"{name}.scale"] = _scale(np.array(reach[name]))
                pair(name, "zero")
    return rewritten(model, nodes, constants)


def _scale(widest: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """One step of int8; positive even where all is zero, and a normal number in half."""
    return np.maximum(widest / _TOP, SMALLEST_NORMAL).astype(np.float32)
