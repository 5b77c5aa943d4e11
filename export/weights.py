"""The graphs of a bundle over one file of weights, and the digest of what they compute.

Tensors that are equal, in both modalities or twice in one, are stored once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from cmnas_edge.bundle import Precision, graph_name, weights_name
from cmnas_edge.embedding import MODALITIES, Modality

__all__ = ["ALIGNMENT", "WEIGHTS", "fingerprint", "write_graphs"]

WEIGHTS = "weights.bin"
ALIGNMENT = 64  # a cache line, and the widest vector register


def write_graphs(models: Mapping[Modality, onnx.ModelProto], folder: Path, precision: Precision = "fp32") -> None:
    """Write ``visible.onnx``, ``infrared.onnx`` and the ``weights.bin`` they share, or those of another precision.

    Args:
        models: A model per modality with its weights inside; left as they are.
        folder: Exists.
        precision: Names the files. Scales of other precisions stay in their graph, being shorter than their place.
    """
    offsets: dict[bytes, int] = {}
    weights = bytearray()
    least = 0 if precision == "fp32" else ALIGNMENT
    for modality in MODALITIES:
        model = onnx.ModelProto()
        model.CopyFrom(models[modality])
        for tensor in model.graph.initializer:
            if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
                continue  # shapes and axes: engines want them at hand when they read the graph
            data = _bytes(tensor)
            if len(data) < least:
                continue
            if data not in offsets:
                weights.extend(bytes(-len(weights) % ALIGNMENT))
                offsets[data] = len(weights)
                weights.extend(data)
            tensor.raw_data = data
            for field in ("float_data", "int32_data"):  # where some tools keep float16
                tensor.ClearField(field)
            external_data_helper.set_external_data(tensor, weights_name(precision), offsets[data], len(data))
            tensor.ClearField("raw_data")
        (folder / graph_name(modality, precision)).write_bytes(model.SerializeToString(deterministic=True))
    (folder / weights_name(precision)).write_bytes(weights)


def fingerprint(models: Mapping[Modality, onnx.ModelProto], preprocessing: str, dimension: int) -> str:
    """Digest what decides whether two embeddings may be compared, as 64 hexadecimal digits.

    That is, for each modality, what is computed from what in which order, with which float32
    weights; how crops are made; and how long an embedding is. Names, file layout and who wrote
    the file play no part.

    Args:
        models: The float32 model of each modality, with its weights inside.
        preprocessing: `cmnas_edge.preprocess.DEFINITION`.
        dimension: Entries of an embedding.
    """
    digest = hashlib.sha256(b"cmnas fingerprint 1\n")
    for part in (preprocessing, str(dimension)):
        digest.update(f"{len(part)}:{part}\n".encode())
    for modality in MODALITIES:
        digest.update(f"{modality}\n".encode())
        for line in _lines(models[modality]):
            digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _lines(model: onnx.ModelProto) -> list[str]:
    """A graph without names: every value is the number of the step that made it, every tensor its digest."""
    graph = model.graph
    values = {"": "none"}
    opsets = sorted(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)
    lines = [f"opset {opsets}"]
    for tensor in graph.initializer:
        content = hashlib.sha256(_bytes(tensor)).hexdigest()
        values[tensor.name] = f"{TensorProto.DataType.Name(tensor.data_type)}{list(tensor.dims)}{content}"
    for number, value in enumerate(graph.input):
        values[value.name] = f"input{number}"
        lines.append(f"input {_type(value)}")
    for number, node in enumerate(graph.node):
        attributes = sorted((entry.name, repr(helper.get_attribute_value(entry))) for entry in node.attribute)
        lines.append(f"{node.domain} {node.op_type} {[values[name] for name in node.input]} {attributes}")
        values.update({name: f"step{number}.{i}" for i, name in enumerate(node.output)})
    lines.extend(f"output {values[value.name]} {_type(value)}" for value in graph.output)
    return lines


def _type(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    # A free dimension has a name, which says nothing about what is computed.
    sizes = [dim.dim_value if dim.HasField("dim_value") else "any" for dim in kind.shape.dim]
    return f"{TensorProto.DataType.Name(kind.elem_type)}{sizes}"


def _bytes(tensor: onnx.TensorProto) -> bytes:
    array = numpy_helper.to_array(tensor)
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
