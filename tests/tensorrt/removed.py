"""Names that TensorRT 11 took away, and whether source uses one of them.

Removed since 10.3, as a comparison of both versions' bindings shows. What replaces them works on every version:
types in the graph, Q/DQ nodes, sizes ending in ``_v2``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

__all__ = ["REMOVED", "uses"]

REMOVED: dict[str, tuple[str, ...]] = {
    "": ("IInt8Calibrator", "IInt8EntropyCalibrator2", "IInt8MinMaxCalibrator", "CalibrationAlgoType",
         "QuantizationFlag", "IAlgorithm", "IAlgorithmSelector", "IStreamReader"),
    "BuilderFlag": ("FP16", "BF16", "INT8", "FP8", "INT4", "OBEY_PRECISION_CONSTRAINTS",
                    "PREFER_PRECISION_CONSTRAINTS", "REJECT_EMPTY_ALGORITHMS", "WEIGHTLESS"),
    "NetworkDefinitionCreationFlag": ("EXPLICIT_BATCH",),
    "TacticSource": ("CUBLAS", "CUBLAS_LT", "CUDNN"),
    "Builder": ("platform_has_fast_fp16", "platform_has_fast_int8", "platform_has_tf32"),
    "IBuilderConfig": ("int8_calibrator", "set_calibration_profile", "algorithm_selector", "set_quantization_flag"),
    "ITensor": ("dynamic_range", "set_dynamic_range"),
    "ILayer": ("set_output_type", "precision"),
    "ICudaEngine": ("device_memory_size", "get_device_memory_size_for_profile", "has_implicit_batch_dimension",
                    "weight_streaming_budget", "minimum_weight_streaming_budget",
                    "create_execution_context_without_device_memory"),
    "IExecutionContext": ("all_shape_inputs_specified",),
    "OnnxParser": ("supports_model", "parse_with_weight_descriptors"),
    "Refitter": ("set_dynamic_range",),
}
# Gone before 10.3 already, and still in most examples one finds.
OLDER = ("max_workspace_size", "build_engine", "build_cuda_engine", "num_bindings", "get_binding_shape",
         "binding_is_input", "execute_async", "execute_async_v2", "max_batch_size")
ENUMS = ("BuilderFlag", "NetworkDefinitionCreationFlag", "TacticSource")
ALSO_OURS = ("precision",)  # names that other objects have, too


def uses(source: str) -> Iterator[str]:
    """Each use of such a name: "line: name". Not those where an ``if hasattr(..., "name")`` stands around."""
    yield from _uses(ast.parse(source), frozenset())


def _uses(node: ast.AST, guarded: frozenset[str]) -> Iterator[str]:
    if isinstance(node, ast.If | ast.IfExp):
        guards = guarded | {call.args[1].value for call in ast.walk(node.test) if _asks(call, "hasattr", 2)}
        yield from _uses(node.test, guarded)
        for child in ([node.body] if isinstance(node, ast.IfExp) else node.body):
            yield from _uses(child, guards)
        for child in ([node.orelse] if isinstance(node, ast.IfExp) else node.orelse):
            yield from _uses(child, guarded)
        return
    name = parent = ""
    if isinstance(node, ast.Attribute):
        name, parent = node.attr, _last(node.value)
    elif _asks(node, "getattr", 2):  # with a default it is a guard itself
        name, parent = node.args[1].value, _last(node.args[0])  # type: ignore[attr-defined]
    if name and name not in guarded and _gone(name, parent):
        yield f"{node.lineno}: {name}"  # type: ignore[attr-defined]
    for child in ast.iter_child_nodes(node):
        yield from _uses(child, guarded)


def _gone(name: str, parent: str) -> bool:
    if any(name in REMOVED[enum] for enum in ENUMS) and parent in ENUMS:
        return name in REMOVED[parent]
    methods = {member for kind, members in REMOVED.items() if kind not in ENUMS for member in members}
    return name in (methods | set(OLDER)) - set(ALSO_OURS)


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _asks(node: ast.AST, function: str, arguments: int) -> bool:
    return (isinstance(node, ast.Call) and _last(node.func) == function and len(node.args) == arguments
            and isinstance(node.args[1], ast.Constant) and isinstance(node.args[1].value, str))
