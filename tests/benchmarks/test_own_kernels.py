"""An engine whose own kernels find other people than the gate let in is told so, whatever its golden pair says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import own_kernels
from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import unit
from cmnas_edge.engine import open_engine
from cmnas_edge.engine.contestant import Here
from cmnas_edge.engine.race import Candidate
from cmnas_edge.engine.results import SAFE, Entrant
from tests.tiny_bundle import copy_tiny, with_variant


def test_kernels_are_judged_beside_float32_and_int8_and_whoever_cannot_be_opened_is_left_out(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = with_variant(copy_tiny(tmp_path), "int8")
    right, odd, gone = Entrant("openvino", "fp32"), Entrant("openvino", "int8"), Entrant("tensorrt", "fp32")
    listed = [SAFE, Entrant("onnxruntime", "int8"), right, odd, gone]
    monkeypatch.setattr(own_kernels, "candidates", lambda bundle, **_: [
        Candidate(entrant, lambda: Here(bundle, lambda _: None)) for entrant in listed])  # type: ignore[arg-type, return-value]
    opened = []

    def open_(bundle: Bundle, modality: str, *, name: str, precision: str, max_batch: int) -> object:
        opened.append((name, precision))
        if name == "tensorrt":
            return open_engine(bundle, modality, name="tensorrt")  # type: ignore[arg-type]  # there is none here
        engine = open_engine(bundle, modality)  # type: ignore[arg-type]
        if (name, precision) == odd:
            honest = engine.embed
            engine.embed = lambda crops: unit(honest(crops) + 9.0)  # type: ignore[method-assign]  # all alike
        return engine

    monkeypatch.setattr(own_kernels, "open_engine", open_)
    rows = own_kernels.measure(bundle, 12)
    assert [(row["engine"], row["precision"]) for row in rows] == [right, odd]
    assert ("onnxruntime", "int8") in opened    # a camera of the site
    assert rows[0]["spread"] == {"visible": 1.0, "infrared": 1.0}
    assert (rows[0]["mean"], rows[0]["largest"]) == pytest.approx((0, 0), abs=1e-6)
    assert any(reason.startswith("spread visible 0.0") for reason in rows[1]["faults"])
    assert np.isfinite(rows[1]["largest"])
