"""A checkpoint is scored by every protocol of the dataset it is shown, from embeddings that are made once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cmnas_edge.errors import ConfigError
from cmnas_edge.synthetic.files import Asked
from cmnas_edge.synthetic.llcm import write_llcm
from cmnas_edge.synthetic.market import write_market
from cmnas_edge.synthetic.regdb import write_regdb
from cmnas_edge.synthetic.sysu import write_sysu
from train import evaluate
from train.__main__ import main
from train.data import datasets
from train.data.drawn import Drawn, draw
from train.data.layout import Count
from train.data.regdb import REGDB
from train.evaluate import embed, extract, standings, strangers
from train.networks import checkpoint
from train.networks.build import Network, build
from train.networks.space import Arch
from train.protocols.report import report
from train.protocols.rows import DRAWN, EUCLIDEAN, Row

ASKED = Asked(train=2, validation=2, test=3, per_camera=2, height=32, width=16)
SIZE = (32, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strangers")
    write_sysu(folder / "sysu", **ASKED._asdict(), permutations=True)
    for name, write in (("regdb", write_regdb), ("llcm", write_llcm), ("market", write_market)):
        write(folder / name, ASKED)
    return folder


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return build(Arch.uniform("osnet_x0_25", "split"), identities=2).eval()


@pytest.fixture(scope="module")
def kept(folder: Path, network: Network) -> Path:
    path = folder / "runs" / "one" / "last.safetensors"
    path.parent.mkdir(parents=True)
    checkpoint.save(path, network, checkpoint.Checkpoint(height=32, width=16, seed=0, commit="x", data="y"))
    return path


@pytest.mark.parametrize("name", ["sysu", "regdb", "llcm", "market"])
def test_every_picture_of_a_dataset_is_embedded_once_for_all_of_its_protocols(
        name: str, folder: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counting(one: Network, crops: Any, **how: Any) -> object:
        seen.append(len(crops))
        return embed(one, crops, **how)

    monkeypatch.setattr(evaluate, "embed", counting)
    parts = ("query", "gallery") if name == "market" else ("test",)
    told: list[tuple[int, int]] = []
    read = extract(network, strangers(folder / name), SIZE, folder / "crops",
                   embedding=lambda done, of: told.append((done, of)))
    rows = standings(read, reranked=True)
    assert sum(seen) == sum(len(datasets.read(folder / name, part)) for part in parts)
    assert told[-1][0] == told[-1][1] == seen[-1]
    searches = [row for row in rows if row.kind == "search" and "mixed" not in row.setting]
    assert len(searches) == {"sysu": 16, "regdb": 4, "llcm": 6, "market": 4}[name]
    assert sum("re-ranked" in row.variant for row in searches) == len(searches) // 2
    assert {row.note for row in rows} == {DRAWN}
    assert any(row.kind == "verification" for row in rows)


def test_figures_are_those_of_the_protocols_for_unit_vectors(folder: Path, network: Network) -> None:
    read = extract(network, strangers(folder / "sysu"), SIZE, folder / "crops")
    assert not np.allclose(np.linalg.norm(read.test.embedding, axis=1), 1, atol=0.1)
    unit = read.test.embedding / np.linalg.norm(read.test.embedding, axis=1, keepdims=True)
    assert read.of.permutations is not None
    expected = report("sysu", replace(read.test, embedding=unit), permutations=read.of.permutations)
    assert standings(read) == [replace(row, note=DRAWN) for row in expected]


def test_market_is_told_by_the_angle_and_by_the_distance_of_features_as_they_come(
        folder: Path, network: Network) -> None:
    read = extract(network, strangers(folder / "market"), SIZE, folder / "crops")
    angle, people, distance = standings(read)
    assert (angle.variant, people.kind, distance.variant) == ("", "verification", EUCLIDEAN)
    (expected,) = report("market", read.test, query=read.query, kinds=["dataset"], metric="euclidean")
    assert distance == replace(expected, note=DRAWN)
    assert distance.figures != angle.figures
    assert [row.kind for row in standings(read, kinds=["verification"])] == ["verification"]


def test_an_embedding_is_averaged_with_its_mirror_image(network: Network) -> None:
    crops = draw(Drawn(identities=2, cameras=(1, 3), per_camera=1), *SIZE)
    mirrored = type(crops)(np.ascontiguousarray(crops.images[:, :, ::-1]), crops.identity, crops.camera, crops.infrared)
    plain, turned = (embed(network, some, unit=False) for some in (crops, mirrored))
    np.testing.assert_allclose(embed(network, crops, flip=True, unit=False), (plain + turned) / 2, rtol=1e-4, atol=1e-6)
    both = embed(network, crops, flip=True)
    np.testing.assert_allclose(both, embed(network, mirrored, flip=True), atol=1e-5)
    assert not np.allclose(both, embed(network, crops), atol=1e-4)


def test_a_network_that_makes_no_numbers_is_refused_in_one_sentence(folder: Path) -> None:
    network = build(Arch.uniform("osnet_x0_25", "split"), identities=2).eval()
    with torch.no_grad():
        next(network.parameters()).fill_(torch.inf)
    with pytest.raises(ConfigError, match=r"expected an embedding of finite numbers, .*train the checkpoint again"):
        extract(network, strangers(folder / "regdb"), SIZE, folder / "crops")


def test_the_command_keeps_as_json_what_it_shows_of_ours(
        folder: Path, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "figures" / "regdb.json"
    words = ["evaluate", str(kept), "--device", "cpu", "--data", str(folder / "regdb"), "--json", str(path)]
    assert main([*words, "--protocol", "dataset", "mixed", "verification", "--flip", "--rerank"]) == 0
    said = capsys.readouterr()
    assert "drawn in the layout of RegDB, mirror images averaged" in said.out
    rows = [Row.from_json(row) for row in json.loads(path.read_text())]
    assert [(row.setting, row.variant) for row in rows] == [
        ("visible-infrared", ""), ("visible-infrared", "re-ranked"), ("infrared-visible", ""),
        ("infrared-visible", "re-ranked"), ("visible-mixed", ""), ("infrared-mixed", ""), ("visible-infrared", "")]
    assert {row.system for row in rows} == {"one"}
    assert said.out.count("| one (") == len(rows)
    assert all(f"| {row.figures['rank1']:.2f} " in said.out for row in rows if row.kind == "search")
    assert "CM-NAS" not in said.out  # these people are drawn, those were photographed
    assert all(unit in said.err for unit in ("crops decoded", "crops embedded", "lines"))
    assert main(words) == 0
    assert [row["setting"] for row in json.loads(path.read_text())] == ["visible-infrared", "infrared-visible"]


def test_published_rows_stand_beside_photographed_people(
        tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_regdb(tmp_path / "regdb", ASKED)
    (tmp_path / "regdb" / "drawn.json").unlink()
    words = ["evaluate", str(kept), "--device", "cpu", "--data", str(tmp_path / "regdb"), "--cache",
             str(tmp_path / "crops"), "--trial", "2"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "RegDB is incomplete, and no published figures are beside: " in shown
    assert " instead of " in shown
    assert "CM-NAS" not in shown
    whole = replace(REGDB, counts=lambda _: [Count("identities", 5, 5), Count("cameras", None, 2)])
    monkeypatch.setattr(datasets, "DATASETS", {**datasets.DATASETS, "regdb": whole})
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "incomplete" not in shown
    assert "| visible-infrared | CM-NAS | 84.54 |" in shown
    assert DRAWN not in shown
    assert (tmp_path / "crops").is_dir()


def test_of_a_model_zoo_the_rows_of_ones_own_backbone_stand_beside(
        tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_market(tmp_path / "market", ASKED)
    (tmp_path / "market" / "drawn.json").unlink()
    whole = replace(datasets.DATASETS["market"], counts=lambda _: [])
    monkeypatch.setattr(datasets, "DATASETS", {**datasets.DATASETS, "market": whole})
    assert main(["evaluate", str(kept), "--device", "cpu", "--data", str(tmp_path / "market")]) == 0
    shown = capsys.readouterr().out
    assert "| osnet_x0_25 (" in shown
    assert not any(f"| {other}" in shown for other in ("osnet_x1_0", "osnet_x0_5", "resnet50"))


def test_drawn_people_are_asked_whatever_a_dataset_is(
        kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(kept), "--device", "cpu", "--identities", "5", "--per-camera", "1", "--json",
             str(tmp_path / "rows.json"), "--cameras", "1", "2", "3"]
    assert main([*words, "--protocol", "dataset", "mixed", "verification", "--rerank"]) == 0
    assert "**drawn people: is it the same person?**" in capsys.readouterr().out
    rows = [Row.from_json(row) for row in json.loads((tmp_path / "rows.json").read_text())]
    assert {row.dataset for row in rows} == {"drawn"}
    assert [row.setting for row in rows if "re-ranked" in row.variant] == [
        "visible-visible", "infrared-visible", "visible-infrared"]
    assert [row.setting for row in rows if row.kind == "verification"] == ["visible-visible", "visible-infrared"]


def test_a_folder_of_ones_own_is_searched_where_somebody_can_be_found_again(
        tmp_path: Path, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # By their names gate and yard are cameras 2 and 3, which are not in one room as those of SYSU-MM01 are.
    rng = np.random.default_rng(0)
    seen = [(20, "door", "visible")]
    seen += [(person, *place) for person in range(1, 14) for place in (("gate", "infrared"), ("yard", "visible"))]
    for person, camera, modality in seen:
        where = tmp_path / "site" / "people" / str(person) / camera / modality
        where.mkdir(parents=True)
        cv2.imwrite(str(where / "1.png"), rng.integers(0, 255, (32, 16, 3), np.uint8))
    words = ["evaluate", str(kept), "--device", "cpu", "--data", str(tmp_path / "site"), "--cache",
             str(tmp_path / "crops"), "--json", str(tmp_path / "rows.json"), "--protocol", "dataset", "verification"]
    assert main(words) == 0
    assert "**own pictures: who is it?**" in capsys.readouterr().out
    rows = [Row.from_json(row) for row in json.loads((tmp_path / "rows.json").read_text())]
    assert [row.setting for row in rows] == ["infrared-visible", "visible-infrared", "visible-infrared"]


@pytest.mark.parametrize(("words", "said"), [
    (["--data", "market", "--protocol", "mixed"], "a mixed gallery, got one; leave that out of --protocol"),
    (["--data", "regdb", "--protocol", "mixed", "--rerank"], "--rerank: expected dataset"),
    (["--data", "nowhere"], "nowhere: expected the folder of a dataset, found nothing"),
    (["--data", "."], "give that folder"),
    (["--data", "sysu", "--trial", "2"], "expected a trial from 1 to 1, found 2"),
    (["--seed", "-1"], "--seed: expected 0 to 4294967295, found -1"),
    (["--seed", "99999999999"], "--seed: expected 0 to 4294967295, found 99999999999"),
    (["--first", "-5"], "--first: expected 0 to 4294967295, found -5"),
    (["--loosen", "-1"], "--loosen: expected a share from 0 to 1, found -1"),
    (["--loosen", "nan"], "--loosen: expected a share from 0 to 1, found nan"),
    (["--loosen", "5"], "--loosen: expected a share from 0 to 1, found 5"),
    (["--trial", "1"], "--trial: expected a dataset beside it, found none; add --data ROOT"),
    (["--cache", "x"], "--cache: expected a dataset beside it, found none; add --data ROOT"),
    (["--identities", "1"], "--identities: expected 2 to"),
    (["--json", "regdb"], "regdb: expected a file to write, Is a directory; choose another --json"),
    (["--data", "regdb", "--json", "regdb/idx/train_visible_1.txt/x.json"], "choose another --json"),
])
def test_what_cannot_be_asked_is_one_sentence(
        words: list[str], said: str, folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    assert main(["evaluate", str(kept), "--device", "cpu", *words]) == 78
    shown = capsys.readouterr().err.splitlines()
    assert said in shown[-1]
    assert not any("Traceback" in line for line in shown)
    assert not [*folder.rglob("*.json.part"), *folder.glob("*.part")]


def test_what_is_asked_in_vain_is_refused_before_anything_is_embedded(
        folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "embed", None)
    words = ["evaluate", str(kept), "--device", "cpu", "--data", str(folder / "market")]
    assert main([*words, "--protocol", "mixed"]) == 78
    assert main([*words, "--json", str(folder)]) == 78
