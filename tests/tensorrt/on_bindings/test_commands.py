"""The commands an operator gives, over the real bindings: build and prove."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cmnas_edge import cli
from tests.tensorrt.world import World
from tests.tiny_bundle import TINY


def test_plans_are_built_for_both_modalities_and_then_there(world: World, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    build = ["engine", "build", str(TINY), "--cache", str(tmp_path), "--max-batch", "5", "--usual-batch", "2"]
    assert cli.main(build) == 0
    assert len(list(tmp_path.rglob("*.plan"))) == 2
    world.library.calls.clear()
    assert cli.main(build) == 0
    assert "builder.build_serialized_network" not in [call.name for call in world.library.calls]
    assert "DeviceError" not in capsys.readouterr().err


def test_the_proof_of_a_device_passes_and_says_what_was_tried(world: World, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # the picture is another test's, and takes a second
    assert cli.main(["engine", "prove", str(TINY), "--cache", str(tmp_path), "--out", str(tmp_path), "--frames", "120",
                     "--opens", "3", "--max-batch", "5"]) == 0
    [path] = tmp_path.glob("prove-*.json")
    proof = json.loads(path.read_text(encoding="utf-8"))
    assert proof["lacking"] == ""
    assert proof["versions"]["tensorrt"] == world.version
    subjects = [subject for subject in proof["subjects"] if subject["engine"] == "tensorrt"]
    assert [subject["verdict"] for subject in subjects] == ["passed", "passed"]
    for subject in subjects:
        assert subject["layers"] == {"CaskConvolution Half": 1}
        assert subject["frames"]["wrong"] == 0
        assert len(subject["batches"]) == 5 + 2
