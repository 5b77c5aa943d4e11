"""Channels of one size between a pointwise and a depthwise convolution, before one scale has to serve them all.

OSNet's LightConv is a 1x1 convolution, nothing, then a depthwise one. A positive factor per channel may go into the
rows of the first and out of the taps of the second without any change: the depthwise takes each channel by itself,
and the zeros it pads with stay zeros. int8 gives the value between one scale for all its channels, while the
weights on both sides have one for each, so small channels gain there and nothing is lost here. (Nagel et al.,
Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, equalises over a ReLU; here is none.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from export.precision.graph import Graph, is_depthwise, rewritten
from export.precision.probe import values

__all__ = ["Pair", "equalised", "pairs"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
# Beyond, a channel is dead on these crops and its range says nothing.
_MOST = 256.0


class Pair(NamedTuple):
    """A pointwise convolution whose value goes straight into a depthwise one, and nowhere else."""

    pointwise: onnx.NodeProto
    depthwise: onnx.NodeProto


def pairs(graph: Graph) -> list[Pair]:
    """Where a factor can move. Weights read twice, an activation between, or another reader leave no room for it."""
    found = []
    for node in graph.nodes:
        if node.op_type != "Conv" or not all(_own(graph, name) for name in node.input[1:]):
            continue
        weight = graph.number(node.input[1])
        after = graph.only_reader(node.output[0])
        if weight.shape[2:] == (1, 1) and after is not None and after.op_type == "Conv" \
                and after.input[0] == node.output[0] and _own(graph, after.input[1]) \
                and is_depthwise(after, graph.number(after.input[1])):
            found.append(Pair(node, after))
    return found


def equalised(model: onnx.ModelProto, crops: U8) -> onnx.ModelProto:
    """The same function, its LightConv channels of one range.

    Args:
        model: Float32, with its weights inside.
        crops: From which ranges are found, BGR ``(n, h, w, 3)``.
    """
    graph = Graph(model)
    found = pairs(graph)
    names = [pair.pointwise.output[0] for pair in found]
    reach: dict[str, F32] = {}
    for batch in values(model, names, crops) if names else ():
        for name, array in batch.items():
            widest = np.abs(array).max((0, 2, 3))
            reach[name] = np.maximum(reach[name], widest) if name in reach else widest
    constants: dict[str, npt.NDArray[np.float32]] = {}
    for pair in found:
        factor = _factors(reach[pair.pointwise.output[0]])
        for name in pair.pointwise.input[1:]:
            array = graph.number(name)
            constants[name] = (array * factor.reshape(-1, *[1] * (array.ndim - 1))).astype(np.float32)
        taps = graph.number(pair.depthwise.input[1])
        constants[pair.depthwise.input[1]] = (taps / factor[:, None, None, None]).astype(np.float32)
    return rewritten(model, graph.nodes, constants)


def _factors(reach: F32) -> npt.NDArray[np.float64]:
    """By which to multiply each channel so that all reach as far as the middle one does."""
    wide = reach.astype(np.float64)
    middle = float(np.median(wide[wide > 0])) if (wide > 0).any() else 1.0
    return np.clip(np.divide(middle, wide, out=np.ones_like(wide), where=wide > 0), 1 / _MOST, _MOST)


def _own(graph: Graph, name: str) -> bool:
    """Whether a constant belongs to one node alone."""
    return name in graph.constants and len(graph.readers[name]) == 1
