"""A graph is changed for TensorRT in its own encoding, and computes what it did."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine.tensorrt.bytes_first import NotOnnx, cast_first, weight_files
from tests.tiny_bundle import TINY

CROPS = np.random.default_rng(3).integers(0, 256, (23, 32, 16, 3), dtype=np.uint8)


def test_bytes_are_cast_before_they_are_turned_and_nothing_else_changes() -> None:
    bundle = Bundle.open(TINY)
    for modality in MODALITIES:
        before = bundle.graph(modality).read_bytes()
        after = cast_first(before)
        nodes = onnx.ModelProto.FromString(after).graph.node
        assert [node.op_type for node in nodes[:2]] == ["Cast", "Transpose"]
        assert cast_first(after) == after
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(bundle.path))
        one, other = (onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
                      for model in (before, after))
        np.testing.assert_array_equal(one.run(None, {"crops": CROPS})[0], other.run(None, {"crops": CROPS})[0])


def test_what_a_graph_says_of_its_tensors_is_true_after_the_change() -> None:
    make, kind = onnx.helper, onnx.TensorProto
    graph = make.make_graph(
        [make.make_node("Transpose", ["crops"], ["planes"], perm=[0, 3, 1, 2]),
         make.make_node("Cast", ["planes"], ["out"], to=kind.FLOAT)], "g",
        [make.make_tensor_value_info("crops", kind.UINT8, ["n", 4, 2, 3])],
        [make.make_tensor_value_info("out", kind.FLOAT, ["n", 3, 4, 2])],
        value_info=[make.make_tensor_value_info("planes", kind.UINT8, ["n", 3, 4, 2])])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 19)])
    changed = onnx.ModelProto.FromString(cast_first(model.SerializeToString()))
    onnx.checker.check_model(changed, full_check=True)
    assert [node.op_type for node in changed.graph.node] == ["Cast", "Transpose"]


@given(st.binary(max_size=200))
def test_what_is_no_graph_is_never_taken_for_one(data: bytes) -> None:
    with contextlib.suppress(NotOnnx):
        assert cast_first(data) == data


def test_a_graph_that_computes_on_bytes_is_refused_by_name() -> None:
    make = onnx.helper
    graph = make.make_graph(
        [make.make_node("Add", ["crops", "crops"], ["sum"]), make.make_node("Cast", ["sum"], ["out"], to=1)], "g",
        [make.make_tensor_value_info("crops", onnx.TensorProto.UINT8, ["n", 3])],
        [make.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", 3])])
    with pytest.raises(NotOnnx, match=r"bytes of input 'crops' to go through at most one Transpose.*found 'Add'"):
        cast_first(make.make_model(graph).SerializeToString())


def test_files_of_weights_are_found_wherever_a_graph_may_name_them() -> None:
    make, kind = onnx.helper, onnx.TensorProto

    def outside(where: str) -> onnx.TensorProto:
        tensor = onnx.TensorProto(name=where, data_type=kind.FLOAT, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
        tensor.external_data.add(key="offset", value="0")
        tensor.external_data.add(key="location", value=where)
        return tensor

    inner = make.make_graph([make.make_node("Constant", [], ["c"], value=outside("deep"))], "inner", [], [],
                            [outside("inner")])
    nodes = [make.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)]
    model = make.make_model(make.make_graph(nodes, "g", [], [], [outside("/etc/top")]))
    function = make.make_function("d", "f", [], ["y"], [make.make_node("Constant", [], ["y"], value=outside("called"))],
                                  [make.make_opsetid("", 19)])
    model.functions.append(function)
    assert weight_files(model.SerializeToString()) == {"deep", "inner", "/etc/top", "called"}
