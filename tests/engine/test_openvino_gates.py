"""Gates of the same weights are computed at once, others are let alone, and nothing else comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine import openvino
from cmnas_edge.engine.openvino_gates import gates_at_once

pytestmark = pytest.mark.skipif(openvino.missing() is not None, reason=f"needs {openvino.missing()}")
STREAMS, CHANNELS, HIDDEN = 3, 4, 2
MAPS = np.random.default_rng(1).standard_normal((5, CHANNELS, 6, 3)).astype(np.float32)


def block(kind: str) -> onnx.ModelProto:
    """Three streams with gates, fused; ``kind`` says what is particular about the gates."""
    rng, nodes, outputs = np.random.default_rng(0), [], ["fused"]
    constants: dict[str, Any] = {}

    def constant(name: str, *shape: int) -> str:
        if name not in constants:
            constants[name] = rng.standard_normal(shape).astype(np.float32)
        return name

    for t in range(STREAMS):
        gate = f"gate{t}" if kind == "own gates" else "gate"
        bias = f"{gate}.bias{t if kind == 'own biases' else ''}"
        side = 3 if kind == "wider kernels" else 1
        mean = [helper.make_node("GlobalAveragePool", [f"stream{t}"], [f"mean{t}"])]
        if kind == "means of halves":
            mean = [helper.make_node("AveragePool", [f"stream{t}"], [f"mean{t}"], kernel_shape=[3, 3], strides=[3, 3])]
        if kind == "means of columns":
            constants["rows"] = np.array([2], np.int64)
            mean = [helper.make_node("ReduceMean", [f"stream{t}", "rows"], [f"mean{t}"])]
        nodes += [
            helper.make_node("Conv", ["maps", constant(f"pick{t}", CHANNELS, CHANNELS, 1, 1)], [f"stream{t}"]), *mean,
            helper.make_node("Conv", [f"mean{t}", constant(f"{gate}.fc1", HIDDEN, CHANNELS, side, side),
                                      constant(bias, HIDDEN)], [f"hidden{t}"], pads=[side // 2] * 4),
            helper.make_node("Relu", [f"hidden{t}"], [f"clipped{t}"]),
            helper.make_node("Conv", [f"clipped{t}", constant(f"{gate}.fc2", CHANNELS, HIDDEN, 1, 1),
                                      constant(f"{gate}.bias of fc2", CHANNELS)], [f"out{t}"]),
            helper.make_node("Sigmoid", [f"out{t}"], [f"weight{t}"])]
        if kind == "means of halves":
            nodes.append(helper.make_node("Resize", [f"weight{t}", "", "scales"], [f"spread{t}"]))
            constants["scales"] = np.array([1, 1, 3, 3], np.float32)
        weight = f"spread{t}" if kind == "means of halves" else f"weight{t}"
        nodes.append(helper.make_node("Mul", [weight, f"stream{t}"], [f"weighed{t}"]))
        if kind == "asked for inside":
            outputs.append(f"clipped{t}")
    nodes.append(helper.make_node("Sum", [f"weighed{t}" for t in range(STREAMS)], ["fused"]))
    graph = helper.make_graph(
        nodes, "block", [helper.make_tensor_value_info("maps", onnx.TensorProto.FLOAT, ["n", *MAPS.shape[1:]])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def computed(model: Any, rows: np.ndarray) -> list[np.ndarray]:
    compiled = openvino._core(openvino.library()).compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32",
                                                                               "INFERENCE_NUM_THREADS": 1})
    found = compiled(rows)
    return [np.array(found[output]) for output in compiled.outputs]


def convolutions(model: Any) -> int:
    return sum(node.get_type_name() == "Convolution" for node in model.get_ordered_ops())


@pytest.mark.parametrize(("kind", "joined"), [
    ("one gate", 1), ("own gates", 0), ("own biases", 0), ("wider kernels", 0), ("means of halves", 0),
    ("means of columns", 0), ("asked for inside", 0)])
def test_gates_are_joined_only_where_they_are_the_same_and_nothing_else_comes_out(
        kind: str, joined: int, tmp_path: Any) -> None:
    onnx.save(block(kind), tmp_path / "block.onnx")
    core = openvino._core(openvino.library())
    model, before = (core.read_model(tmp_path / "block.onnx") for _ in range(2))
    assert gates_at_once(openvino.library(), model) == joined
    assert convolutions(before) - convolutions(model) == joined * 2 * (STREAMS - 1)
    for n in (1, len(MAPS)):
        for found, expected in zip(computed(model, MAPS[:n]), computed(before, MAPS[:n]), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)
    assert gates_at_once(openvino.library(), model) == 0     # what was joined is left as it is


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_block_of_the_network_that_ships_has_one_gate_for_four_streams(modality: Any) -> None:
    bundle = Bundle.open(default_path())
    frontend = openvino.library().frontend.FrontEndManager().load_by_framework("onnx")
    for precision in ("fp32", "int8"):
        plain = frontend.convert(frontend.load(str(bundle.graph(modality, precision))))
        assert convolutions(plain) - convolutions(openvino._read(openvino.library(), bundle, modality, precision)) == (
            6 * 2 * 3)      # six blocks, two layers of a gate, three streams of four
