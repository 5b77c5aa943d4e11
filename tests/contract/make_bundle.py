"""Make the tiny bundle that stands for a release: ``python tests/contract/make_bundle.py FOLDER``.

Run once per release, from its checkout; the folder is then kept as it is, and every later
version must read it. Its network is one convolution and one linear layer with weights drawn
from a seed. The golden embeddings come from onnx's reference evaluator, not from the engine.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from cmnas_edge.bundle import Drawn
from cmnas_edge.calibration import PAIRS, Threshold
from cmnas_edge.embedding import Modality
from export.pack import Contents, write_bundle
from export.to_onnx import IR_VERSION, OPSET

HEIGHT, WIDTH, DIMENSION = 32, 16, 8


def tiny_model(seed: int, shared_seed: int = 0) -> onnx.ModelProto:
    """A convolution of its own and a linear layer shared by all of one ``shared_seed``."""
    own, shared = np.random.default_rng(seed), np.random.default_rng(shared_seed)
    tensors = {
        "mean": np.full((1, 3, 1, 1), 127.5, np.float32),
        "conv.weight": own.normal(0, 0.01, (4, 3, 3, 3)).astype(np.float32),
        "conv.bias": own.normal(0, 0.1, 4).astype(np.float32),
        "linear.weight": shared.normal(0, 1, (DIMENSION, 4)).astype(np.float32),
        "axes": np.array([1], np.int64),
        "shortest": np.array(1e-6, np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["crops"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "mean"], ["centred"]),
        helper.make_node("Conv", ["centred", "conv.weight", "conv.bias"], ["map"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["map"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "linear.weight"], ["embedding"], transB=1),
        helper.make_node("ReduceL2", ["embedding", "axes"], ["length"]),
        helper.make_node("Max", ["length", "shortest"], ["divisor"]),
        helper.make_node("Div", ["embedding", "divisor"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes, "embed", [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", DIMENSION])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def make(folder: Path) -> None:
    """Write the bundle to a folder that does not exist yet."""
    models: dict[Modality, onnx.ModelProto] = {"visible": tiny_model(1), "infrared": tiny_model(2)}

    def embed(crops: npt.NDArray[np.uint8], modality: Modality) -> npt.NDArray[np.float32]:
        return np.asarray(ReferenceEvaluator(models[modality]).run(None, {"crops": crops})[0], np.float32)

    write_bundle(folder, Contents(
        name="tiny", backbone="one convolution", models=models, height=HEIGHT, width=WIDTH, dimension=DIMENSION,
        golden=Drawn(first_identity=0, identities=3, cameras=(2, 3), per_camera=1, seed=5),
        validation=Drawn(first_identity=3, identities=2, cameras=(1, 2, 3), per_camera=1, seed=5),
        thresholds={pair: Threshold(0.5 + 0.1 * i, 1e-3, 0.25, 100, 10_000) for i, pair in enumerate(PAIRS)},
        card="# tiny\n\nKept to prove that later versions read it. It recognises nobody.\n"), embed)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
