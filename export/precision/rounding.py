"""A graph of half precision, computed on a processor as if it had half precision.

ONNX Runtime's processor kernels widen float16 to float32 and may never round in between: a convolution that
reaches 160,000 passes them unharmed, and is infinite in real half. So every value that is float16 in the graph is
rounded to it and widened again, explicitly, and everything between is float32. That is also how tensor cores add
up: wide inside, rounded where a value leaves. The same with bfloat16 is the float32 graph as OpenVINO runs it, which
also leaves the unit vectors in float32; how near the two come on a device is bf16's ``worst cosine`` in the table of
``cmnas-edge engine race``; the least that it must be stands in the bundle's manifest, as `golden_cosine`.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from export.precision.graph import Graph

__all__ = ["in_bfloat16", "in_half"]


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float32 graph that computes what a float16 graph does on hardware that has float16.

    Args:
        model: With its weights inside; some of its values, or all, are float16.
    """
    inferred = shape_inference.infer_shapes(model, strict_mode=True)
    kinds = {value.name: value.type.tensor_type.elem_type
             for value in (*inferred.graph.value_info, *inferred.graph.output)}
    half = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT16}
    constants = [_widened(tensor) if tensor.data_type == TensorProto.FLOAT16 else tensor
                 for tensor in model.graph.initializer]
    return _rounding(model, half, constants, TensorProto.FLOAT16)


def in_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float32 graph that computes what a float32 graph does in bfloat16, all but the unit vectors at its end.

    Args:
        model: With its weights inside, float32.
    """
    graph = Graph(model)
    head = graph.head()
    unit = {name for node in head for name in node.output}
    told = {name for node in head for name in node.input if name in graph.constants}
    inferred = shape_inference.infer_shapes(model, strict_mode=True)
    wide = {value.name for value in (*inferred.graph.value_info, *inferred.graph.output)
            if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in unit}
    constants = [_rounded(tensor) if tensor.data_type == TensorProto.FLOAT and tensor.name not in told
                 else tensor
                 for tensor in model.graph.initializer]
    return _rounding(model, wide, constants, TensorProto.BFLOAT16)


def _rounding(model: onnx.ModelProto, names: set[str], constants: list[onnx.TensorProto], kind: int) -> onnx.ModelProto:
    done = onnx.ModelProto()
    done.CopyFrom(model)
    for field in ("node", "initializer", "value_info"):
        done.graph.ClearField(field)
    done.graph.initializer.extend(constants)
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        rounds = [name for name in node.output if name in names]
        for position, name in enumerate(node.output):
            if name in names:
                copy.output[position] = f"{name}.wide"
        if node.op_type == "Cast" and rounds:
            copy.attribute[0].i = TensorProto.FLOAT
        done.graph.node.append(copy)
        for name in rounds:
            done.graph.node.extend([
                helper.make_node("Cast", [f"{name}.wide"], [f"{name}.rounded"], f"{name}.rounded", to=kind),
                helper.make_node("Cast", [f"{name}.rounded"], [name], f"{name}.widened", to=TensorProto.FLOAT)])
    return done


def _widened(tensor: onnx.TensorProto) -> onnx.TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _rounded(tensor: onnx.TensorProto) -> onnx.TensorProto:
    bits = np.atleast_1d(numpy_helper.to_array(tensor)).view(np.uint32).astype(np.uint64)
    # bfloat16 is the upper half of a float32; to nearest, ties to even. No weight is infinite or no number.
    kept = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32)
    return numpy_helper.from_array(kept.view(np.float32).reshape(tuple(tensor.dims)), tensor.name)
