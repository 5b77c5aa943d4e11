"""Equal tensors are stored once, and the fingerprint follows what is computed, not how it is filed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import external_data_helper, numpy_helper

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.preprocess import AREA, DEFINITION
from export.fold import fold
from export.to_onnx import to_onnx
from export.weights import ALIGNMENT, WEIGHTS, fingerprint, write_graphs
from tests.contract.make_bundle import DIMENSION, tiny_model
from tests.export.networks import drawn_network
from tests.tiny_bundle import TINY

Models = dict[Modality, onnx.ModelProto]


def osnet(choice: str) -> Models:
    network = drawn_network(0, choice=choice)
    return {modality: to_onnx(fold(network, modality), 32, 16, 512) for modality in MODALITIES}


def tiny() -> Models:
    return {"visible": tiny_model(1), "infrared": tiny_model(2)}


def float_bytes(model: onnx.ModelProto) -> int:
    return sum(4 * int(np.prod(tensor.dims)) for tensor in model.graph.initializer
               if tensor.data_type == onnx.TensorProto.FLOAT)


def test_a_shared_network_is_stored_once(tmp_path: Path) -> None:
    models = osnet("shared")
    write_graphs(models, tmp_path)
    one = float_bytes(models["visible"])
    assert one <= (tmp_path / WEIGHTS).stat().st_size < one + ALIGNMENT * len(models["visible"].graph.initializer)
    assert (tmp_path / "visible.onnx").read_bytes() == (tmp_path / "infrared.onnx").read_bytes()


def test_a_split_network_stores_its_pointwise_halves_and_gates_once(tmp_path: Path) -> None:
    models = osnet("split")
    write_graphs(models, tmp_path)
    shared = [tensor.name for tensor, other in zip(*(models[m].graph.initializer for m in MODALITIES), strict=True)
              if tensor.raw_data == other.raw_data and tensor.data_type == onnx.TensorProto.FLOAT]
    assert len([name for name in shared if name.endswith("conv1.weight")]) == 60
    assert len([name for name in shared if ".gate." in name]) == 24
    offsets = [{tensor.name: (entry.value) for tensor in onnx.load(tmp_path / f"{m}.onnx", load_external_data=False)
                .graph.initializer for entry in tensor.external_data if entry.key == "offset"} for m in MODALITIES]
    assert {name for name in offsets[0] if offsets[0][name] == offsets[1][name]} == set(shared)


@pytest.mark.parametrize("choice", ["shared", "split"])
def test_what_is_written_reads_back_as_it_was(tmp_path: Path, choice: str) -> None:
    models = osnet(choice)
    write_graphs(models, tmp_path)
    for modality in MODALITIES:
        found = onnx.load(tmp_path / f"{modality}.onnx")
        assert [node.SerializeToString() for node in found.graph.node] == [
            node.SerializeToString() for node in models[modality].graph.node]
        for tensor, original in zip(found.graph.initializer, models[modality].graph.initializer, strict=True):
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(original))


def test_every_tensor_begins_on_a_cache_line(tmp_path: Path) -> None:
    write_graphs(tiny(), tmp_path)
    for modality in MODALITIES:
        model = onnx.load(tmp_path / f"{modality}.onnx", load_external_data=False)
        outside = [tensor for tensor in model.graph.initializer if external_data_helper.uses_external_data(tensor)]
        assert {tensor.data_type for tensor in outside} == {onnx.TensorProto.FLOAT}
        assert len(outside) == 5
        for tensor in outside:
            fields = {entry.key: entry.value for entry in tensor.external_data}
            assert fields["location"] == WEIGHTS
            assert int(fields["offset"]) % ALIGNMENT == 0


def rename(models: Models) -> None:
    for model in models.values():
        for node in model.graph.node:
            node.name += "_other"
            node.input[:] = [f"{name}_other" if name not in ("crops", "") else name for name in node.input]
            node.output[:] = [f"{name}_other" for name in node.output]
        for value in (*model.graph.initializer, *model.graph.output):
            value.name += "_other"


def reorder(models: Models) -> None:
    for model in models.values():
        tensors = list(model.graph.initializer)[::-1]
        del model.graph.initializer[:]
        model.graph.initializer.extend(tensors)


def sign(models: Models) -> None:
    for model in models.values():
        model.producer_name, model.doc_string = "somebody else", "words"


def unpack(models: Models) -> None:
    for model in models.values():
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                data = numpy_helper.to_array(tensor).ravel().tolist()
                tensor.ClearField("raw_data")
                tensor.float_data.extend(data)


@pytest.mark.parametrize("change", [rename, reorder, sign, unpack])
def test_the_fingerprint_is_blind_to_names_order_and_layout(change: Callable[[Models], None]) -> None:
    before, models = fingerprint(tiny(), DEFINITION, DIMENSION), tiny()
    change(models)
    assert fingerprint(models, DEFINITION, DIMENSION) == before


def nudge(models: Models) -> None:
    tensor = next(t for t in models["infrared"].graph.initializer if t.name == "linear.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[0, 0] = np.nextafter(array[0, 0], np.float32(np.inf))
    tensor.raw_data = array.tobytes()


def exchange(models: Models) -> None:
    models["visible"], models["infrared"] = models["infrared"], models["visible"]


def stride(models: Models) -> None:
    node = next(node for node in models["visible"].graph.node if node.op_type == "Conv")
    next(entry for entry in node.attribute if entry.name == "strides").ints[:] = [2, 1]


def rewire(models: Models) -> None:
    models["visible"].graph.node[-1].input[0] = "divisor"


def another_operation(models: Models) -> None:
    next(node for node in models["visible"].graph.node if node.op_type == "Relu").op_type = "Sigmoid"


def another_size(models: Models) -> None:
    models["visible"].graph.input[0].type.tensor_type.shape.dim[1].dim_value = 64


@pytest.mark.parametrize("change", [nudge, exchange, stride, rewire, another_operation, another_size])
def test_the_fingerprint_sees_every_change_of_what_is_computed(change: Callable[[Models], None]) -> None:
    models = tiny()
    change(models)
    assert fingerprint(models, DEFINITION, DIMENSION) != fingerprint(tiny(), DEFINITION, DIMENSION)


def test_the_fingerprint_depends_on_preprocessing_and_dimension() -> None:
    assert len({fingerprint(tiny(), text, d) for text in (DEFINITION, "other") for d in (8, 16)}) == 4


def test_todays_writer_gives_the_fingerprint_of_the_released_bundle() -> None:
    assert fingerprint(tiny(), AREA, DIMENSION) == Bundle.open(TINY).fingerprint_hex


def test_the_fingerprint_can_be_taken_from_the_bundles_files() -> None:
    models = {modality: onnx.load(TINY / f"{modality}.onnx") for modality in MODALITIES}
    assert fingerprint(models, AREA, DIMENSION) == Bundle.open(TINY).fingerprint_hex
