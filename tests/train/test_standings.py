"""A checkpoint is scored by every protocol of the dataset it is shown, from embeddings that are made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cmnas_edge.synthetic.files import Asked
from cmnas_edge.synthetic.llcm import write_llcm
from cmnas_edge.synthetic.market import write_market
from cmnas_edge.synthetic.regdb import write_regdb
from cmnas_edge.synthetic.sysu import write_sysu
from train import checkpoint, standings
from train.__main__ import main
from train.data import datasets
from train.data.drawn import Drawn, draw
from train.evaluate import embed
from train.networks import Network, build
from train.protocols import sysu
from train.published import PUBLISHED
from train.space import Arch

ASKED = Asked(train=2, validation=2, test=3, per_camera=2, height=32, width=16)
SIZE = (32, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("standings")
    write_sysu(folder / "sysu", **ASKED._asdict(), permutations=True)
    for name, write in (("regdb", write_regdb), ("llcm", write_llcm), ("market", write_market)):
        write(folder / name, ASKED)
    return folder


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return build(Arch.uniform("osnet_x0_25", "split"), identities=2).eval()


@pytest.mark.parametrize("name", ["sysu", "regdb", "llcm", "market"])
def test_every_protocol_of_a_dataset_has_its_line(
        name: str, folder: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counting(one: Network, crops: object, **how: bool) -> object:
        seen.append(len(crops))  # type: ignore[arg-type]
        return embed(one, crops, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(standings, "embed", counting)
    read = standings.embeddings(network, folder / name, SIZE, folder / "crops")
    assert sum(seen) == len(read.test) == sum(
        len(datasets.read(folder / name, part)) for part in (("query", "gallery") if name == "market" else ("test",)))
    lines = standings.searched(read)
    again = standings.searched(read, reranked=True)
    assert sum(seen) == len(read.test)  # no search embeds anything
    assert {line.protocol for line in lines} == {protocol for protocol in _known() if protocol.startswith(_title(name))}
    for line in [*lines, *again]:
        assert 0 <= line.figures["rank1"] <= line.figures["rank10"] <= 100
        assert all(np.isfinite(value) for value in line.figures.values())
    assert all("re-ranking" in line.note for line in again)
    assert not any("re-ranking" in line.note for line in lines)
    shown = standings.as_markdown([*lines, *again], who="ours")
    assert shown.count("| ours") == len(lines) + len(again)
    for protocol in {line.protocol for line in lines}:
        assert all(f"| {' | '.join([row.who, *row.cells()])} |" in shown for row in PUBLISHED.get(protocol, ()))


def _title(name: str) -> str:
    return {"sysu": "SYSU-MM01", "regdb": "RegDB", "llcm": "LLCM", "market": "Market-1501"}[name]


def _known() -> set[str]:
    # Nobody on our list publishes multi-shot figures.
    return {*PUBLISHED, "SYSU-MM01 all multi-shot", "SYSU-MM01 indoor multi-shot"}


def test_a_line_is_the_mean_of_the_searches_of_its_protocol(folder: Path, network: Network) -> None:
    read = standings.embeddings(network, folder / "sysu", SIZE, folder / "crops")
    lines = {(line.protocol, line.note): line for line in standings.searched(read)}
    assert {note for _, note in lines} == {"galleries by Python's random.seed", "galleries by rand_perm_cam.mat"}
    found = sysu.searches(read.test, mode="indoor", shot=1)
    line = lines["SYSU-MM01 indoor single-shot", "galleries by Python's random.seed"]
    assert line.searches == len(found) == 10
    assert line.figures["mean_ap"] == pytest.approx(100 * np.mean([one.figures["mean_ap"] for one in found]))
    assert line.spread["mean_ap"] == pytest.approx(100 * np.std([one.figures["mean_ap"] for one in found]))


def test_an_embedding_is_averaged_with_its_mirror_image(network: Network) -> None:
    crops = draw(Drawn(identities=2, cameras=(1, 3), per_camera=1), *SIZE)
    mirrored = type(crops)(np.ascontiguousarray(crops.images[:, :, ::-1]), crops.identity, crops.camera, crops.infrared)
    plain, turned = (embed(network, some, unit=False) for some in (crops, mirrored))
    np.testing.assert_allclose(embed(network, crops, flip=True, unit=False), (plain + turned) / 2, rtol=1e-4, atol=1e-6)
    both = embed(network, crops, flip=True)
    np.testing.assert_allclose(both, embed(network, mirrored, flip=True), atol=1e-5)
    assert not np.allclose(both, embed(network, crops), atol=1e-4)


def test_the_command_prints_ours_beside_the_published_rows(
        folder: Path, network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "run" / "last.safetensors"
    path.parent.mkdir(exist_ok=True)
    checkpoint.save(path, network, checkpoint.Checkpoint(height=32, width=16, seed=0, commit="x", data="y"))
    words = ["evaluate", str(path), "--device", "cpu", "--data"]
    assert main([*words, str(folder / "regdb"), "--protocol", "dataset", "mixed", "verification", "--flip"]) == 0
    shown = capsys.readouterr().out
    assert "mirror images averaged" in shown
    assert "**RegDB visible-infrared**" in shown
    assert "| CM-NAS (ICCV 2021) | 84.54 |  |  | 80.32 |  |" in shown
    assert "**mixed gallery, infrared queries**" in shown
    assert "| pair | EER | TMR at FMR 1e-2" in shown
    assert main([*words, str(folder / "market"), "--protocol", "mixed"]) == 78
    assert "expected pictures of both modalities" in capsys.readouterr().err
    assert main([*words, str(folder)]) == 78
    assert len(capsys.readouterr().err.splitlines()) == 1
