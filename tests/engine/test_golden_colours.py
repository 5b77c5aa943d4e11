"""An engine that reads colours in another order is told from one that only computes coarsely."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import check_golden
from cmnas_edge.engine.onnx_runtime import OnnxRuntimeEngine
from cmnas_edge.errors import BundleError
from tests.tiny_bundle import copy_tiny, with_variant

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


class Coarse:
    """The float32 graph behind a precision whose limit lets nearly everything pass, and with noise of its own."""

    name = "openvino"
    precision = "int8"
    max_batch = 32

    def __init__(self, bundle: Bundle, *, exchanged: bool = False, noise: float = 0.0) -> None:
        self._engine = OnnxRuntimeEngine(bundle, "visible", threads=1, max_batch=32)
        self._exchanged, self._noise = exchanged, noise

    def embed(self, crops: U8) -> F32:
        found = self._engine.embed(np.ascontiguousarray(crops[..., ::-1]) if self._exchanged else crops)
        found = found + self._noise * np.random.default_rng(0).normal(size=found.shape)
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return with_variant(copy_tiny(tmp_path), "int8", golden_cosine=0.01)


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_colours_in_another_order_are_refused_though_the_limit_lets_them_pass(bundle: Bundle, noise: float) -> None:
    assert check_golden(Coarse(bundle, noise=noise), bundle, "visible") < 0.99  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"to read crops in BGR.*red and blue exchanged"):
        check_golden(Coarse(bundle, exchanged=True, noise=noise), bundle, "visible")  # type: ignore[arg-type]


def test_infrared_has_no_colours_to_exchange(bundle: Bundle) -> None:
    crops, expected = bundle.golden("infrared")
    asked: list[int] = []

    class Told(Coarse):
        def embed(self, crops: U8) -> F32:
            asked.append(len(crops))
            return expected

    check_golden(Told(bundle), bundle, "infrared")  # type: ignore[arg-type]
    assert asked == [len(crops)]
