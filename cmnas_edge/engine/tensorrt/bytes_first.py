"""Graphs that take bytes, as TensorRT wants them: the first thing that happens to a byte is a Cast.

"All UINT8 inputs must directly feed into a cast layer in TensorRT. No other layers support UINT8 inputs,
even just data-movement ops like reshape / transpose." (NVIDIA/TensorRT#3985). A bundle's graphs turn the
picture first and cast it then, which is less work on a processor. The two commute exactly, so they
change places here, in the file's own encoding (protobuf, as onnx.proto numbers its fields): a camera has
no package onnx. The bundle and its fingerprint stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cmnas_edge.fields import varint

__all__ = ["NotOnnx", "cast_first", "weight_files"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INPUT, _GRAPH_VALUE_INFO = 1, 11, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 4, 5
_NAME = 1           # of a ValueInfoProto
_MODEL_FUNCTION, _FUNCTION_NODE, _GRAPH_INITIALIZER = 25, 7, 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = (5, 10), (6, 11)
_TENSOR_EXTERNAL = 13
_UINT8 = 2


class NotOnnx(ValueError):
    """The bytes are no ONNX model, or cannot be brought into this form."""


class _Field(NamedTuple):
    number: int
    value: bytes    # of a length-delimited field; empty otherwise
    raw: bytes      # all of it, tag and length included


class _Node(NamedTuple):
    inputs: list[bytes]
    outputs: list[bytes]
    op: bytes
    fields: list[_Field]


def cast_first(model: bytes) -> bytes:
    """Let every uint8 input of an ONNX model be cast before anything else.

    Returns:
        The model; the same bytes if it is so already.

    Raises:
        NotOnnx: It is no ONNX model, or something but a Transpose stands between an input and its Cast.
    """
    outer = list(_fields(model))
    graphs = [field for field in outer if field.number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise NotOnnx(f"expected an ONNX model with one graph, found {len(graphs)}")
    inner = list(_fields(graphs[0].value))
    nodes = {row: _node(field.value) for row, field in enumerate(inner) if field.number == _GRAPH_NODE}
    changed: dict[int, bytes] = {}
    for name in (_first(field.value, _NAME) for field in inner if field.number == _GRAPH_INPUT and _is_uint8(field)):
        for row in (row for row, node in nodes.items() if name in node.inputs and node.op != b"Cast"):
            turn = nodes[row]
            after = [(other, node) for other, node in nodes.items() if turn.outputs[0] in node.inputs]
            if turn.op != b"Transpose" or [node.op for _, node in after] != [b"Cast"]:
                raise NotOnnx(f"expected the bytes of input {_text(name)} to go through at most one Transpose and then "
                              f"a Cast, since TensorRT computes nothing else on bytes, found {_text(turn.op)}")
            other, cast = after[0]
            # The names of tensors stay where they are; operation and attributes change places.
            changed[row], changed[other] = _with_work_of(turn, cast), _with_work_of(cast, turn)
    if not changed:
        return model
    graph = b"".join(_delimited(_GRAPH_NODE, changed[row]) if row in changed else field.raw
                     for row, field in enumerate(inner) if field.number != _GRAPH_VALUE_INFO)  # now of other types
    return b"".join(_delimited(_MODEL_GRAPH, graph) if field.number == _MODEL_GRAPH else field.raw for field in outer)


def weight_files(model: bytes) -> set[str]:
    """The files an ONNX model says its weights lie in, wherever in it that is said.

    Raises:
        NotOnnx: It is no ONNX model.
    """
    found: set[str] = set()
    for field in _fields(model):
        if field.number == _MODEL_GRAPH:
            _of_graph(field.value, found)
        elif field.number == _MODEL_FUNCTION:
            for node in _each(field.value, _FUNCTION_NODE):
                _of_node(node, found)
    return found


def _of_graph(graph: bytes, found: set[str]) -> None:
    for tensor in _each(graph, _GRAPH_INITIALIZER):
        _of_tensor(tensor, found)
    for node in _each(graph, _GRAPH_NODE):
        _of_node(node, found)


def _of_node(node: bytes, found: set[str]) -> None:
    for attribute in _each(node, _NODE_ATTRIBUTE):
        for tensor in _each(attribute, *_ATTRIBUTE_TENSORS):
            _of_tensor(tensor, found)
        for graph in _each(attribute, *_ATTRIBUTE_GRAPHS):
            _of_graph(graph, found)


def _of_tensor(tensor: bytes, found: set[str]) -> None:
    for entry in _each(tensor, _TENSOR_EXTERNAL):
        if _first(entry, 1) == b"location":
            found.add(_first(entry, 2).decode(errors="replace"))


def _each(message: bytes, *numbers: int) -> Iterator[bytes]:
    return (field.value for field in _fields(message) if field.number in numbers)


def _with_work_of(place: _Node, work: _Node) -> bytes:
    moved = (_NODE_OP, _NODE_ATTRIBUTE)
    return b"".join([field.raw for field in place.fields if field.number not in moved]
                    + [field.raw for field in work.fields if field.number in moved])


def _node(value: bytes) -> _Node:
    fields = list(_fields(value))
    return _Node([field.value for field in fields if field.number == _NODE_INPUT],
                 [field.value for field in fields if field.number == _NODE_OUTPUT],
                 b"".join(field.value for field in fields if field.number == _NODE_OP), fields)


def _is_uint8(info: _Field) -> bool:
    """ValueInfoProto.type (2) . tensor_type (1) . elem_type (1, a varint)."""
    tensor = _first(_first(info.value, 2), 1)
    return any(field.number == 1 and field.raw[1:] == bytes([_UINT8]) for field in _fields(tensor))


def _first(message: bytes, number: int) -> bytes:
    return next((field.value for field in _fields(message) if field.number == number), b"")


def _text(name: bytes) -> str:
    return ascii(name.decode(errors="replace")[:80])


def _fields(data: bytes) -> Iterator[_Field]:
    """Walk one message of protobuf's wire format."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        value = b""
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _BYTES:
            length, at = _varint(data, at)
            value, at = data[at:at + length], at + length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise NotOnnx(f"expected an ONNX model, found a field of kind {kind}")
        if at > len(data) or not number:
            raise NotOnnx("expected an ONNX model, found one cut short or something else")
        yield _Field(number, value, data[start:at])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        value, at = value | (byte & 0x7F) << shift, at + 1
        if byte < 0x80:
            return value, at
    raise NotOnnx("expected an ONNX model, found one cut short or something else")


def _delimited(number: int, value: bytes) -> bytes:
    return varint(number << 3 | _BYTES) + varint(len(value)) + value
