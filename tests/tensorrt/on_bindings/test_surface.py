"""The names our source uses are there in these bindings, those on record, and none that TensorRT 11 removed."""

from __future__ import annotations

import json
from typing import Any

from tests.tensorrt.removed import REMOVED
from tests.tensorrt.surface import FILE, attributes, surface


def test_everything_taken_from_the_module_is_there(trt: Any) -> None:
    dotted, _ = attributes()
    assert "BuilderFlag.TF32" in dotted
    assert dotted - set(surface(trt)) == set()


def test_the_names_used_are_those_on_record(trt: Any) -> None:
    on_record = json.loads(FILE.read_text(encoding="utf-8"))[trt.__version__]
    assert surface(trt) == on_record, "written by: python -m tests.tensorrt.surface"


def test_names_are_gone_in_11_and_were_there_in_10_3(trt: Any) -> None:
    there = {f"{kind}.{name}" for kind, names in REMOVED.items() for name in names
             if hasattr(getattr(trt, kind, None) if kind else trt, name)}
    every = {f"{kind}.{name}" for kind, names in REMOVED.items() for name in names}
    if trt.__version__.startswith("11."):
        assert there == set()
    elif trt.__version__.startswith("10.3."):
        assert every - there == set()
