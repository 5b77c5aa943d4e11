"""What a stranger attaches to a report says what happened on the device, and nothing of whose it is."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cmnas_edge import cli
from cmnas_edge.engine import prove_commands, trial
from cmnas_edge.engine.proof import Asked, Proof
from cmnas_edge.engine.prove import prove
from cmnas_edge.engine.prove_device import layers
from cmnas_edge.engine.prove_plot import draw_proof
from cmnas_edge.engine.tensorrt import TensorRtEngine, missing
from cmnas_edge.engine.tensorrt.job import How
from cmnas_edge.engine.trial import Here
from cmnas_edge.errors import DeviceError
from tests.fake_tensorrt import Error
from tests.gpu_site import Site
from tests.tiny_bundle import TINY

ASKED = Asked(frames=600, opens=3, how=How(2, 7))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.place:
        yield site


def proven(site: Site, asked: Asked = ASKED) -> Proof:
    trials = Here(site.bundle, asked, site.cache, site.place)
    return prove(site.bundle, asked, trials, trials.look(), say=lambda text: None)


def prove_here(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The command, with its trials in this process, on this site's GPU."""
    class Apart:
        @staticmethod
        def of(bundle: object, asked: Asked, cache: Path, limit_s: float) -> Here:
            return Here(site.bundle, asked, cache, site.place)

    monkeypatch.setattr(prove_commands, "Apart", Apart)
    return cli.main(["engine", "prove", str(TINY), "--out", str(tmp_path), "--cache", str(site.cache), "--frames", "20",
                     "--opens", "1", "--max-batch", "3", *words])


def test_everything_is_tried_on_every_engine_and_modality(site: Site) -> None:
    proof = proven(site)
    assert [str(subject) for subject in proof.subjects] == [
        "onnxruntime fp32 visible", "onnxruntime fp32 infrared", "tensorrt fp32 visible", "tensorrt fp32 infrared"]
    assert proof.passed, [subject.verdict for subject in proof.subjects]
    assert (proof.lacking, proof.versions["tensorrt"]) == ("", "10.3.0")
    for subject in proof.subjects:
        assert len(subject.batches) == 9    # 0 to 8: one more than the largest
        assert subject.frames is not None
        assert (subject.frames.count, subject.frames.wrong, subject.opens) == (600, 0, 3)
        assert len(subject.frames.ms) == len(subject.frames.resident_mib) == 200
    plan = proof.subjects[2]
    assert plan.build_s is not None
    assert plan.layers == {"CaskConvolution Half": 1}
    assert (plan.activations_mib, proof.subjects[0].activations_mib) == (1.0, None)
    sizes = {call[2][0] for call in site.trt.calls if call[0] == "execute"}
    assert sizes == set(range(1, 8))
    assert not site.cuda.buffers


@pytest.mark.parametrize("from_call", [3, 60])
def test_one_wrong_embedding_among_hundreds_of_frames_fails_the_proof(
        site: Site, from_call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    right = TensorRtEngine.embed

    def embed(self: TensorRtEngine, crops: np.ndarray) -> np.ndarray:
        found = right(self, crops)
        calls.append(len(crops))
        if len(calls) >= from_call and len(crops) > 1:
            found = found[::-1].copy()      # the rows of one another
        return found

    monkeypatch.setattr(TensorRtEngine, "embed", embed)
    subject = proven(site).subjects[2]
    assert not subject.verdict.startswith("passed")
    assert "do not let it serve" in subject.verdict or "expected the golden embeddings" in subject.verdict
    assert subject.frames is None or subject.frames.wrong > 0


def test_memory_that_grows_fails_the_proof(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter(np.arange(100, 100_000, 0.5))
    monkeypatch.setattr("cmnas_edge.engine.trial.resident_mib", lambda: float(next(sizes)))
    verdicts = {subject.verdict.partition(",")[0] for subject in proven(site).subjects}
    assert verdicts == {"expected memory to stay"}


def test_a_graph_tensorrt_cannot_read_is_a_verdict_and_the_rest_goes_on(site: Site) -> None:
    site.trt.parse_errors = [Error("Conv", "stem", "no")]
    proof = proven(site)
    assert [subject.verdict == "passed" for subject in proof.subjects] == [True, True, False, False]
    assert "(1) Conv stem: no" in proof.subjects[2].verdict
    assert str(TINY) not in proof.subjects[2].verdict


def test_a_plan_that_is_there_is_built_again_since_building_is_what_is_tried(site: Site) -> None:
    built = [proven(site, Asked(2, 0, How(2, 3))).subjects[2].build_s for _ in range(2)]
    assert None not in built
    assert site.trt.builds == 4     # two modalities, twice


@pytest.mark.parametrize("fails", ["memory", "build", "layers", "reference"])
def test_whatever_a_library_raises_stands_in_the_report_and_the_others_go_on(
        site: Site, tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    if fails in ("build", "layers"):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said, raised = f"{tmp_path}/lib.so: something native", {"memory": 2, "build": 2, "layers": 2, "reference": 4}[fails]

    def native(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    if fails == "memory":
        site.cuda.memory = native  # type: ignore[method-assign,assignment]
    elif fails == "build":
        site.trt.on_step = native
    elif fails == "layers":
        monkeypatch.setattr("tests.fake_tensorrt._Engine.create_engine_inspector", native)
    else:
        monkeypatch.setattr(trial, "OnnxRuntimeEngine", native)
    assert prove_here(site, tmp_path, monkeypatch) == 69
    (written,) = tmp_path.glob("prove-orin-*.json")
    proof = msgspec.json.decode(written.read_bytes(), type=Proof)
    verdicts = [subject.verdict for subject in proof.subjects]
    assert proof.whole
    assert verdicts[:4 - raised] == ["passed"] * (4 - raised)
    assert all("RuntimeError" in verdict and ".../lib.so: something native" in verdict
               for verdict in verdicts[4 - raised:]), verdicts
    sentence = {"build": "expected TensorRT 10.3.0 to build a plan in fp32, found RuntimeError",
                "layers": "expected TensorRT to say what it made of the graph, found RuntimeError"}
    assert sentence.get(fails, "broke: RuntimeError") in verdicts[3]
    assert f"verdict   {4 - raised} of 4 passed" in capsys.readouterr().out
    if fails in ("memory", "reference"):    # a picture of some that passed, and of none at all
        pytest.importorskip("matplotlib")
        assert list(tmp_path.glob("prove-orin-*.png"))


def test_the_report_so_far_is_there_after_each_subject(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    def press(step: int) -> None:
        raise KeyboardInterrupt

    site.trt.on_step = press
    assert prove_here(site, tmp_path, monkeypatch) == 130
    (written,) = tmp_path.glob("prove-*.json")
    assert f"wrote     {written}" in capsys.readouterr().out
    proof = msgspec.json.decode(written.read_bytes(), type=Proof)
    assert [subject.verdict for subject in proof.subjects] == ["passed", "passed"]
    assert (proof.whole, proof.passed) == (False, False)


def test_a_gpu_that_cannot_be_asked_is_a_failure_and_not_the_lack_of_one(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise DeviceError("GPU: expected one that answers, found LogicError (700); look at dmesg")

    class Apart:
        @staticmethod
        def of(bundle: object, asked: Asked, cache: Path, limit_s: float) -> Here:
            return Here(bundle, asked, cache)  # type: ignore[arg-type]

    monkeypatch.setattr(prove_commands, "Apart", Apart)
    monkeypatch.setattr(trial, "missing", lambda: None)
    monkeypatch.setattr(trial, "Workplace", broken)
    assert cli.main(["engine", "prove", str(TINY), "--out", str(tmp_path), "--frames", "2", "--opens", "0",
                     "--max-batch", "2"]) == 69
    assert "device    GPU: expected one that answers" in capsys.readouterr().out
    (written,) = tmp_path.glob("prove-unknown-gpu-*.json")
    proof = msgspec.json.decode(written.read_bytes(), type=Proof)
    assert [subject.verdict.partition(",")[0] for subject in proof.subjects] == [
        "passed", "passed", "GPU: expected one that answers", "GPU: expected one that answers"]


def test_what_is_no_number_or_endlessly_far_off_is_drawn_too(site: Site, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    site.trt.parse_errors = [Error("Conv", "stem", "no")]
    proof = proven(site, Asked(2, 0, How(2, 3)))
    proof.subjects[0].parity = float("inf")
    proof.subjects[1].batches = (0.0, float("inf"), float("nan"))
    draw_proof(proof, tmp_path / "proof.png")
    assert (tmp_path / "proof.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("text", "found"), [
    ('{"Layers": [{"LayerType": "Conv", "Outputs": [{"Format/Datatype": "Half"}]}, 7]}', {"Conv Half": 1}),
    ('{"Layers": [{"Name": "a", "LayerType": "Conv", "Outputs": [{"Format": "Linear", "DataType": "Float"}]}]}',
     {"Conv Float": 1}),
    ('{"Layers": ["named only"]}', {}), ("", {}), ("[]", {}), ("{", {}), ('{"Layers": [{"Outputs": []}]}', {"? ?": 1}),
])
def test_tensorrts_own_account_is_read_in_the_forms_of_10_and_11_and_never_trusted(
        text: str, found: dict[str, int]) -> None:
    assert layers(text) == found


@pytest.mark.skipif(missing() is None, reason="there is a GPU and a TensorRT here")
def test_without_tensorrt_the_proof_is_of_onnx_runtime_and_says_so_first_and_last(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["engine", "prove", str(TINY), "--out", str(tmp_path), "--frames", "120", "--opens", "2",
                     "--max-batch", "3"]) == 0
    said = capsys.readouterr().out
    assert "device    no figure of TensorRT will be made: expected" in said
    assert f"no figure of TensorRT was made; ONNX Runtime passed. For one: expected {missing()}" in said
    (written,) = tmp_path.glob("*.json")
    proof = msgspec.json.decode(written.read_bytes(), type=Proof)
    assert proof.lacking == missing()
    assert {subject.engine for subject in proof.subjects} == {"onnxruntime"}
    text = written.read_text()
    for private in (str(tmp_path), str(TINY), socket.gethostname(), str(Path.home())):
        assert f'"{private}' not in text
        assert len(private) < 6 or private not in text


def test_the_picture_is_drawn_where_matplotlib_is_and_missed_in_words_where_not(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["engine", "prove", str(TINY), "--out", str(tmp_path), "--frames", "20", "--opens", "0", "--max-batch", "2"]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(words) == 0
    assert "matplotlib is not here (pip install matplotlib); the JSON has it all" in capsys.readouterr().out
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    assert cli.main(words) == 0
    (picture,) = tmp_path.glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_failed_proof_is_written_too_and_ends_with_69(
        site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    site.trt.refuses.add("build_serialized_network")
    site.trt.logs["build_serialized_network"] = "Error Code 10: Could not find any implementation for node {conv}"
    assert prove_here(site, tmp_path, monkeypatch) == 69
    said = capsys.readouterr()
    assert "verdict   2 of 4 passed" in said.out
    assert "tensorrt fp32 visible, tensorrt fp32 infrared: expected every subject to pass" in said.err
    (written,) = tmp_path.glob("prove-orin-*.json")
    assert "Could not find any implementation" in json.loads(written.read_text())["subjects"][2]["verdict"]


@pytest.mark.parametrize(("words", "says"), [
    (["--frames", "0"], "--frames: expected 1 to 10000000, found 0"), (["--opens", "-1"], "--opens: expected 0 to"),
    (["--max-batch", "0"], "--max-batch: expected 1 to 1024, found 0"),
    (["--limit-s", "0"], "--limit-s: expected 1 to 86400, found 0"),
    (["--out", "/dev/null/here"], "a folder this user may write to, found Not a directory; name another with --out"),
    (["--out", str(TINY)], "expected a place outside of any bundle, found it in"),
])
def test_a_choice_that_cannot_be_is_answered_at_once(
        words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["engine", "prove", str(TINY), *words]) == 78
    said = capsys.readouterr()
    assert says in said.err
    assert not said.out     # nothing was tried before
