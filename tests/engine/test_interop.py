"""What is written for other programs follows from the bundle, and TensorRT's own rules."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from cmnas_edge import cli
from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine.interop import trtexec_line
from cmnas_edge.engine.tensorrt.job import How
from tests.tiny_bundle import TINY


def test_the_graphs_for_other_programs_cast_bytes_first_and_give_the_golden_embeddings(tmp_path: Path) -> None:
    assert cli.main(["engine", "files", str(TINY), "--out", str(tmp_path)]) == 0
    bundle = Bundle.open(TINY)
    for modality in MODALITIES:
        path = tmp_path / f"{modality}.onnx"
        assert onnx.load(str(path)).graph.node[0].op_type == "Cast"
        crops, golden = bundle.golden(modality)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {"crops": crops})[0], golden, atol=1e-6)


def test_the_script_builds_each_graph_into_the_place_triton_looks_in(tmp_path: Path) -> None:
    assert cli.main(["engine", "files", str(TINY), "--out", str(tmp_path), "--max-batch", "16"]) == 0
    tool = tmp_path / "bin" / "trtexec"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "$@" >> said\nfor word in "$@"; do case $word in --saveEngine=*) '
                    'echo plan > "${word#--saveEngine=}";; esac; done\n')
    tool.chmod(0o755)
    subprocess.run(["sh", "build.sh"], cwd=tmp_path, check=True, env={"PATH": f"{tool.parent}:/usr/bin:/bin"})
    said = (tmp_path / "said").read_text().splitlines()
    assert len(said) == 2
    for line, modality in zip(said, MODALITIES, strict=True):
        assert f"--onnx={modality}.onnx --stronglyTyped --noTF32 --minShapes=crops:1x32x16x3" in line
        assert "--optShapes=crops:8x32x16x3 --maxShapes=crops:16x32x16x3" in line
        assert (tmp_path / f"{modality}.onnx").is_file()
    for folder in (tmp_path / "triton").iterdir():
        config = (folder / "config.pbtxt").read_text()
        assert f'name: "{folder.name}"' in config
        assert "max_batch_size: 16" in config
        assert "dims: [ 32, 16, 3 ]" in config
        assert config.count("{") == config.count("}")
        assert re.fullmatch(r"[A-Za-z0-9_]+", folder.name)
        assert (folder / "1" / "model.plan").is_file()


def test_the_line_can_be_pasted_whatever_the_file_is_called() -> None:
    line = trtexec_line(Bundle.open(TINY), "a b;rm.onnx", How(), "x y.plan")
    words = shlex.split(line)
    assert "--onnx=a b;rm.onnx" in words
    assert "--saveEngine=x y.plan" in words


@pytest.mark.parametrize(("words", "code", "says"), [
    (["--precision", "int8"], 65, "found int8 asked for"), (["--out", "/dev/null/x"], 78, "name another with --out"),
    (["--max-batch", "0"], 78, "--max-batch: expected 1 to 1024, found 0"),
    (["--out", f"{TINY}/new"], 78, "expected a place outside of any bundle, found it in"),
])
def test_what_cannot_be_written_is_said(words: list[str], code: int, says: str, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["engine", "files", str(TINY), "--out", str(tmp_path / "new"), *words]) == code
    assert says in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
