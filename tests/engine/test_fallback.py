"""A GPU that fails in the night costs no crop and no truth: ONNX Runtime goes on, and every sighting says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cmnas_edge import wire
from cmnas_edge.camera.embedder import Embedder
from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.tally import Tally
from cmnas_edge.engine import Engine, open_engine
from cmnas_edge.engine.fallback import WithFallback, with_fallback
from cmnas_edge.errors import BundleError, CmnasError, DeviceError
from tests.gpu_site import Site

CROPS = np.random.default_rng(3).integers(0, 256, (5, 32, 16, 3), dtype=np.uint8)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.place:
        site.build()
        yield site


def test_the_batch_it_failed_at_and_all_after_it_are_embedded_by_onnx_runtime(
        site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with with_fallback(site.open(), site.bundle, "visible", threads=1, max_batch=9) as engine:
        before = engine.embed(CROPS)
        assert (engine.name, engine.precision, engine.max_batch) == ("tensorrt", "fp32", 7)
        site.cuda.broken = "cuStreamSynchronize failed: an illegal memory access was encountered"
        with caplog.at_level(logging.ERROR, "cmnas.engine"):
            np.testing.assert_allclose(engine.embed(CROPS), before, atol=1e-6)
            engine.embed(CROPS)
        assert (engine.name, engine.precision, engine.max_batch) == ("onnxruntime", "fp32", 9)
    said = [record.getMessage() for record in caplog.records if record.name == "cmnas.engine"]
    assert len(said) == 1
    assert said[0].startswith("visible: tensorrt in fp32 failed (")
    assert "an illegal memory access" in said[0]
    assert "onnxruntime in fp32 goes on from here. A restart tries again" in said[0]
    assert not site.cuda.buffers


def test_it_happens_once_and_a_spare_that_fails_too_is_the_devices_error(site: Site) -> None:
    opened = []

    def spare() -> object:
        opened.append(1)
        return site.open()      # on the same broken GPU

    engine = WithFallback(site.open(), spare, "visible")  # type: ignore[arg-type]
    site.trt.refuses.add("execute_async_v3")
    for _ in range(2):
        with pytest.raises(DeviceError, match="expected TensorRT to run a batch of 5, found that it does not"):
            engine.embed(CROPS)
    assert opened == [1]
    engine.close()


@pytest.mark.parametrize("lacks", [BundleError("visible.onnx: expected a graph, found none; export again"),
                                   DeviceError("ONNX Runtime: expected room, found none; free some")])
def test_a_spare_that_cannot_be_opened_leaves_the_engines_own_error_now_and_ever_after(
        site: Site, lacks: CmnasError) -> None:
    opened = []

    def spare() -> Engine:
        opened.append(1)
        raise lacks

    engine = WithFallback(site.open(), spare, "visible")
    site.cuda.broken = "cuStreamSynchronize failed: unspecified launch failure"
    for _ in range(3):      # a DeviceError, with which a service is started again: a bundle's would end it for good
        with pytest.raises(DeviceError, match="unspecified launch failure") as error:
            engine.embed(CROPS)
        assert f"(and what would go on from here cannot be opened: {lacks})" in str(error.value)
    assert (opened, engine.name, engine.precision) == ([1], "tensorrt", "fp32")
    engine.close()


def test_a_programmers_mistake_is_no_failure_of_the_engine(site: Site) -> None:
    with with_fallback(site.open(), site.bundle, "visible", threads=1, max_batch=9) as engine:
        with pytest.raises(ValueError, match="expected uint8 crops"):
            engine.embed(CROPS[:, :5])
        assert engine.name == "tensorrt"


def test_onnx_runtime_needs_no_spare(site: Site) -> None:
    with open_engine(site.bundle, "visible") as engine:
        assert with_fallback(engine, site.bundle, "visible", threads=1, max_batch=9) is engine


def test_each_sighting_tells_which_engine_made_it_and_the_failure_is_counted(site: Site) -> None:
    tally = Tally()
    with with_fallback(site.open(), site.bundle, "visible", threads=1, max_batch=9) as engine:
        embedder = Embedder("gate", site.bundle.fingerprint, {"visible": engine}, "fp16", tally)
        pick = Pick(1, CROPS, tuple(100.0 + row for row in range(5)), 99.0, 110.0, 0.5, 40, 100, "visible")
        made = embedder.records([("north", pick)])
        site.trt.logs["execute_async_v3"] = "Error Code 1: Cuda Runtime (unspecified launch failure)"
        made += embedder.records([("north", pick), ("south", pick)])
        made += embedder.records([("north", pick)])
    addressed = [wire.address(record, "0" * 16, 1 + row) for row, record in enumerate(made)]
    found = wire.decode_batch(wire.encode_batch(addressed), dimension=8, device="gate",
                              fingerprint=site.bundle.fingerprint)
    assert [sighting.engine for sighting in found] == ["tensorrt", "onnxruntime", "onnxruntime", "onnxruntime"]  # type: ignore[union-attr]
    assert tally["engine_failures"] == 1
