"""What a camera does with a GPU, over the real bindings: its detector, both modalities at once, and what fails."""

from __future__ import annotations

import gc
import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.settings import DetectorSettings
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.engine.fallback import with_fallback
from cmnas_edge.engine.tensorrt import TensorRtEngine, Workplace
from cmnas_edge.engine.tensorrt.job import How, bundle_job, detector_job
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


def test_both_modalities_serve_threads_at_once_each_from_memory_and_a_stream_of_its_own(
        world: World, bundle: Bundle, tmp_path: Path) -> None:
    with Workplace() as place:
        for modality in MODALITIES:
            place.build(bundle_job(bundle, modality, "fp32"), How(2, 3), tmp_path)
        engines = {modality: TensorRtEngine(bundle, modality, precision="fp32", cache=tmp_path, workplace=place)
                   for modality in MODALITIES}
        wrong: list[str] = []

        def embed(modality: Modality) -> None:
            crops, expected = bundle.golden(modality)
            for n in range(40):
                rows = np.arange(n % 8) % len(crops)
                if not np.allclose(engines[modality].embed(crops[rows]), expected[rows], atol=1e-6):
                    wrong.append(f"{modality}: a batch of {len(rows)}")

        threads = [threading.Thread(target=embed, args=(modality,)) for modality in MODALITIES * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        addresses = [call.arguments[1] for call in world.library.calls if call.name == "context.set_tensor_address"]
        streams = {call.arguments for call in world.library.calls if call.name == "context.execute_async_v3"}
        for engine in engines.values():
            engine.close()
    assert wrong == []
    assert len(set(addresses)) == 4
    assert len(streams) == 2


def test_an_engine_opened_again_and_again_leaves_nothing(world: World, place: Workplace, bundle: Bundle,
                                                         plan: Path) -> None:
    crops, _ = bundle.golden("visible")
    for _ in range(30):
        with TensorRtEngine(bundle, "visible", precision="fp32", cache=plan.parents[2], workplace=place) as engine:
            engine.embed(crops)
        assert (world.gpu.memory, world.gpu.streams) == ({}, {})
        alive = {thing.kind for thing in world.library.things.values() if thing.alive}
        assert not alive & {"runtime", "engine", "context"}
