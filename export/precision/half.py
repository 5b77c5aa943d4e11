"""A float32 graph in float16: weights, activations and scales, but for the head that makes unit vectors.

Inputs and outputs keep their types. The sum of squares under a unit vector overflows half soonest, and the least
length a vector may have, `export.to_onnx.SHORTEST`, is subnormal there; both cost nothing to keep.
"""

from __future__ import annotations

import warnings

import onnx
from onnx import TensorProto, helper, shape_inference

from export.precision.graph import Graph, rewritten

__all__ = ["LARGEST", "SMALLEST", "SMALLEST_NORMAL", "to_half"]

LARGEST = 65504.0
SMALLEST_NORMAL = 2.0**-14  # below it bits are lost, and some hardware takes it for zero
SMALLEST = 2.0**-24


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a graph to float16.

    Args:
        model: Float32, with its weights inside; QuantizeLinear and DequantizeLinear get float16 scales.

    Raises:
        ValueError: The graph has no head that makes unit vectors, or its opset has no half-precision scales.
    """
    graph = Graph(model)
    head = graph.head()
    if not head:
        raise ValueError("expected a graph that ends in unit vectors, found none")
    version = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version < 19:
        raise ValueError(f"expected opset 19 or later, whose scales may be half precision, found {version}")
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415 - imports half of its package

    with warnings.catch_warnings():
        # A weight below half's smallest number becomes that number, and it warns for each.
        warnings.filterwarnings("ignore", message="the float32 number", category=UserWarning)
        body: onnx.ModelProto = convert_float_to_float16(
            _body(graph, head), keep_io_types=True, min_positive_val=SMALLEST, max_finite_val=LARGEST)
    return _joined(body, graph, head)


def _body(graph: Graph, head: list[onnx.NodeProto]) -> onnx.ModelProto:
    """What comes before the head, which the converter is not shown: it rounds between nodes that it is told to keep."""
    of_head = {name for node in head for name in node.output}
    nodes = [node for node in graph.nodes if of_head.isdisjoint(node.output)]
    body = rewritten(graph.model, nodes, {})
    seam = {name: None for node in head for name in node.input if graph.made_by(name) and name not in of_head}
    body.graph.ClearField("output")
    body.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in seam)
    return shape_inference.infer_shapes(body, strict_mode=True)


def _joined(body: onnx.ModelProto, graph: Graph, head: list[onnx.NodeProto]) -> onnx.ModelProto:
    """Body and head in the order in which values are made, and the outputs as they were."""
    constants = [tensor for tensor in graph.model.graph.initializer
                 if any(tensor.name in node.input for node in head)]
    made = {tensor.name for tensor in (*body.graph.initializer, *constants)}
    made |= {"", *(value.name for value in body.graph.input)}
    waiting, nodes = [*body.graph.node, *head], []
    while waiting:  # the converter leaves its casts at the end
        ready = [node for node in waiting if made.issuperset(node.input)]
        assert ready, f"{waiting[0].name} reads what nobody makes"
        nodes += ready
        made.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not made.issuperset(node.output)]
    for field in ("node", "value_info", "output"):
        body.graph.ClearField(field)
    body.graph.node.extend(nodes)
    body.graph.initializer.extend(constants)
    body.graph.output.extend(graph.model.graph.output)
    onnx.checker.check_model(body, full_check=True)
    return body
