"""From a checkpoint to a bundle that verifies; anything in the way is one sentence and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

import export.commands
import export.pack
import export.replacement
from cmnas_edge.bundle import Bundle
from cmnas_edge.cli import main as cmnas_edge
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.preprocess import AREA
from export.__main__ import main
from export.weights import ALIGNMENT, WEIGHTS
from tests.export.networks import drawn_network
from train.networks.checkpoint import Checkpoint, save
from train.networks.cost import bytes_of
from train.networks.design import Design

FEW = ["--drawn-identities", "16", "--validation-identities", "3", "--precisions", "fp32"]


def write_checkpoint(path: Path, **changes: str) -> Path:
    meta = {"preprocessing": Checkpoint(height=1, width=1, seed=0, commit="", data="").preprocessing, **changes}
    save(path, drawn_network(1), Checkpoint(height=32, width=16, seed=0, commit="c0ffee", data="drawn", **meta))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("pack") / "small.safetensors")


@pytest.fixture(scope="module")
def packing(checkpoint: Path) -> tuple[Path, str]:
    """A bundle, and what was printed while it was packed."""
    out, told = checkpoint.parent / "bundle", io.StringIO()
    with contextlib.redirect_stdout(told):
        assert main(["pack", str(checkpoint), "--out", str(out), *FEW]) == 0
    return out, told.getvalue()


@pytest.fixture(scope="module")
def packed(packing: tuple[Path, str]) -> Path:
    return packing[0]


def test_packing_prints_every_link_of_the_parity_chain(packing: tuple[Path, str]) -> None:
    links = [line for line in packing[1].splitlines() if line.startswith("parity")]
    for modality in MODALITIES:
        for link in ("training network = folded", "folded = ONNX Runtime", "training network = ONNX Runtime",
                     "training network = onnxruntime engine"):
            assert any(modality in line and link in line for line in links)
    assert len(links) == 8


def test_a_packed_bundle_verifies(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cmnas_edge(["bundle", "verify", str(packed)]) == 0
    assert Bundle.open(packed).fingerprint_hex in capsys.readouterr().out


def test_a_packed_bundle_says_what_it_is(packed: Path) -> None:
    bundle = Bundle.open(packed)
    assert (bundle.name, bundle.height, bundle.width, bundle.dimension) == ("small", 32, 16, 512)
    assert bundle.manifest.backbone == "osnet_x0_25"
    assert bundle.calibrated_on == "drawn"
    assert {threshold.false_match_rate for threshold in bundle.thresholds.values()} == {1e-3}
    assert bundle.manifest.retrieval is not None
    assert bundle.manifest.retrieval.query_count == 6
    card = (packed / "MODEL.md").read_text()
    for words in (bundle.fingerprint_hex, "commit c0ffee", "data drawn", "drawn** people", "osnet_x0_25"):
        assert words in card


def test_what_is_packed_is_plain_and_old_runtimes_can_read_it(packed: Path) -> None:
    for modality in MODALITIES:
        model = onnx.load(Bundle.open(packed).graph(modality))
        assert model.ir_version <= 10
        assert {entry.version for entry in model.opset_import} == {19}
        assert not {node.op_type for node in model.graph.node} & {"BatchNormalization", "If", "Where"}
        used = {name for node in model.graph.node for name in node.input}
        assert {tensor.name for tensor in model.graph.initializer} <= used


def test_a_network_of_another_design_packs_says_so_and_weighs_what_it_should(tmp_path: Path) -> None:
    network = drawn_network(2, choice="split", design=Design(own=2, lite=False, streams=2, pool="gem"))
    save(tmp_path / "rival", network, Checkpoint(height=32, width=16, seed=0, commit="c0ffee", data="drawn"))
    few = [*FEW[:2], "--validation-identities", "0", *FEW[4:]]
    assert main(["pack", str(tmp_path / "rival"), "--out", str(tmp_path / "bundle"), *few]) == 0
    assert cmnas_edge(["bundle", "verify", str(tmp_path / "bundle")]) == 0
    card = (tmp_path / "bundle" / "MODEL.md").read_text()
    assert "osnet_x0_25 with streams 2 instead of 4, lite false instead of true, pool gem" in card
    padding = (tmp_path / "bundle" / WEIGHTS).stat().st_size - bytes_of(network.arch).total
    assert 0 <= padding < 200 * ALIGNMENT


def test_the_same_checkpoint_packs_to_the_same_bytes(checkpoint: Path, packed: Path, tmp_path: Path) -> None:
    assert main(["pack", str(checkpoint), "--out", str(tmp_path / "again"), *FEW]) == 0
    assert (tmp_path / "again" / "manifest.sha256").read_bytes() == (packed / "manifest.sha256").read_bytes()


def test_a_bundle_without_validation_crops_verifies_too(checkpoint: Path, packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "bare"
    assert main(["pack", str(checkpoint), "--out", str(out), *FEW[:2], "--validation-identities", "0", *FEW[4:]]) == 0
    assert not (out / "validation").exists()
    assert cmnas_edge(["bundle", "verify", str(out)]) == 0
    assert Bundle.open(out).fingerprint == Bundle.open(packed).fingerprint


def test_what_is_there_is_kept_unless_it_is_a_bundle_to_replace(
        checkpoint: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("years of work")
    command = ["pack", str(checkpoint), "--out", str(taken), *FEW]
    for extra in ([], ["--replace"]):
        assert main([*command, *extra]) == 78
        assert (taken / "thesis.txt").read_text() == "years of work"
    assert "--replace" in capsys.readouterr().err
    old = Path(shutil.copytree(packed, tmp_path / "old"))
    (old / "visible.onnx").write_bytes(b"")
    assert main(["pack", str(checkpoint), "--out", str(old), *FEW]) == 78
    assert main(["pack", str(checkpoint), "--out", str(old), *FEW, "--replace"]) == 0
    assert Bundle.open(old).fingerprint == Bundle.open(packed).fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "taken"]


def test_a_broken_link_stops_the_export_and_leaves_nothing(
        checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    honest = export.commands.to_onnx

    def careless(*args: object) -> onnx.ModelProto:
        model = honest(*args)  # type: ignore[arg-type]
        tensor = next(t for t in model.graph.initializer if t.name == "crops.mean")
        mean = onnx.numpy_helper.to_array(tensor)
        tensor.raw_data = (mean + np.float32(0.5)).tobytes()  # half a grey level
        return model

    monkeypatch.setattr(export.commands, "to_onnx", careless)
    assert main(["pack", str(checkpoint), "--out", str(tmp_path / "b"), *FEW]) == 65
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert "folded = ONNX Runtime" in shown.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [["--drawn-identities", "0"], ["--drawn-identities", "-1"],
                                     ["--validation-identities", "-1"], ["--drawn-identities", "99999999999999"],
                                     ["--validation-identities", "5001"]])
def test_fewer_people_than_none_or_more_than_there_is_room_for_are_one_sentence(
        checkpoint: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(checkpoint), "--out", str(tmp_path / "b"), *options]) == 78
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert options[0] in shown.err
    assert options[1] in shown.err


@pytest.mark.parametrize("parent", ["/proc/x", "{file}"])
def test_a_place_that_cannot_be_written_is_one_sentence_before_any_work(
        checkpoint: Path, parent: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(checkpoint), "--out", f"{parent.format(file=checkpoint)}/b", *FEW]) == 78
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert "name another --out" in shown.err


@pytest.mark.parametrize("where", ["thresholds", "write_bundle", "_serving"])
def test_ctrl_c_is_one_line_and_leaves_nothing_half_written(
        checkpoint: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if where == "write_bundle":
        monkeypatch.setattr(export.pack, "seal", interrupted)
    else:
        monkeypatch.setattr(export.commands, where, interrupted)
    assert main(["pack", str(checkpoint), "--out", str(tmp_path / "b"), *FEW]) == 130
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert "stopped" in shown
    left = [path.name for path in tmp_path.iterdir()]
    if where == "_serving":  # the bundle was whole by then
        assert left == ["b"]
        Bundle.open(tmp_path / "b")
    else:
        assert left == []


def test_an_old_bundle_outlives_ctrl_c_in_its_replacement(
        checkpoint: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Path(shutil.copytree(packed, tmp_path / "old"))
    before = (old / "manifest.json").stat().st_ino

    def interrupted(fresh: Path, place: Path) -> None:
        Bundle.open(fresh)
        Bundle.open(place)      # up to the one step in which they change places both are whole
        raise KeyboardInterrupt

    monkeypatch.setattr(export.replacement, "exchange", interrupted)
    assert main(["pack", str(checkpoint), "--out", str(old), *FEW, "--replace"]) == 130
    Bundle.open(old)
    assert (old / "manifest.json").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("where", ["{bundle}/new", "{bundle}/new/deep", "{link}/new", "{bundle}/validation/new"])
def test_nothing_is_packed_into_a_bundle_which_a_file_more_would_break(
        packed: Path, tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "link"
    link.symlink_to(packed)
    out = where.format(bundle=packed, link=link)
    assert main(["quantize", str(packed), "--out", out, "--precisions", "fp32"]) == 78
    assert f"expected a place outside of any bundle, found it in {packed}" in capsys.readouterr().err
    Bundle.open(packed)


def test_a_link_that_an_install_made_is_no_bundle_to_replace(
        packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "link"
    link.symlink_to(packed)
    assert main(["quantize", str(packed), "--out", str(link), "--precisions", "fp32", "--replace"]) == 78
    assert "expected a bundle's own folder to replace, found a link" in capsys.readouterr().err
    assert link.is_symlink()


def test_too_little_memory_is_one_sentence(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    def greedy(*_: object) -> None:
        np.empty(1 << 60, np.uint8)

    monkeypatch.setattr(export.commands, "thresholds", greedy)
    assert main(["pack", str(checkpoint), "--out", str(tmp_path / "b"), *FEW]) == 69
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("export pack: expected memory for all pictures at once, found too little (Unable to")
    assert "ask for fewer people" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("content", "code"), [(None, 78), (b"no checkpoint", 65)])
def test_a_missing_or_foreign_checkpoint_is_one_sentence(
        tmp_path: Path, content: bytes | None, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert main(["pack", str(path), "--out", str(tmp_path / "b")]) == code
    shown = capsys.readouterr()
    assert len(shown.err.splitlines()) == 1
    assert str(path) in shown.err


def test_a_checkpoint_of_another_preprocessing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_checkpoint(tmp_path / "other.safetensors", preprocessing="something else")
    assert main(["pack", str(path), "--out", str(tmp_path / "b")]) == 65
    assert "something else" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_preprocessing_becomes_a_bundle_of_it(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "earlier.safetensors", preprocessing=AREA)
    assert main(["pack", str(path), "--out", str(tmp_path / "b"), *FEW]) == 0
    assert Bundle.open(tmp_path / "b").manifest.preprocessing == AREA


PROBE = """
import json, sys
import numpy, onnxruntime
folder = sys.argv[1]
golden = numpy.load(folder + "/golden.npz", allow_pickle=False)
worst = 0.0
for modality in ("visible", "infrared"):
    session = onnxruntime.InferenceSession(f"{folder}/{modality}.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"crops": golden[f"{modality}_crops"]})[0]
    worst = max(worst, float(abs(found - golden[f"{modality}_embeddings"]).max()))
print(json.dumps({"version": onnxruntime.__version__, "worst": worst}))
"""


def test_python_3_10s_last_onnx_runtime_opens_the_bundle(packed: Path) -> None:
    python = shutil.which("python3.10")
    if python is None:
        pytest.skip("no python3.10 on the PATH")
    ran = subprocess.run([python, "-c", PROBE, str(packed)], capture_output=True, text=True, check=False)
    if ran.returncode and ("No module named" in ran.stderr or "pyenv" in ran.stderr):
        pytest.skip(f"{python} has no onnxruntime: pip install 'onnxruntime==1.23.2'")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["version"].split(".")[:2] == ["1", "23"]
    assert found["worst"] < 1e-4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("when", ["at once", "at last"])
def test_a_full_disk_is_worth_waiting_for(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str], when: str, code: int) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    if when == "at once":
        monkeypatch.setattr(os, "mkdir", full)
    else:
        monkeypatch.setattr(export.pack, "seal", full)
    assert main(["pack", str(checkpoint), "--out", str(tmp_path / "b"), *FEW]) == 75
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1
    assert "expected room for a bundle, found a full disk; free some space" in shown[0]
    assert not list(tmp_path.iterdir())
