"""Engines and peers meet at the same work; what is printed of it is what was measured."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import contest, latency, peers, stalls, throughput
from benchmarks.contest import best_peer, in_turns, summary, winner
from benchmarks.stalls import Contender, Stall, boxes_in, opened
from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import open_engine
from cmnas_edge.engine.results import SAFE
from cmnas_edge.preprocess import MEAN, STD
from tests.tiny_bundle import TINY

ORT, OV = "ours, onnxruntime fp32", "ours, openvino bf16"
OURS = Contender("ours, onnxruntime fp32", TINY, "onnxruntime", "fp32", Path(), "", (32, 16))


class Listed:
    """A stall that takes what a list says."""

    def __init__(self, name: str, clock: list[float], ms: float) -> None:
        self.contender = replace(OURS, name=name)
        self.clock, self.ms = clock, ms
        self.turns: list[float] = []

    def infer(self, batch: int, calls: int) -> list[float]:
        self.turns.append(self.clock[0])
        self.clock[0] += self.ms * calls / 1000
        return [self.ms / 1000] * calls


def test_all_are_asked_equally_often_and_none_always_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(contest.time, "perf_counter", lambda: clock[0])
    listed = [Listed("a", clock, 1), Listed("b", clock, 2), Listed("c", clock, 3)]
    found = in_turns(listed, lambda stall: stall.infer(1, 2), seconds=0.12)  # type: ignore[arg-type, attr-defined]
    assert {name: len(each) for name, each in found.items()} == {"a": 20, "b": 20, "c": 20}
    firsts = [min(listed, key=lambda stall, turn=turn: stall.turns[turn]).contender.name for turn in range(3)]
    assert firsts == ["a", "b", "c"]


def test_however_short_the_time_a_median_is_of_more_than_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [Listed("a", [0.0], 1)]
    found = in_turns(listed, lambda stall: stall.infer(1, 1), seconds=0)  # type: ignore[arg-type, attr-defined]
    assert len(found["a"]) == 5


def test_a_summary_is_in_milliseconds_and_says_of_how_many() -> None:
    assert summary([0.001] * 99 + [0.5]) == {"ms": 1.0, "p99_ms": pytest.approx(5.99, abs=0.01), "n": 100}


def test_the_winner_is_whom_the_race_would_choose_and_no_peer_is_ours() -> None:
    assert winner({ORT: {1: 1.0, 8: 8.0}, OV: {1: 1.0, 8: 4.0}}) == OV
    assert winner({ORT: {1: 1.02}, OV: {1: 1.0}}) == ORT     # a tie: the more precise
    assert best_peer({ORT: 1.0, "ncnn": 3.0, "OpenVINO": 2.0}) == "OpenVINO"
    assert best_peer({ORT: 1.0}) is None


def test_peers_are_fed_with_what_their_papers_were() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (200, 100, 3), np.uint8)
    (image,) = peers.preprocess(frame, np.array([[10, 20, 42, 84]], np.float32), 128, 64)
    assert image.shape == (3, 128, 64)
    red = cv2.resize(frame[20:84, 10:42], (64, 128))[:, :, 2]
    np.testing.assert_allclose(image[0] * STD[0] + MEAN[0], red / 255, atol=1e-6)


def test_boxes_lie_in_the_frame_and_are_as_large_as_people() -> None:
    boxes = boxes_in(500)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= stalls.FRAME[1]).all()
    assert (boxes[:, 3] <= stalls.FRAME[0]).all()
    assert (boxes[:, 3] - boxes[:, 1] > 99).all()


def test_a_contender_is_timed_in_a_process_of_its_own_on_the_cores_it_was_given() -> None:
    with opened([OURS], cores=1) as (ready, lacks):
        assert lacks == {}
        (stall,) = ready
        seconds = stall.infer(2, 3)
        assert len(seconds) == 3
        assert min(seconds) > 0
        totals = stall.frame(2, 3)
        assert all(0 < prepared < total for total, prepared in totals)
        status = Path(f"/proc/{stall._process.pid}/status").read_text()
        (cores,) = [line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list")]
        assert cores.isdigit()
        stall._process.kill()
        with pytest.raises(RuntimeError, match="its process died"):
            stall.infer(1, 1)
    assert stall._process.poll() is not None


def test_who_cannot_start_is_missing_with_the_reason_and_the_others_go_on() -> None:
    nowhere = replace(OURS, name="ours, lost", bundle=TINY / "nowhere")
    with opened([nowhere, OURS], cores=1) as (ready, lacks):
        assert [stall.contender.name for stall in ready] == [OURS.name]
        assert lacks["ours, lost"].startswith("BundleError: ")


def test_without_the_package_index_every_peer_is_missing_with_the_reason(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(peers.sys, "executable", "/bin/false")
    _, lacks = peers.prepare("osnet_x0_25", 128, 64)
    assert lacks == dict.fromkeys(peers.PEERS, "the package index gave no torchreid 0.2.5")


def test_a_backbone_that_torchreid_does_not_have_has_no_peers() -> None:
    entered, missing = contest.contenders(Bundle.open(TINY))
    assert ORT in [contender.name for contender in entered]
    assert all(contender.is_ours for contender in entered)
    assert all(missing[peer].startswith("torchreid has no ") for peer in peers.PEERS)


def test_both_engines_in_one_process_take_less_than_twice_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(TINY)
    one, both = (throughput.peak_mb(bundle, SAFE, 2, *modalities)
                 for modalities in (("visible",), ("visible", "infrared")))
    assert 10 < one <= both * 1.05
    assert both < 2 * one


class Played(Stall):
    """Answers at once."""

    def __init__(self, contender: Contender, cores: Any) -> None:
        self.contender, self.lacks = contender, ""

    def infer(self, batch: int, calls: int) -> list[float]:
        return [0.002 * batch if self.contender.is_ours else 0.003 * batch] * calls

    def frame(self, people: int, calls: int) -> list[tuple[float, float]]:
        return [(each, each / 10) for each in self.infer(people, calls)]

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("module", "row"), [
    (latency, "| osnet_x0_25 128x64, 1 | 8 | onnxruntime fp32 | 16.00, 16.00 | ncnn | 24.00, 24.00 | 0.67x | "),
    (throughput, "| osnet_x0_25 128x64, 1 | 8 | onnxruntime fp32 | 500 | 10% | ncnn | 333 | 1.50x | 100, both 110 |"),
])
def test_what_is_measured_is_kept_drawn_and_printed_again_from_what_was_kept(
        module: ModuleType, row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("benchmarks.records", "benchmarks.contest", module.__name__):
        monkeypatch.setattr(f"{place}.RESULTS", tmp_path)
    monkeypatch.setattr(stalls, "Stall", Played)
    monkeypatch.setattr("benchmarks.peers.version_of", lambda peer: "1.0")     # which need not be installed here
    monkeypatch.setattr(module, "contenders", lambda bundle: (
        [OURS, replace(OURS, name="ncnn", engine=None)], {"OpenVINO": "not today"}))
    monkeypatch.setattr(latency, "roofline", lambda cores: {"gemm_gflops": 100.0, "copy_gb_s": 20.0})
    monkeypatch.setattr(throughput, "peak_mb", lambda bundle, entrant, batch, *modalities: 90.0 + 10 * len(modalities))
    words = ["--seconds", "0.01", "--cores", "1", "--batch", "1", "8"]
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    module.main()
    out = capsys.readouterr().out
    assert "not here: OpenVINO: not today" in out
    assert row in out
    monkeypatch.setattr(sys, "argv", ["benchmark", "--table"])
    monkeypatch.setattr(module, "measure", None)
    module.main()
    assert row in capsys.readouterr().out
    name = module.__name__.rpartition(".")[2]
    assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert len((tmp_path / f"{name}.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("module", [latency, throughput])
@pytest.mark.parametrize(("words", "said"), [
    (["--batch", "0"], "--batch: expected at least 1, found 0; give more"),
    (["--cores", "0"], "--cores: expected at least 1, found 0; give more"),
    (["--seconds", "0"], "--seconds: expected more than 0, found 0; give more"),
])
def test_a_contest_of_nothing_is_refused(module: ModuleType, words: list[str], said: str,
                                         monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_network_nobody_trained_is_measured_in_float32_and_says_so_in_its_row(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["latency", "--model", "osnet_x0_25"])
    (bundle,) = contest.bundles(contest.arguments(None, 1.0))
    assert contest.model_of(bundle) == "osnet_x0_25 128x64, untrained weights of seed 0"
    assert bundle.precisions == ("fp32",)
    with open_engine(bundle, "infrared") as engine:     # holds it against the golden embeddings
        assert engine.embed(bundle.golden("visible")[0]).std() > 1e-3
    made = (bundle.path / "manifest.json").stat().st_mtime_ns
    (again,) = contest.bundles(contest.arguments(None, 1.0))
    assert (again.path / "manifest.json").stat().st_mtime_ns == made
    monkeypatch.setattr(sys, "argv", ["latency"])
    (ships,) = contest.bundles(contest.arguments(None, 1.0))
    assert "untrained" not in contest.model_of(ships)
