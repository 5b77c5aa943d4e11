"""A detector's network goes through the builder, cache and GPU thread of the bundles', and gives way as they do."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cmnas_edge import cli
from cmnas_edge.camera.people import on_gpu
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.people.yolox import YoloxDetector
from cmnas_edge.camera.settings import DetectorSettings
from cmnas_edge.engine.tensorrt import Workplace
from cmnas_edge.engine.tensorrt.job import How, detector_job
from cmnas_edge.engine.tensorrt.plan import read_manifest
from cmnas_edge.errors import BundleError, DeviceError
from tests.fake_gpu import FakeCuda
from tests.fake_tensorrt import FakeTensorRt
from tests.gpu_site import Site
from tests.tiny_bundle import TINY

FRAME = np.random.default_rng(5).integers(0, 256, (70, 90, 3), dtype=np.uint8)
ONE = How(1, 1)


def network(path: Path, sides: Any = (64, 64), batch: Any = 1, shift: float = 0.0) -> Path:
    """A network of YOLOX's layout that finds somebody in every third cell: rows depend on the picture's mean."""
    make, give = onnx.helper, onnx.numpy_helper.from_array
    pattern = np.zeros((1, 84, 6), np.float32)
    pattern[0, :, 2:4] = 1.0
    pattern[0, ::3, 4:6] = 0.9
    nodes = [make.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
             make.make_node("Reshape", ["mean", "shape"], ["one"]), make.make_node("Mul", ["one", "least"], ["little"]),
             make.make_node("Add", ["little", "pattern"], ["found"])]
    graph = make.make_graph(
        nodes, "g", [make.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [batch, 3, *sides])],
        [make.make_tensor_value_info("found", onnx.TensorProto.FLOAT, [1, 84, 6])],
        [give(pattern + shift, "pattern"), give(np.array([1, 1, 1]), "shape"),
         give(np.array([1e-4], np.float32), "least")])
    onnx.save(make.make_model(graph, ir_version=8, opset_imports=[make.make_opsetid("", 15)]), str(path))
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    site.cache = tmp_path / "cmnas-edge"
    monkeypatch.setattr("cmnas_edge.engine.tensorrt.missing", lambda: None)
    monkeypatch.setattr("cmnas_edge.engine.tensorrt.Workplace", lambda: site.place)
    with site.place:
        yield site


def detector(path: Path, engine: str = "auto") -> YoloxDetector:
    found = open_detector(DetectorSettings(kind="onnx", path=path, engine=engine))  # type: ignore[arg-type]
    assert isinstance(found, YoloxDetector)
    return found


def test_with_a_plan_the_gpu_finds_whom_the_processor_finds(site: Site, tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx")
    site.place.build(detector_job(path), ONE, site.cache)
    expected = detector(path, "onnxruntime").detect(FRAME)
    assert len(expected.boxes)
    for engine in ("auto", "tensorrt"):
        found = detector(path, engine).detect(FRAME)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-4)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    assert [call for call in site.trt.calls if call[0] == "execute"]


def test_cameras_with_one_network_share_one_engine_and_the_last_frees_it(site: Site, tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx")
    site.place.build(detector_job(path), ONE, site.cache)
    one, other = detector(path), detector(path)
    assert len(site.cuda.buffers) == 2
    del one
    assert len(other.detect(FRAME).boxes)
    del other
    assert not site.cuda.buffers


def test_without_a_plan_the_processor_does_it_and_the_log_has_the_command(
        site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = network(tmp_path / "net.onnx")
    with caplog.at_level(logging.WARNING, "cmnas.detector"):
        assert len(detector(path).detect(FRAME).boxes)
    assert f"found none; make it here: cmnas-edge engine build --detector {path}" in caplog.text
    with pytest.raises(DeviceError, match="expected a plan of net in fp32 for this device, found none"):
        detector(path, "tensorrt")


def test_without_a_gpu_the_processor_does_it_silently_and_who_insists_is_told(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("cmnas_edge.engine.tensorrt.missing", lambda: "a GPU, of which there is none")
    path = network(tmp_path / "net.onnx")
    assert len(detector(path).detect(FRAME).boxes)
    assert not caplog.records
    with pytest.raises(DeviceError, match=r"expected a GPU, of which there is none; or set engine = \"onnxruntime\""):
        detector(path, "tensorrt")


def test_a_plan_that_finds_others_than_the_processor_never_serves(
        site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = network(tmp_path / "net.onnx")
    other = network(tmp_path / "other.onnx", shift=0.1)
    job = detector_job(path)
    site.place.build(type(job)(other, job.graph), ONE, site.cache)
    with pytest.raises(BundleError, match="expected TensorRT to find what ONNX Runtime does, found"):
        detector(path, "tensorrt")
    assert len(detector(path).detect(FRAME).boxes)
    assert not on_gpu._shared


def test_a_gpu_that_fails_costs_no_frame(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = network(tmp_path / "net.onnx")
    site.place.build(detector_job(path), ONE, site.cache)
    found = detector(path, "tensorrt")
    before = found.detect(FRAME)
    site.trt.logs["execute_async_v3"] = "Error Code 1: Cuda Runtime (unspecified launch failure)"
    for _ in range(2):
        np.testing.assert_allclose(found.detect(FRAME).boxes, before.boxes, atol=1e-4)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    assert "TensorRT failed" in caplog.text
    assert not site.cuda.buffers


def test_a_free_batch_is_one_frame_and_a_free_size_is_refused(site: Site, tmp_path: Path) -> None:
    path = network(tmp_path / "free.onnx", batch="n")
    _, plan = site.place.build(detector_job(path), ONE, site.cache)
    assert plan.profile.most == (1, 3, 64, 64)
    assert len(detector(path, "tensorrt").detect(FRAME).boxes)
    with pytest.raises(BundleError, match=r"found \(1, 3, -1, -1\); export it for one height and width"):
        site.place.build(detector_job(network(tmp_path / "any.onnx", sides=("h", "w"))), ONE, site.cache)


def test_a_network_of_several_files_is_refused_since_a_plan_is_named_by_one(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(onnx.load(str(network(path))), str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(BundleError, match=r"expected its weights in the file itself, found them in 'w\.bin'"):
        site.place.build(detector_job(path), ONE, site.cache)


def test_the_command_builds_a_detector_beside_a_bundle(
        site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = network(tmp_path / "net.onnx")
    assert cli.main(["engine", "build", str(TINY), "--detector", str(path)]) == 0
    assert "plans/detector/net.fp32." in capsys.readouterr().out
    (plan,) = site.cache.glob("plans/detector/*.json")
    assert read_manifest(plan, "").profile.most == (1, 3, 64, 64)


def test_the_gpus_thread_lives_as_long_as_a_detector_does_and_no_longer(
        site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = network(tmp_path / "net.onnx")
    site.place.build(detector_job(path), ONE, site.cache)
    cuda = FakeCuda()
    monkeypatch.setattr("cmnas_edge.engine.tensorrt.Workplace", lambda: Workplace(cuda, FakeTensorRt(cuda)))
    found = detector(path, "tensorrt")
    gc.collect()
    assert len(found.detect(FRAME).boxes)
    del found
    gc.collect()
    assert cuda.events[-1] == "leave"
