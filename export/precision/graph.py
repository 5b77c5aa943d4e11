"""An ONNX graph to ask: who makes a value, who reads it, and which numbers it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

__all__ = ["SAME_EXCEPT_SIZE", "Graph", "attribute", "is_depthwise", "rewritten"]

# What neither mixes channels nor moves values about, as far as scales are concerned.
SAME_EXCEPT_SIZE = frozenset({"Relu", "MaxPool", "Identity", "Flatten", "Reshape", "Transpose"})


class Graph:
    """An index over a model, which it leaves as it is."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {value.name for value in model.graph.output}
        self._depth: dict[str, int] = {}
        for node in self.nodes:  # topologically sorted, as the checker demands
            deepest = max((self._depth.get(name, 0) for name in node.input), default=0)
            self._depth.update(dict.fromkeys(node.output, deepest + 1))

    def number(self, name: str) -> npt.NDArray[Any]:
        """What a constant is; an empty name is an input left out.

        Raises:
            KeyError: No constant is called so.
        """
        return numpy_helper.to_array(self.constants[name])

    def made_by(self, name: str) -> str:
        """The kind of node that makes a value; "" for inputs and constants."""
        return self.producer[name].op_type if name in self.producer else ""

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a value, unless there are several or it leaves the graph."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def depth(self, name: str) -> int:
        """Steps on the longest way from the input to a value."""
        return self._depth.get(name, 0)

    def after_mean(self, name: str) -> bool:
        """Whether a value is what became of a mean over the whole map, before it meets the map again."""
        while (node := self.producer.get(name)) is not None:
            if node.op_type == "GlobalAveragePool":
                return True
            if node.op_type not in (*SAME_EXCEPT_SIZE, "Conv", "Sigmoid", "DequantizeLinear", "QuantizeLinear", "Gemm",
                                    "Cast"):
                return False
            name = node.input[0]
        return False

    def head(self) -> list[onnx.NodeProto]:
        """From the length of an embedding on, everything; empty if the graph makes no unit vectors."""
        made: set[str] = set()
        found = []
        for node in self.nodes:
            if node.op_type in ("ReduceL2", "LpNormalization") or made & set(node.input):
                found.append(node)
                made.update(node.output)
        return found


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute of a node, or the default where it is left out."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def is_depthwise(node: onnx.NodeProto, weight: npt.NDArray[Any]) -> bool:
    """Whether a convolution takes each channel by itself."""
    return node.op_type == "Conv" and weight.shape[1] == 1 and attribute(node, "group", 1) == weight.shape[0] > 1


def rewritten(model: onnx.ModelProto, nodes: list[onnx.NodeProto],
              constants: dict[str, npt.NDArray[Any]]) -> onnx.ModelProto:
    """A model with other nodes and constants, and the same inputs and outputs; constants nobody reads are dropped."""
    done = onnx.ModelProto()
    done.CopyFrom(model)
    used = {name for node in nodes for name in node.input}
    kept = {tensor.name: tensor for tensor in model.graph.initializer}
    kept.update({name: numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()})
    for field in ("node", "initializer", "value_info"):
        done.graph.ClearField(field)
    done.graph.node.extend(nodes)
    done.graph.initializer.extend(tensor for name, tensor in kept.items() if name in used)
    return done
