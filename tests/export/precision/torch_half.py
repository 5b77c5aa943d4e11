"""A sketch's graph in torch, layer by layer, in any precision: nobody's graph, for ours to agree with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional


def by_torch(model: onnx.ModelProto, crops: npt.NDArray[np.uint8], kind: torch.dtype) -> npt.NDArray[np.float32]:
    """Embeddings of crops; the head from the length of a vector on stays float32."""
    made = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in model.graph.initializer}
    made = {name: value.to(kind) if value.is_floating_point() and name != "shortest" else value
            for name, value in made.items()}
    made["crops"] = torch.from_numpy(crops)
    for node in model.graph.node:
        x = [made[name] for name in node.input]
        told = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        match node.op_type:
            case "Transpose":
                y = x[0].permute(told["perm"])
            case "Cast":
                y = x[0].to(kind)
            case "Conv":
                y = functional.conv2d(x[0], x[1], x[2] if len(x) > 2 else None, padding=told.get("pads", [0])[0],
                                      groups=told.get("group", 1))
            case "Relu":
                y = x[0].relu()
            case "Add":
                y = x[0] + x[1]
            case "GlobalAveragePool":
                y = x[0].mean((2, 3), keepdim=True)
            case "Flatten":
                y = x[0].flatten(1)
            case "Gemm":
                y = x[0] @ x[1].T
            case "ReduceL2":
                y = x[0].float().norm(dim=1, keepdim=True)
            case "Max":
                y = torch.maximum(x[0], x[1])
            case "Div":
                y = x[0].float() / x[1]
        made[node.output[0]] = y
    return made["embeddings"].numpy()
