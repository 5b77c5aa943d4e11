"""What goes through a graph when crops do: any of its values, at a bounded cost of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, shape_inference

__all__ = ["constants", "floats", "largest", "values"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
_AT_ONCE = 1 << 26  # numbers of a batch


def floats(model: onnx.ModelProto) -> dict[str, int]:
    """Every float32 value that depends on the input, and how many numbers it has for one crop."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True)
    found: dict[str, int] = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        kind = value.type.tensor_type
        if kind.elem_type == TensorProto.FLOAT and value.name:
            found[value.name] = int(np.prod([dim.dim_value or 1 for dim in kind.shape.dim]))
    return found


def values(model: onnx.ModelProto, names: Sequence[str], crops: U8) -> Iterator[dict[str, F32]]:
    """The named values, batch by batch, each ``(n, ...)``.

    Args:
        model: Float32, with its weights inside.
        names: Of its values.
        crops: BGR, ``(n, h, w, 3)``.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    sizes = floats(model)
    there = {value.name for value in probe.graph.output}
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
                              for name in names if name not in there)
    session = _session(probe)
    step = max(1, min(64, _AT_ONCE // max(1, sum(sizes.values()))))
    for start in range(0, len(crops), step):
        yield dict(zip(names, session.run(list(names), {"crops": crops[start:start + step]}), strict=True))


def largest(model: onnx.ModelProto, crops: U8) -> dict[str, float]:
    """The largest magnitude of every float32 value over all crops; NaN where one is no number."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = list(floats(model))
    for name in names:
        probe.graph.node.extend([
            helper.make_node("Abs", [name], [f"{name}.abs"], f"{name}.abs"),
            helper.make_node("ReduceMax", [f"{name}.abs"], [f"{name}.largest"], f"{name}.largest", keepdims=0)])
    probe.graph.ClearField("output")
    probe.graph.output.extend(helper.make_tensor_value_info(f"{name}.largest", TensorProto.FLOAT, []) for name in names)
    session = _session(probe)
    found = np.zeros(len(names))
    for start in range(0, len(crops), 64):
        found = np.maximum(found, session.run(None, {"crops": crops[start:start + 64]}))
    return {name: float(value) for name, value in zip(names, found, strict=True)}


def constants(model: onnx.ModelProto) -> dict[str, float]:
    """The largest magnitude of every float32 constant."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
              if tensor.data_type == TensorProto.FLOAT}
    return {name: float(np.abs(array).max(initial=0)) for name, array in arrays.items()}


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
