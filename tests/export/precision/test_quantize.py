"""A bundle gains the precisions that pass and says why others did not; anything in the way is one sentence."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import export.__main__
import export.quantize
from cmnas_edge.bundle import Bundle, Drawn, graph_name
from cmnas_edge.cli import main as cmnas_edge
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine import open_engine
from cmnas_edge.synthetic.crops import draw_set
from export.__main__ import main
from export.card import with_precisions
from export.precision import crops as calibration
from export.precision import gate, ladder
from export.precision.crops import Crops
from export.precision.ladder import LADDER, climb
from tests.export.precision.graphs import HEIGHT, WIDTH, crops, light, overflowing
from tests.tiny_bundle import redrawn_tiny

BLIND = ladder._blind
LENIENT = [(gate, "QUERIES", 16), (gate, "LARGEST_LOSS", 101.0), (gate, "LARGEST_SPREAD", 1.0),
           (ladder, "_blind", lambda *_: []), (calibration, "DRAWN", 64)]
FEW = ["--gate-people", "8", "--method", "minmax"]


@pytest.fixture(autouse=True)
def few_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that one query is many points, of networks nobody trained; here it matters what becomes of a verdict."""
    for where, name, value in LENIENT:
        monkeypatch.setattr(where, name, value)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return redrawn_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def everything(tiny: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        for where, name, value in LENIENT:
            patch.setattr(where, name, value)
        out = tiny.parent / "everything"
        assert main(["quantize", str(tiny), "--out", str(out), *FEW]) == 0
        yield out


def pictures(folder: Path, *, swapped: bool = False, count: int = 70) -> Path:
    """A user's crops, one of each person."""
    for modality, camera in zip(MODALITIES, (3, 1) if swapped else (1, 3), strict=True):
        (folder / "gate" / modality).mkdir(parents=True)
        for number, image in enumerate(draw_set(range(count), (camera,), 1, 40, 20, 5).images):
            cv2.imwrite(str(folder / "gate" / modality / f"{number}.jpg"), image)
    return folder


def test_each_precision_becomes_graphs_figures_and_a_line_in_the_card(tiny: Path, everything: Path) -> None:
    before, after = Bundle.open(tiny), Bundle.open(everything)
    assert after.fingerprint == before.fingerprint
    assert after.precisions == ("fp32", "bf16", "fp16", "int8", "int8_fp16")
    assert after.manifest.refused == {}
    for name, record in before.manifest.files.items():
        assert name == "MODEL.md" or after.manifest.files[name] == record
    card = (everything / "MODEL.md").read_text()
    for precision, variant in after.manifest.variants.items():
        assert min(variant.gate.query_count.values()) == 16
        assert set(variant.gate.rank1) == set(variant.gate.mean_ap) == set(gate.DIRECTIONS)
        assert 0 < variant.golden_cosine < 1
        assert f"| {precision} | infrared-visible |" in card
        assert (variant.ranges is not None) == precision.startswith("int8")
    ranges = after.manifest.variants["int8"].ranges
    assert ranges is not None
    assert (ranges.method, ranges.source, ranges.crop_count) == ("minmax", "drawn", {"visible": 64, "infrared": 64})
    assert "## Precisions" in card


def test_a_device_can_open_what_was_made_and_verify_the_bundle(everything: Path) -> None:
    bundle = Bundle.open(everything)
    some = bundle.golden("visible")[0]
    with open_engine(bundle, "visible") as plain, open_engine(bundle, "visible", precision="int8") as engine:
        assert engine.precision == "int8"
        assert not np.array_equal(engine.embed(some), plain.embed(some))
    assert cmnas_edge(["bundle", "verify", str(everything)]) == 0


def test_graphs_of_a_precision_share_their_weights_which_are_smaller_in_half(everything: Path) -> None:
    sizes = {name: record.bytes for name, record in Bundle.open(everything).manifest.files.items()}
    assert sizes["weights.fp16.bin"] < 0.75 * sizes["weights.bin"]
    assert {graph_name("visible", precision) for precision in LADDER} <= sizes.keys()


def test_what_is_refused_is_told_with_its_figures_and_float32_stays(
        tiny: Path, everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LARGEST_LOSS", -101.0)
    out = tmp_path / "out"
    assert main(["quantize", str(everything), "--out", str(out), "--precisions", "int8, fp16", *FEW]) == 0
    bundle = Bundle.open(out)
    assert bundle.precisions == ("fp32",)
    assert set(bundle.manifest.refused) == {"int8", "fp16"}
    assert "rank-1 visible-visible lost " in bundle.manifest.refused["int8"]
    assert "int8 may not serve: rank-1" in (out / "MODEL.md").read_text()
    assert set(bundle.manifest.files) == set(Bundle.open(tiny).manifest.files)


def test_whoever_quantises_a_signed_bundle_hears_that_it_is_to_be_signed_again(
        tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signed, key = Path(shutil.copytree(tiny, tmp_path / "signed")), tmp_path / "key"
    assert main(["keygen", str(key)]) == 0
    assert main(["sign", str(signed), "--key", str(key)]) == 0
    for source, said in ((signed, True), (tiny, False)):
        capsys.readouterr()
        out = tmp_path / f"of {source.name}"
        assert main(["quantize", str(source), "--out", str(out), "--precisions", "fp32", *FEW]) == 0
        assert ("sign it again: python -m export sign" in capsys.readouterr().out) is said
    assert not Bundle.open(tmp_path / "of signed").signers


def test_asked_for_float32_alone_a_bundle_is_as_it_was_packed(tiny: Path, everything: Path, tmp_path: Path) -> None:
    assert main(["quantize", str(everything), "--out", str(tmp_path / "out"), "--precisions", "fp32", *FEW]) == 0
    assert (tmp_path / "out" / "manifest.json").read_bytes() == (tiny / "manifest.json").read_bytes()


def test_of_a_users_pictures_only_a_digest_enters(tiny: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "crops")
    command = ["quantize", str(tiny), "--precisions", "int8", "--crops", str(folder), *FEW]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    one = Bundle.open(tmp_path / "one")
    ranges = one.manifest.variants["int8"].ranges
    assert ranges is not None
    assert (ranges.source, ranges.crop_count) == ("folder", {"visible": 70, "infrared": 70})
    new = set(one.manifest.files) - set(Bundle.open(tiny).manifest.files)
    assert new == {"visible.int8.onnx", "infrared.int8.onnx", "weights.int8.bin"}
    (folder / "gate" / "visible" / "0.jpg").unlink()
    changed = calibration.from_folder(folder, one.height, one.width).ranges("minmax")
    assert changed.sha256["infrared"] == ranges.sha256["infrared"]
    assert changed.sha256["visible"] != ranges.sha256["visible"]


def test_of_many_pictures_some_are_taken_from_first_to_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(calibration, "MOST", 65)
    folder = pictures(tmp_path, count=80)
    assert len(calibration.from_folder(folder, 32, 16).images["visible"]) == 65


@pytest.mark.parametrize(("fault", "told"), [
    ("missing", "expected a folder of crops"), ("empty", "found 0"), ("few", "found 10"),
    ("corrupt", "{folder}/gate/visible/7.jpg: expected a picture"), ("cut", "a JPEG that is cut off"),
    ("swapped", "look infrared")])
def test_crops_that_cannot_be_used_are_one_sentence(tiny: Path, tmp_path: Path, fault: str, told: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "crops"
    if fault == "empty":
        folder.mkdir()
    elif fault != "missing":
        pictures(folder, swapped=fault == "swapped", count=10 if fault == "few" else 70)
    one = folder / "gate" / "visible" / "7.jpg"
    if fault == "corrupt":
        one.write_bytes(b"no picture")
    if fault == "cut":
        one.write_bytes(one.read_bytes()[:-40])
    assert main(["quantize", str(tiny), "--out", str(tmp_path / "out"), "--crops", str(folder), *FEW]) == 78
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1
    assert told.format(folder=folder) in shown[0]
    assert not (tmp_path / "out").exists()


def test_visible_pictures_given_as_infrared_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "crops")
    infrared, visible = (tmp_path / "crops" / "gate" / modality for modality in ("infrared", "visible"))
    for path in visible.iterdir():
        (infrared / path.name).write_bytes(path.read_bytes())
    with pytest.raises(calibration.ConfigError, match="some that look visible"):
        calibration.from_folder(tmp_path / "crops", 32, 16)


@pytest.mark.parametrize("options", [["--precisions", "fp8"], ["--precisions", ""], ["--gate-people", "7"],
                                     ["--gate-people", "99999999999999"]])
def test_what_cannot_be_asked_for_is_one_sentence_before_any_work(
        tiny: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["quantize", str(tiny)], ["pack", str(tmp_path / "none.safetensors")]):
        assert main([*command, "--out", str(tmp_path / "out"), *FEW, *options]) == 78
        shown = capsys.readouterr()
        assert shown.out == ""
        assert len(shown.err.splitlines()) == 1
        assert options[0] in shown.err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "full"), 75)])
@pytest.mark.parametrize("where", ["write_graphs", "seal", "climb"])
def test_ctrl_c_and_a_full_disk_leave_nothing_half_written(
        tiny: Path, tmp_path: Path, where: str, error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    if where == "climb" and code == 75:
        pytest.skip("nothing is written then")

    def stopped(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(export.quantize, where, stopped)
    before = {path: path.read_bytes() for path in tiny.rglob("*") if path.is_file()}
    for out, extra in ((tmp_path / "new", []), (tiny, ["--replace"])):
        assert main(["quantize", str(tiny), "--out", str(out), "--precisions", "fp16", *FEW, *extra]) == code
        assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("export")]) == 1
    assert not list(tmp_path.iterdir())
    assert {path: path.read_bytes() for path in tiny.rglob("*") if path.is_file()} == before


def test_a_bundle_is_replaced_only_when_told_to(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", str(tiny), "--out", str(tiny), *FEW]) == 78
    assert "--replace" in capsys.readouterr().err
    damaged = redrawn_tiny(tmp_path)
    (damaged / "visible.onnx").write_bytes(b"")
    assert main(["quantize", str(damaged), "--out", str(tmp_path / "out"), *FEW]) == 65


def climbing(model: object, *asked: str) -> ladder.Climb:
    models = dict.fromkeys(MODALITIES, model)
    return climb(models, HEIGHT, WIDTH, Drawn(0, 2, (2, 3), 1, 5), asked=asked,  # type: ignore[arg-type]
                 crops=Crops(dict.fromkeys(MODALITIES, crops()), "drawn"), method="minmax", person_count=8)


def test_a_planted_overflow_is_refused_by_its_name_and_the_ladder_goes_on() -> None:
    found = climbing(overflowing(), "int8_fp16", "int8", "fp16")
    assert "int8" in found.admitted
    assert found.refused["fp16"].startswith("visible: expected magnitudes up to 30,000, found up 160,000")
    assert "up 160,000" in found.refused["int8_fp16"]


def test_embeddings_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder.overflow, "too_large", lambda *_: {})
    assert "no numbers" in climbing(overflowing(), "fp16").refused["fp16"]


def test_a_golden_pair_that_could_not_tell_red_from_blue_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "_blind", BLIND)
    assert "int8" in climbing(light(), "int8").admitted
    monkeypatch.setattr(ladder, "_PLAIN", 1e9)
    assert "red from blue" in climbing(light(), "int8").refused["int8"]


def test_a_graph_that_breaks_a_rule_is_refused_by_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ladder.quantised

    def careless(*arguments: object) -> object:
        made = honest(*arguments)  # type: ignore[arg-type]
        next(node for node in made.graph.node if node.name == "sum").input[1] = "stem.relu"
        return made

    monkeypatch.setattr(ladder, "quantised", careless)
    assert climbing(light(), "int8").refused["int8"].startswith("visible: sum: the identity does not pass through int8")


def test_a_cards_section_is_replaced_and_removed_whole() -> None:
    card = "# name\n\n## Thresholds\n\nx\n\n## What it is not good for\n\ny\n"
    once = with_precisions(card, {}, {"int8": "why"})
    assert with_precisions(once, {}, {"int8": "why"}) == once
    assert once.index("## Thresholds") < once.index("int8 may not serve: why.") < once.index("## What it is not")
    assert with_precisions(once, {}, {}) == card
    assert with_precisions("bare", {}, {}) == "bare"


def test_packing_tries_precisions_once_the_float32_bundle_is_whole(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.export.networks import drawn_network
    from train.networks.checkpoint import Checkpoint, save
    save(tmp_path / "c.safetensors", drawn_network(1), Checkpoint(height=32, width=16, seed=0, commit="", data=""))
    command = ["pack", str(tmp_path / "c.safetensors"), "--out", str(tmp_path / "b"), "--drawn-identities", "16",
               "--validation-identities", "0", "--precisions", "fp16", *FEW]
    assert main(command) == 0
    assert Bundle.open(tmp_path / "b").precisions == ("fp32", "fp16")

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export.quantize, "climb", stopped)
    assert main([*command, "--replace"]) == 130
    assert Bundle.open(tmp_path / "b").precisions == ("fp32",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c.safetensors"]
