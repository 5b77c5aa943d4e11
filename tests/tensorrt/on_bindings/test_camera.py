"""What a camera runs on the GPU, over the real bindings: its detector, and ONNX Runtime in the place of what fails."""

from __future__ import annotations

import gc
import logging
from pathlib import Path

import numpy as np
import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.settings import DetectorSettings
from cmnas_edge.engine.fallback import with_fallback
from cmnas_edge.engine.tensorrt import TensorRtEngine, Workplace
from cmnas_edge.engine.tensorrt.job import How, detector_job
from tests.tensorrt.cuda_driver import Driver
from tests.tensorrt.world import World


def test_a_detector_of_one_picture_at_a_time_finds_on_the_gpu_whom_it_finds_elsewhere(
        world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    from tests.camera.test_on_gpu import FRAME, network

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = network(tmp_path / "net.onnx")
    with Workplace() as place:
        place.build(detector_job(path), How(1, 1), tmp_path / "cmnas-edge")
    expected = open_detector(DetectorSettings(kind="onnx", path=path, engine="onnxruntime")).detect(FRAME)
    detector = open_detector(DetectorSettings(kind="onnx", path=path, engine="tensorrt"))
    found = detector.detect(FRAME)

    assert len(expected.boxes)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-4)
    names = [call.name for call in world.library.calls]
    assert names.count("context.execute_async_v3") == 2 + 1  # two pictures to agree on, and ours
    assert "profile.set_dimensions" not in names  # its batch is built in
    assert "context.set_input_shape" not in names
    del detector  # nobody closes one: it goes with its last camera
    gc.collect()
    assert (world.gpu.memory, world.gpu.streams) == ({}, {})


@pytest.mark.parametrize(("refuses", "fails"), [("context.execute_async_v3", ""), ("", "cuStreamSynchronize")])
def test_onnx_runtime_goes_on_from_the_batch_the_gpu_failed_at(
        world: World, driver: Driver, place: Workplace, bundle: Bundle, plan: Path, refuses: str, fails: str,
        caplog: pytest.LogCaptureFixture) -> None:
    crops, expected = bundle.golden("visible")
    engine = TensorRtEngine(bundle, "visible", precision="fp32", cache=plan.parents[2], workplace=place)
    with with_fallback(engine, bundle, "visible", threads=1, max_batch=4) as engine, \
            caplog.at_level(logging.ERROR, "cmnas.engine"):
        if refuses:
            world.teach(refuses, False, log=("Cuda Runtime (an illegal memory access was encountered)",))
        else:
            driver.taught[fails] = 700
        np.testing.assert_allclose(engine.embed(crops), expected, atol=1e-6)
        assert engine.name == "onnxruntime"
    driver.taught.clear()
    assert sum("an illegal memory access was encountered" in record.getMessage() for record in caplog.records) == 1
