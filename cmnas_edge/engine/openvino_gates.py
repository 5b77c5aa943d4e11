"""The gates of a block's streams computed at once, where they are the same gate: OpenVINO then reorders less memory.

An omni-scale block (Zhou et al., ICCV 2019, equation 2) has one small gate for all its streams: the mean of a stream's
map goes through two convolutions of one pixel and a sigmoid. A graph has those layers once a stream. Here the means are
laid one below the other, go through the first stream's layers as a map of so many rows, and are parted again. Each row
is computed as before, from the same weights; that the engine still gives the bundle's golden embeddings is checked
whenever one is opened. What it brings: ``python -m benchmarks.gates``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["gates_at_once"]

_STREAMS = 2    # rows of a map: n, channels, rows, columns
_LAYERS = ("Convolution", "Add", "Relu", "Convolution", "Add", "Sigmoid")


def gates_at_once(library: Any, model: Any) -> int:
    """Let gates of the same weights share one computation.

    Args:
        library: The module openvino.
        model: Its graph, which is changed.

    Returns:
        How many blocks had such gates.
    """
    blocks: dict[tuple[str, ...], list[list[Any]]] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "ReduceMean" and (layers := _gate(node)):
            blocks.setdefault(tuple(map(_weights, layers)), []).append([node, *layers])
    shared = [gates for gates in blocks.values() if len(gates) > 1]
    for gates in shared:
        _join(library, model, gates)
    return len(shared)


def _gate(mean: Any) -> list[Any]:
    """The layers from a mean to its sigmoid; none if that is no gate."""
    layers: list[Any] = []
    node = mean
    for kind in _LAYERS:
        if not _one_pixel(node):
            return []
        after = [user.get_node() for user in node.output(0).get_target_inputs()]
        # The shape of what a bias is added to is asked for as well, which changes nothing.
        following = [user for user in after if user.get_type_name() != "ShapeOf"]
        if len(following) != 1 or following[0].get_type_name() != kind:
            return []
        node = following[0]
        if kind == "Convolution" and not _plain(node):
            return []
        layers.append(node)
    return layers


def _one_pixel(node: Any) -> bool:
    shape = node.output(0).get_partial_shape()
    return bool(shape.rank.is_static and len(shape) == 4 and all(
        shape[side].is_static and shape[side].get_length() == 1 for side in (2, 3)))


def _plain(convolution: Any) -> bool:
    """Whether each pixel is computed from itself alone."""
    told = convolution.get_attributes()
    kernel = convolution.input(1).get_partial_shape()
    return (list(told["strides"]), list(told["pads_begin"]), list(told["pads_end"]), told["auto_pad"]) == (
        [1, 1], [0, 0], [0, 0], "explicit") and all(
        kernel[side].is_static and kernel[side].get_length() == 1 for side in (2, 3))


def _weights(layer: Any) -> str:
    """The constant that a layer has of its own; empty if it has none, and its own name if that cannot be told."""
    if layer.get_input_size() == 1:
        return ""
    node = layer.input_value(1).get_node()
    while node.get_type_name() in ("Reshape", "Unsqueeze", "Convert"):
        node = node.input_value(0).get_node()
    return str(node.get_name() if node.get_type_name() == "Constant" else layer.get_name())


def _join(library: Any, model: Any, gates: list[list[Any]]) -> None:
    opset = library.opset13
    means, first, last = [gate[0] for gate in gates], gates[0][1], gates[0][-1]
    users = [list(gate[-1].output(0).get_target_inputs()) for gate in gates]
    first.input(0).replace_source_output(opset.concat([mean.output(0) for mean in means], _STREAMS).output(0))
    for layer in gates[0][1:]:
        layer.validate_and_infer_types()    # to be parted, the sigmoid's map must have its rows
    parts = opset.split(last.output(0), opset.constant(np.array(_STREAMS, np.int64)), len(gates))
    for part, those in zip(parts.outputs(), users, strict=True):
        for user in those:
            user.replace_source_output(part)
    model.validate_nodes_and_infer_types()
