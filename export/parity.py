"""The parity chain: what is packed computes what was trained, link by link.

Training network in evaluation = folded network = ONNX on ONNX Runtime. Each link is measured
on unit vectors, in worst cosine distance and worst difference of an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import fx

from cmnas_edge.embedding import Modality
from cmnas_edge.errors import BundleError
from export.to_onnx import SHORTEST
from train.evaluate import normalised
from train.networks.build import Network

__all__ = ["LIMIT", "Step", "by_folded", "by_network", "by_onnx", "compare", "enforce", "opened"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
# float32 keeps 24 bits; through some hundred sums of some hundred terms rounding reaches about 1e-6
# of a unit vector's entries. A wrong border, a wrong order of channels, a lost bias: 1e-3 and more.
LIMIT = 1e-5
_BATCH = 64


class Step(NamedTuple):
    """One link of the chain, on ``crop_count`` crops."""

    modality: Modality
    link: str
    crop_count: int
    cosine_distance: float
    absolute_error: float

    def __str__(self) -> str:
        return (f"{self.modality:<9} {self.link:<34} {self.crop_count:>4} crops   cosine distance "
                f"{self.cosine_distance:.1e}   absolute error {self.absolute_error:.1e}")


def by_network(network: Network, crops: U8, modality: Modality) -> F32:
    """Unit vectors ``(n, d)`` by the training network, in evaluation; crops BGR ``(n, h, w, 3)``."""
    network.eval()
    rows = []
    with torch.inference_mode():
        for some in _batches(crops):
            infrared = torch.full((len(some),), modality == "infrared")
            rows.append(network(normalised(some), infrared).embedding.numpy())
    return _unit(rows)


def by_folded(folded: fx.GraphModule, crops: U8) -> F32:
    """Unit vectors ``(n, d)`` by a folded network."""
    with torch.inference_mode():
        return _unit([folded(normalised(some)).numpy() for some in _batches(crops)])


def by_onnx(model: onnx.ModelProto, crops: U8, threads: int = 1) -> F32:
    """Unit vectors ``(n, d)`` by ONNX Runtime, from a model with its weights inside."""
    return opened(model, threads)(crops)


def opened(model: onnx.ModelProto, threads: int = 1) -> Callable[[U8], F32]:
    """`by_onnx` of one model, for crops that come piece by piece."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda crops: np.concatenate([session.run(None, {"crops": some})[0] for some in _batches(crops)])


def compare(modality: Modality, link: str, a: F32, b: F32) -> Step:
    """Measure a link: worst row and worst entry of two sets of unit vectors ``(n, d)``."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(wide_a, axis=1) * np.linalg.norm(wide_b, axis=1)
    cosine = np.divide((wide_a * wide_b).sum(1), lengths, out=np.ones(len(a)), where=lengths > 0)
    return Step(modality, link, len(a), float(np.max(1 - cosine)), float(np.abs(wide_a - wide_b).max()))


def enforce(steps: Sequence[Step], limit: float = LIMIT) -> None:
    """Let nothing pass that computes something else.

    Raises:
        BundleError: A step is beyond the limit, or no number; all such steps are named.
    """
    broken = [str(step) for step in steps
              if not (step.cosine_distance <= limit and step.absolute_error <= limit)]
    if broken:
        raise BundleError(f"parity: expected every step within {limit:g}, found {'; '.join(broken)}; "
                          "this is an export that changes the network: do not ship it, report it")


def _batches(crops: U8) -> list[U8]:
    return [crops[start:start + _BATCH] for start in range(0, len(crops), _BATCH)]


def _unit(rows: list[F32]) -> F32:
    """As the graph does it: a row without response stays zero."""
    wide = np.concatenate(rows).astype(np.float64)
    scaled: F32 = (wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), SHORTEST)).astype(np.float32)
    return scaled
