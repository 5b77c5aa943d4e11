"""Building a plan: everything TensorRT says is passed on, and whatever stops it leaves nothing half-written."""

from __future__ import annotations

import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmnas_edge import cli
from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import check_golden
from cmnas_edge.engine.tensorrt import engine as tensorrt_engine
from cmnas_edge.engine.tensorrt.job import How, Job
from cmnas_edge.engine.tensorrt.plan import read_manifest
from cmnas_edge.errors import BundleError, DeviceError
from tests.fake_tensorrt import Error
from tests.gpu_site import Site
from tests.tiny_bundle import TINY, copy_tiny, reseal, with_variant


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.place:
        yield site


def files(site: Site) -> list[str]:
    return sorted(path.name for path in site.cache.rglob("*") if path.is_file() and path.name != ".lock")


def test_the_manifest_beside_a_plan_says_what_it_is(site: Site) -> None:
    path = site.build()
    plan = read_manifest(path, "")
    assert plan.file.bytes == path.stat().st_size
    assert plan.graph.bundle == site.bundle.fingerprint_hex
    assert (plan.device.tensorrt, plan.device.gpu.sm_count) == ("10.3.0", 8)
    assert (plan.input.name, plan.input.dtype, plan.input.shape) == ("crops", "uint8", (-1, 32, 16, 3))
    assert (plan.profile.least[0], plan.profile.usual[0], plan.profile.most[0]) == (1, 2, 7)
    assert plan.preprocessing == site.bundle.manifest.preprocessing
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert ("workspace", 512 << 20) in site.trt.calls
    assert ("clear", site.trt.BuilderFlag.TF32) in site.trt.calls


def test_what_is_built_is_not_built_again_unless_asked_or_asked_otherwise(site: Site) -> None:
    for builds, wanted in ((1, {}), (1, {}), (2, {"again": True}), (3, {"how": How(4, 7)}), (3, {"how": How(4, 7)}),
                           (4, {"how": How(4, 7, level=5)})):
        site.build(**wanted)
        assert site.trt.builds == builds


def test_a_damaged_plan_is_built_again(site: Site) -> None:
    path = site.build()
    path.write_bytes(b"half of it")
    site.build()
    assert site.trt.builds == 2
    with site.open() as engine:
        assert check_golden(engine, site.bundle, "visible") < 1e-6


def test_timings_are_kept_and_used_by_the_next_build_on_this_device_in_this_power_mode(site: Site) -> None:
    site.build("visible")
    site.build("infrared")
    assert [call for call in site.trt.calls if call[0] == "timings"] == [("timings", b""), ("timings", b"timed ")]
    (name,) = (site.cache / "timing").iterdir()
    assert name.name == f"{site.place.device.key}.cache"


@pytest.mark.parametrize("none", [True, False])
def test_timings_tensorrt_does_not_want_are_begun_anew_and_break_nothing(site: Site, none: bool) -> None:
    site.build("visible")
    site.trt.logs["create_timing_cache"] = "timing cache was made on another device"
    if none:
        site.trt.refuses.add("create_timing_cache")
    path = site.build("infrared")
    assert site.trt.builds == 2
    assert read_manifest(path, "").settings.timing_cache
    offered = [call[1] for call in site.trt.calls if call[0] == "timings"]
    assert offered == [b"", b"timed "] + none * [b""]


def test_weights_that_lie_outside_the_bundle_are_not_read(site: Site, tmp_path: Path) -> None:
    path = copy_tiny(tmp_path)
    graph = (path / "visible.onnx").read_bytes()
    (path / "visible.onnx").write_bytes(graph.replace(b"weights.bin", b"../outw.bin"))
    reseal(path)
    site.bundle = Bundle.open(path)
    with pytest.raises(BundleError, match=r"expected its weights in weights\.bin, found them in '\.\./outw\.bin'"):
        site.build()
    assert site.trt.builds == 0


def test_every_error_of_the_parser_is_in_the_message(site: Site) -> None:
    site.trt.parse_errors = [Error("Einsum", "head/einsum", "no importer\n registered"),
                             Error("NonZero", "", "unsupported dynamic output"), Error("Loop", "body", "")]
    with pytest.raises(BundleError) as error:
        site.build()
    said = str(error.value)
    graph = site.bundle.graph("visible")
    assert said.startswith(f"{graph}: expected a graph TensorRT 10.3.0 can read, found 3 errors: ")
    assert "(1) Einsum head/einsum: no importer registered; (2) NonZero 0: unsupported dynamic output" in said
    assert "(3) Loop body: no reason given; export again" in said
    assert files(site) == []


@pytest.mark.parametrize(("log", "remedy"), [
    ("Error Code 10: Could not find any implementation for node {ForeignNode[q...]}.", "choose another precision"),
    ("Error Code 2: OutOfMemory (requested 8589934592 bytes)", "free memory, or lower --max-batch"),
    (None, "it does not say why"),
])
def test_a_graph_that_tensorrt_builds_nothing_of_is_refused_with_what_it_logged(
        site: Site, log: str | None, remedy: str) -> None:
    site.trt.refuses.add("build_serialized_network")
    if log is not None:
        site.trt.logs["build_serialized_network"] = f"[11/21/2026-15:00:00] [E] [TRT] {log}"
    with pytest.raises(DeviceError, match=r"to build a plan in fp32, found that it cannot") as error:
        site.build()
    assert remedy in str(error.value)
    assert (log or "") in str(error.value)
    assert "[TRT]" not in str(error.value)
    assert files(site) == []


@pytest.mark.parametrize(("error", "says"), [
    (RuntimeError("cudaErrorLaunchFailure"), r"RuntimeError \(cudaErrorLaunchFailure\); choose another precision, or"),
    (MemoryError("std::bad_alloc"), r"MemoryError \(std::bad_alloc\); choose another precision, or report"),
    (RuntimeError("out of memory"), r"RuntimeError \(out of memory\); free memory, or lower --max-batch"),
], ids=["native", "room", "words"])
def test_what_the_bindings_raise_in_the_middle_of_a_build_is_an_error_of_the_device(
        site: Site, error: Exception, says: str) -> None:
    def raised(step: int) -> None:
        raise error

    site.trt.on_step = raised
    with pytest.raises(DeviceError, match=rf"visible\.onnx: expected TensorRT 10\.3\.0 to build .* fp32, found {says}"):
        site.build()
    assert files(site) == []


def test_batches_tensorrt_does_not_take_are_refused_with_what_it_logged(site: Site) -> None:
    site.trt.refuses.add("add_optimization_profile")
    site.trt.logs["add_optimization_profile"] = "IOptimizationProfile: dimensions are inconsistent"
    with pytest.raises(DeviceError, match=r"to take batches of 1, 2 and 7, found .*dimensions are inconsistent"):
        site.build()


def test_ctrl_c_in_the_middle_of_a_build_stops_it_at_the_next_step_and_leaves_nothing(site: Site) -> None:
    steps: list[int | str] = []

    def press(step: int) -> None:
        steps.append(step)
        if step == 1:
            _ctrl_c(site)
            steps.append("heard")

    site.trt.on_step = press
    with pytest.raises(KeyboardInterrupt):
        site.build()
    assert steps == [0, 1, "heard"]
    assert files(site) == []
    site.trt.on_step = lambda step: None
    site.build()
    assert len(files(site)) == 3


def _ctrl_c(site: Site) -> None:
    """Press it, and see that the build is told to stop: by what its monitor would answer now."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    for _ in range(2000):
        if not site.trt.monitor.step_complete("none", 0):
            return
        threading.Event().wait(0.005)
    raise AssertionError("nobody heard of it")


def test_ctrl_c_is_one_sentence_and_130(site: Site, monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("cmnas_edge.engine.tensorrt.Workplace", lambda: site.place)
    site.trt.on_step = lambda step: _ctrl_c(site)
    assert cli.main(["engine", "build", str(TINY), "--cache", str(site.cache)]) == 130
    assert capsys.readouterr().err.strip().endswith("cmnas-edge engine: stopped")
    assert files(site) == []


def test_what_tensorrt_complains_of_while_it_builds_all_the_same_is_passed_on(
        site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.trt.logs["build_serialized_network"] = "Skipping tactic 0x3e8 due to exception"
    site.build()
    assert "visible.onnx: TensorRT built a plan, and complained on the way: Skipping tactic 0x3e8" in caplog.text


@pytest.mark.parametrize("choice", [{"usual_batch": 0}, {"usual_batch": 9, "most_batch": 8}, {"workspace_mib": 0},
                                    {"level": 6}])
def test_choices_that_cannot_be_are_a_programmers_mistake(choice: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="usual batch <= most batch"):
        How(**choice)


def test_the_command_builds_every_graph_and_goes_on_where_one_precision_fails(
        site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = with_variant(copy_tiny(tmp_path), "fp16")
    monkeypatch.setattr(tensorrt_engine, "Workplace", lambda: site.place)
    monkeypatch.setattr("cmnas_edge.engine.tensorrt.Workplace", lambda: site.place)
    made = site.place.build

    def build(job: object, *args: object, **words: object) -> object:
        if job.graph.precision == "fp16":  # type: ignore[attr-defined]
            raise DeviceError("no tactic for it on this GPU")
        return made(job, *args, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(site.place, "build", build)
    assert cli.main(["engine", "build", str(bundle.path), "--cache", str(site.cache)]) == 0
    said = capsys.readouterr().out
    assert "device    Orin, 8 multiprocessors of compute capability 8.7" in said
    assert "golden    infrared in fp32: reproduced" in said
    assert "refused   fp16: no tactic for it on this GPU" in said


def test_the_command_holds_each_plan_against_the_golden_embeddings(
        site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("cmnas_edge.engine.tensorrt.Workplace", lambda: site.place)
    made = site.place.build

    def build(job: Job, *args: object, **words: object) -> object:
        return made(Job(site.bundle.graph("infrared"), job.graph, job.preprocessing), *args, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(site.place, "build", build)     # under the name of the visible graph, too
    assert cli.main(["engine", "build", str(TINY), "--cache", str(site.cache)]) == 65
    said = capsys.readouterr()
    assert "expected the golden embeddings within 0.0001, found" in said.err
    assert "reproduced" not in said.out


@pytest.mark.parametrize(("words", "says"), [
    (["--max-batch", "0"], "--max-batch: expected 1 to 1024, found 0"),
    (["--usual-batch", "9", "--max-batch", "8"], "--usual-batch: expected 1 to 8, found 9"),
    (["--precision", "bf16"], "--precision: expected some of fp32, which the bundle has and TensorRT runs, found"),
    (["--level", "7"], "--level: expected 0 to 5, found 7"),
])
def test_a_wrong_choice_is_answered_before_a_gpu_is_looked_for(
        words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["engine", "build", str(TINY), *words]) == 78
    assert says in capsys.readouterr().err


def test_export_engine_is_the_same_build(site: Site, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the workshop is not installed")
    from export.__main__ import main as export
    monkeypatch.setattr("cmnas_edge.engine.tensorrt.Workplace", lambda: site.place)
    assert export(["engine", str(TINY), "--cache", str(site.cache), "--max-batch", "7", "--usual-batch", "2"]) == 0
    assert "golden    infrared in fp32: reproduced" in capsys.readouterr().out
    assert site.build() == next(site.cache.rglob("visible*.plan"))
    assert site.trt.builds == 2
