"""Our source names nothing that TensorRT 11 removed, but behind a guard."""

from __future__ import annotations

import pytest

from tests.tensorrt.on import ROOT
from tests.tensorrt.removed import uses


def test_no_source_uses_a_name_that_tensorrt_11_removed() -> None:
    folders = ("cmnas_edge", "export", "benchmarks")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 50
    found = [f"{path.relative_to(ROOT)}:{use}" for path in paths for use in uses(path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(("source", "found"), [
    ("config.set_flag(trt.BuilderFlag.FP16)", ["1: FP16"]),
    ("config.set_flag(self._trt.BuilderFlag.FP16)", ["1: FP16"]),
    ("config.set_flag(getattr(trt.BuilderFlag, 'INT8'))", ["1: INT8"]),
    ("n = engine.device_memory_size", ["1: device_memory_size"]),
    ("if builder.platform_has_fast_fp16:\n    pass", ["1: platform_has_fast_fp16"]),
    ("if hasattr(trt.BuilderFlag, 'FP16'):\n    config.set_flag(trt.BuilderFlag.FP16)", []),
    ("if hasattr(trt.BuilderFlag, 'FP16'):\n    config.set_flag(trt.BuilderFlag.INT8)", ["2: INT8"]),
    ("if hasattr(trt.BuilderFlag, 'FP16'):\n    pass\nelse:\n    config.set_flag(trt.BuilderFlag.FP16)", ["4: FP16"]),
    ("n = engine.device_memory_size if hasattr(engine, 'device_memory_size') else 0", []),
    ("flag = getattr(trt.BuilderFlag, 'FP16', None)", []),
    ("n = engine.device_memory_size_v2; kind = trt.DataType.INT8; self.precision = 'FP16'", []),
    ("context.execute_async_v2(bindings, stream)", ["1: execute_async_v2"]),
])
def test_a_use_is_found_and_a_guarded_one_is_none(source: str, found: list[str]) -> None:
    assert list(uses(source)) == found
