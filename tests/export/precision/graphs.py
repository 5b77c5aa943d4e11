"""Small graphs from crops to unit vectors, for what is said of any graph; weights from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.to_onnx import IR_VERSION, OPSET, SHORTEST

HEIGHT, WIDTH, DIMENSION = 32, 16, 8


class Sketch:
    """Nodes one by one, each called by what it gives."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, array: npt.ArrayLike, kind: type = np.float32) -> str:
        self.constants[name] = np.asarray(array, kind)
        return name

    def start(self) -> str:
        planes = self.node("Transpose", ["crops"], "planes", perm=[0, 3, 1, 2])
        return self.node("Cast", [planes], "float", to=TensorProto.FLOAT)

    def convolution(self, value: str, name: str, out: int, inputs: int, kernel: int = 1, *, depthwise: bool = False,
                    bias: bool = False, scale: float = 1.0) -> str:
        shape = (out, 1 if depthwise else inputs, kernel, kernel)
        weight = self.constant(f"{name}.weight", scale * self.rng.normal(0, shape[1:][0] ** -0.5 / kernel, shape))
        names = [value, weight]
        if bias:
            names.append(self.constant(f"{name}.bias", self.rng.normal(0, 0.1, out)))
        return self.node("Conv", names, name, kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4,
                         group=out if depthwise else 1)

    def finish(self, value: str, channels: int, opset: int = OPSET) -> onnx.ModelProto:
        """A mean over the map, a last layer and unit length."""
        self.constant("last.weight", self.rng.normal(0, 1, (DIMENSION, channels)))
        self.constant("axes", [1], np.int64)
        self.constant("shortest", SHORTEST)
        flat = self.node("Flatten", [self.node("GlobalAveragePool", [value], "mean")], "flat")
        last = self.node("Gemm", [flat, "last.weight"], "last", transB=1)
        divisor = self.node("Max", [self.node("ReduceL2", [last, "axes"], "length"), "shortest"], "divisor")
        self.node("Div", [last, divisor], "embeddings")
        graph = helper.make_graph(
            self.nodes, "sketch",
            [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", HEIGHT, WIDTH, 3])],
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", DIMENSION])],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def light(seed: int = 0, *, reach: npt.ArrayLike = 1.0) -> onnx.ModelProto:
    """Stem, ReLU, a LightConv whose channels reach differently far, ReLU, a residual sum, ReLU."""
    s = Sketch(seed)
    stem = s.node("Relu", [s.convolution(s.start(), "stem", 6, 3, 3, bias=True, scale=0.01)], "stem.relu")
    s.convolution(stem, "pointwise", 6, 6)
    s.constants["pointwise.weight"] *= np.asarray(reach, np.float32).reshape(-1, 1, 1, 1)
    taps = s.convolution("pointwise", "depthwise", 6, 6, 3, depthwise=True, bias=True)
    s.constants["depthwise.weight"] /= np.asarray(reach, np.float32).reshape(-1, 1, 1, 1)
    branch = s.convolution(s.node("Relu", [taps], "taps.relu"), "branch", 6, 6, bias=True)
    return s.finish(s.node("Relu", [s.node("Add", [branch, stem], "sum")], "sum.relu"), 6)


def overflowing(factor: float = 160_000.0) -> onnx.ModelProto:
    """A convolution that reaches about ``factor`` on white crops, and one behind it that takes the factor out again."""
    s = Sketch(1)
    value = s.start()
    for name, gain in (("up", factor / 255), ("down", 255 / factor)):
        s.constant(f"{name}.weight", gain * np.eye(3).reshape(3, 3, 1, 1))
        value = s.node("Conv", [value, f"{name}.weight"], name, kernel_shape=[1, 1])
    return s.finish(value, 3)


def crops(count: int = 16, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Noise, all black, all white."""
    found = np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)
    found[-2:] = np.array([0, 255], np.uint8)[:, None, None, None]
    return found
