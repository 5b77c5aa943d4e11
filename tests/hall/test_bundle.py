"""A bundle vouches for each of its bytes, and says in one sentence what is wrong with it."""

from __future__ import annotations

import errno
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.bundle import Bundle, default_path, pair, seal
from cmnas_edge.bundle import folder as bundle_folder
from cmnas_edge.calibration import PAIRS, read_calibration
from cmnas_edge.cli import main
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.errors import BundleError
from tests.tiny_bundle import TINY, copy_tiny, redrawn_tiny, reseal, with_variant

FILES = sorted(path.relative_to(TINY).as_posix() for path in TINY.rglob("*") if path.is_file())


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return copy_tiny(tmp_path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tiny(tmp_path_factory.mktemp("flipped"))


def refuse(path: Path, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.open(path)
    for word in words:
        assert word in str(caught.value)


def test_a_bundle_tells_what_it_is() -> None:
    bundle = Bundle.open(TINY)
    assert (bundle.name, bundle.height, bundle.width, bundle.dimension) == ("tiny", 32, 16, 8)
    assert bundle.fingerprint.hex() == bundle.fingerprint_hex
    assert len(bundle.fingerprint) == 32
    assert bundle.precisions == ("fp32",)
    assert bundle.calibrated_on == "drawn"
    assert set(bundle.thresholds) == set(PAIRS)
    assert all(bundle.graph(modality).is_file() for modality in MODALITIES)


def test_a_precision_that_passed_the_gate_is_part_of_the_bundle(tiny: Path) -> None:
    bundle = with_variant(tiny, "int8")
    assert bundle.precisions == ("fp32", "int8")
    assert bundle.graph("infrared", "int8") == tiny / "infrared.int8.onnx"
    assert bundle.graph("visible", "fp32") == tiny / "visible.onnx"
    assert bundle.manifest.variants["int8"].golden_cosine == 0.999


def test_bf16_is_a_way_to_run_the_float32_graph_and_adds_no_file(tiny: Path) -> None:
    before = Bundle.open(tiny).manifest.files.keys()
    bundle = with_variant(tiny, "bf16")
    assert bundle.manifest.files.keys() == before
    assert bundle.graph("visible", "bf16") == bundle.graph("visible", "fp32")


@pytest.mark.parametrize("name", ["visible.int8.onnx", "infrared.int8.onnx", "weights.int8.bin"])
def test_a_precision_without_all_of_its_files_is_refused(tiny: Path, name: str) -> None:
    with_variant(tiny, "int8")
    (tiny / name).unlink()
    reseal(tiny, lambda manifest: manifest["files"].pop(name))
    refuse(tiny, name, "to be listed; export again")


def test_the_files_of_a_precision_that_never_passed_are_none_of_the_bundles(tiny: Path) -> None:
    with_variant(tiny, "int8")
    reseal(tiny, lambda manifest: manifest.pop("variants"))
    refuse(tiny, "int8", "which is no file of a bundle")


def test_a_precision_that_was_refused_says_with_which_figures(tiny: Path) -> None:
    reseal(tiny, lambda manifest: manifest.update(refused={"int8": "rank-1 drop 3.1, bound 3.9 points"}))
    with pytest.raises(BundleError, match=r"expected one of the precisions fp32, found int8 .*bound 3\.9 points"):
        Bundle.open(tiny).graph("visible", "int8")


def test_the_golden_pair_is_crops_and_unit_vectors_of_each_modality() -> None:
    bundle = Bundle.open(TINY)
    for modality in MODALITIES:
        crops, embeddings = bundle.golden(modality)
        assert crops.shape == (3, 32, 16, 3)
        assert embeddings.shape == (3, 8)
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert not np.array_equal(bundle.golden("visible")[0], bundle.golden("infrared")[0])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_byte_in_any_file_is_refused(scratch: Path, data: st.DataObject) -> None:
    path = scratch / data.draw(st.sampled_from(FILES))
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    change = data.draw(st.integers(1, 255))
    path.write_bytes(original[:at] + bytes([original[at] ^ change]) + original[at + 1:])
    try:
        refuse(scratch, path.name)
    finally:
        path.write_bytes(original)
    Bundle.open(scratch)


def test_a_changed_bit_anywhere_in_the_manifests_digest_is_refused(tiny: Path) -> None:
    path = tiny / "manifest.sha256"
    original = path.read_bytes()
    for at in range(len(original)):
        for bit in range(8):
            path.write_bytes(original[:at] + bytes([original[at] ^ (1 << bit)]) + original[at + 1:])
            refuse(tiny, "manifest.json")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tiny: Path, name: str) -> None:
    (tiny / name).unlink()
    refuse(tiny, name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_or_made_longer_is_named(tiny: Path, name: str) -> None:
    data = (tiny / name).read_bytes()
    for other in (data[:-1], b"", data + b"\0"):
        (tiny / name).write_bytes(other)
        refuse(tiny, Path(name).name)


@pytest.mark.parametrize("name", ["photo.jpg", "validation/photo.jpg", "deeper/still/x", ".hidden"])
def test_a_file_that_does_not_belong_is_named(tiny: Path, name: str) -> None:
    (tiny / name).parent.mkdir(parents=True, exist_ok=True)
    (tiny / name).write_bytes(b"")
    refuse(tiny, name, "remove it")


def test_a_link_is_no_file_of_a_bundle(tiny: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "weights.bin"
    shutil.move(tiny / "weights.bin", elsewhere)
    (tiny / "weights.bin").symlink_to(elsewhere)
    refuse(tiny, "weights.bin", "plain file")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "validation/../../outside", "validation/a/b.jpg",
                                  "validation/A.jpg", "validation\\a.jpg", "other.onnx", "validation/a.jpg\n", ""])
def test_a_name_that_is_none_of_a_bundles_is_refused(tiny: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes(b"")
    record = {"bytes": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
    reseal(tiny, lambda manifest: manifest["files"].update({name: record}))
    refuse(tiny, "no file of a bundle")


@pytest.mark.parametrize("name", ["visible.onnx", "weights.bin", "golden.npz", "calibration.json", "MODEL.md"])
def test_a_manifest_that_leaves_out_a_file_is_refused(tiny: Path, name: str) -> None:
    (tiny / name).unlink()
    reseal(tiny, lambda manifest: manifest["files"].pop(name))
    refuse(tiny, name, "listed")


def test_an_unknown_schema_says_which_version_can_read_it(tiny: Path) -> None:
    reseal(tiny, lambda manifest: manifest.update(schema=2))
    refuse(tiny, "expected schema 1, found 2", "the cmnas-edge that made it")


def test_a_bundle_for_crops_that_nobody_here_can_make_is_refused(tiny: Path) -> None:
    reseal(tiny, lambda manifest: manifest.update(preprocessing="nearest"))
    refuse(tiny, "expected crops made in one of the 2 ways", "'nearest'")


@pytest.mark.parametrize(("key", "value"), [("owner", "x"), ("dimension", 0), ("dimension", "8"), ("fingerprint", "ab"),
                                            ("precision", "fp4"), ("name", "a\nb"), ("name", "a\n"),
                                            ("made_by", "me\x1b[2J"), ("made_by", "a\nverified"), ("made_by", "a\n"),
                                            ("backbone", "\x9b31m"), ("preprocessing", "\u202etxet"),
                                            ("fingerprint", "0" * 64 + "\n"), ("height", 1 << 20)])
def test_a_field_that_is_unknown_or_wrong_is_named(tiny: Path, key: str, value: Any) -> None:
    reseal(tiny, lambda manifest: manifest.update({key: value}))
    refuse(tiny, "manifest.json", key)


def test_what_a_forger_writes_into_an_error_cannot_move_the_terminal(
        tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reseal(tiny, lambda manifest: manifest.update({"\x1b[2Jverified\n": 1}))
    assert main(["bundle", "show", str(tiny)]) == 65
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert shown.rstrip("\n").isprintable()
    (tiny / "\x1b[2J").write_bytes(b"")
    reseal(tiny)
    refuse(tiny, "x1b[2J")


def test_verify_does_not_vouch_for_a_fingerprint_it_did_not_compute(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny, invented = redrawn_tiny(tmp_path), "0" * 64
    text = (tiny / "calibration.json").read_text().replace(Bundle.open(tiny).fingerprint_hex, invented)
    (tiny / "calibration.json").write_text(text)
    reseal(tiny, lambda manifest: manifest.update(fingerprint=invented))
    assert main(["bundle", "verify", str(tiny)]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if invented in line]
    assert len(told) == 1
    assert "claimed by whoever packed it" in told[0]
    assert "verified" not in told[0]


@pytest.mark.parametrize("text", [
    b"", b"[]", b"null", b"\xff\xfe", b"{", b'"schema"', b"[" * 100_000, b'{"schema":' * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(tiny: Path, text: bytes) -> None:
    reseal(tiny)
    (tiny / "manifest.json").write_bytes(text)
    (tiny / "manifest.sha256").write_bytes(bundle_folder._digest_line(text))
    refuse(tiny, "manifest.json", "JSON")


def test_a_folder_without_a_bundle_says_so(tmp_path: Path) -> None:
    refuse(tmp_path, "expected a bundle", "check the path")
    refuse(tmp_path / "nowhere", "expected a bundle")
    (tmp_path / "file").write_bytes(b"")
    refuse(tmp_path / "file", "expected a bundle")


def test_thresholds_of_another_fingerprint_are_refused(tiny: Path) -> None:
    other = "0" * 64
    text = (tiny / "calibration.json").read_text().replace(Bundle.open(tiny).fingerprint_hex, other)
    (tiny / "calibration.json").write_text(text)
    reseal(tiny)
    refuse(tiny, "calibration.json", other[:16], "calibrate")


def test_a_calibration_without_one_of_the_pairs_is_refused(tiny: Path) -> None:
    found = json.loads((tiny / "calibration.json").read_text())
    del found["thresholds"]["visible-infrared"]
    with pytest.raises(BundleError, match="visible-infrared"):
        read_calibration(json.dumps(found).encode(), found["fingerprint"], "here")


def test_recalibrating_keeps_the_fingerprint(tiny: Path) -> None:
    before = Bundle.open(tiny)
    text = (tiny / "calibration.json").read_text()
    (tiny / "calibration.json").write_text(text.replace('"drawn"', '"site"'))
    after = seal(tiny, before.manifest)
    assert after.calibrated_on == "site"
    assert after.fingerprint == before.fingerprint
    assert after.manifest.files["calibration.json"] != before.manifest.files["calibration.json"]


def test_golden_arrays_that_would_fill_the_memory_are_refused_unread(tiny: Path) -> None:
    with zipfile.ZipFile(tiny / "golden.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("visible_crops.npy", bytes(65 << 20))
    reseal(tiny)
    with pytest.raises(BundleError, match=r"golden\.npz.*68157440 bytes when unpacked"):
        Bundle.open(tiny).golden("visible")


@pytest.mark.parametrize("arrays", [
    {"visible_crops": np.zeros((1, 32, 16, 3), np.uint8)},
    {f"{m}_{what}": np.zeros((1, 32, 16, 3), np.uint8) for m in MODALITIES for what in ("crops", "embeddings")},
    {f"{m}_{what}": np.array([object()]) for m in MODALITIES for what in ("crops", "embeddings")},
    None,
])
def test_golden_arrays_of_another_kind_are_refused_and_nothing_is_unpickled(tiny: Path, arrays: Any) -> None:
    if arrays is None:
        (tiny / "golden.npz").write_bytes(b"PK\x03\x04 no zip after all")
    else:
        np.savez(tiny / "golden.npz", **arrays)
    reseal(tiny)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        Bundle.open(tiny).golden("visible")


@pytest.mark.parametrize("member", [b"not an array", b""])
def test_golden_members_that_are_no_arrays_are_refused(tiny: Path, member: bytes) -> None:
    with zipfile.ZipFile(tiny / "golden.npz", "w") as file:
        for modality in MODALITIES:
            for what in ("crops", "embeddings"):
                file.writestr(f"{modality}_{what}", member)
    reseal(tiny)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        Bundle.open(tiny).golden("visible")


@pytest.mark.parametrize("name", FILES)
def test_a_file_this_user_may_not_read_is_named(tiny: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Path.read_bytes

    def forbidden(path: Path) -> bytes:
        if path == tiny / name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return honest(path)

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    refuse(tiny, str(tiny / name), "Permission denied", "mode")


@pytest.mark.parametrize("threads", ["0", "-3", "1000000000000"])
def test_a_number_of_threads_that_is_none_is_one_sentence(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "verify", str(TINY), "--threads", threads]) == 78
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert threads in shown.err


def test_a_pair_has_one_name_whichever_comes_first() -> None:
    assert pair("infrared", "visible") == pair("visible", "infrared") == "visible-infrared"
    assert {pair(a, b) for a in MODALITIES for b in MODALITIES} == set(PAIRS)


def test_an_installation_without_weights_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle_folder, "__file__", str(tmp_path / "bundle" / "folder.py"))
    with pytest.raises(BundleError, match="reinstall"):
        default_path()


def test_show_prints_fingerprint_and_what_the_thresholds_are_worth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "show", str(TINY)]) == 0
    shown = capsys.readouterr().out
    assert Bundle.open(TINY).fingerprint_hex in shown
    assert "calibrated on: drawn" in shown
    assert "unknown until calibrated on site" in shown
    assert "probability" not in shown   # of a bundle of schema 1 nobody found out


def test_show_says_where_doubt_begins_and_how_probable_a_match_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "show"]) == 0
    shown = capsys.readouterr().out
    found = Bundle.open(default_path()).calibration
    for name in PAIRS:
        likely = found.judge(name, found.thresholds[name].score).probability
        assert f"unsure from {found.scales[name].unsure_from:.4f}" in shown
        assert f"probability {likely:.2f}, prior 0.01" in shown


def test_a_damaged_bundle_ends_show_with_one_sentence_and_exit_65(
        tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / "weights.bin").write_bytes(b"")
    assert main(["bundle", "show", str(tiny)]) == 65
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert "weights.bin" in shown.err


def test_verify_runs_every_graph_a_processor_can_and_says_of_the_others_that_it_did_not(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = redrawn_tiny(tmp_path)
    with_variant(path, "int8")
    with_variant(path, "fp16")
    assert main(["bundle", "verify", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith("int8 ") and "reproduced" in line]) == 2
    assert [line for line in said if line.startswith("fp16 ") and "not run" in line]
    # Any network of the right shape: that of the other modality.
    (path / "visible.int8.onnx").write_bytes((path / "infrared.onnx").read_bytes())
    reseal(path)
    assert main(["bundle", "verify", str(path)]) == 65
    shown = capsys.readouterr()
    assert "visible.int8.onnx: expected the golden embeddings" in shown.err
    assert "verified" not in shown.out


def test_show_tells_what_passed_the_gate_and_what_did_not_with_its_figures(
        tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "show", str(tiny)]) == 0
    assert "precisions    fp32\nsize" in capsys.readouterr().out
    with_variant(tiny, "fp16")
    reseal(tiny, lambda manifest: manifest.update(refused={"int8": "lost 3.10 points of rank-1 (at most 3.90)"}))
    reseal(tiny, lambda manifest: manifest["variants"]["fp16"]["gate"]["rank1"]["visible-infrared"].update(bound=0.42))
    assert main(["bundle", "show", str(tiny)]) == 0
    said = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["fp16", "passed the gate: at most 0.42 points of rank-1 lost"] in said
    assert ["int8", "refused: lost 3.10 points of rank-1 (at most 3.90)"] in said
