"""A plan at work gives a row for each crop, says every failure, and leaves nothing on the GPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine import check_golden, open_engine
from cmnas_edge.engine.tensorrt import TensorRtEngine, Workplace
from cmnas_edge.engine.tensorrt import engine as tensorrt_engine
from cmnas_edge.engine.tensorrt.job import Job, bundle_job
from cmnas_edge.errors import BundleError, DeviceError
from tests.gpu_site import HOW, Site

CROPS = np.random.default_rng(3).integers(0, 256, (23, 32, 16, 3), dtype=np.uint8)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.place:
        yield site
    assert not site.cuda.buffers
    assert site.cuda.thread is None


@pytest.mark.parametrize("modality", MODALITIES)
def test_what_was_built_gives_the_golden_embeddings(site: Site, modality: str) -> None:
    site.build(modality)
    with site.open(modality) as engine:
        assert check_golden(engine, site.bundle, modality) < 1e-6
        assert (engine.name, engine.precision, engine.max_batch) == ("tensorrt", "fp32", 7)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 14, 15, 23])
def test_batches_beyond_the_largest_are_split_and_none_at_all_gives_none(site: Site, n: int) -> None:
    site.build()
    with site.open() as engine:
        every = engine.embed(CROPS)
        found = engine.embed(CROPS[:n])
        assert found.shape == (n, 8)
        np.testing.assert_allclose(found, every[:n], atol=1e-6)
        kept = found.copy()
        engine.embed(CROPS[::-1])
        np.testing.assert_array_equal(found, kept)
    sizes = [call[2][0] for call in site.trt.calls if call[0] == "execute"]
    assert max(sizes) <= 7
    assert 0 not in sizes


@given(st.integers(0, 23), st.integers(1, 9))
def test_a_smaller_batch_than_the_plans_may_be_asked_for(n: int, most: int) -> None:
    engine, every = _opened(most)
    assert engine.max_batch == min(7, most)
    np.testing.assert_allclose(engine.embed(CROPS[:n]), every[:n], atol=1e-6)


def test_crops_that_lie_anyhow_are_embedded_and_stay_the_callers(site: Site) -> None:
    site.build()
    crops = CROPS.copy()
    crops.flags.writeable = False
    with site.open() as engine:
        turned = crops[::-2, :, ::-1]
        np.testing.assert_array_equal(engine.embed(turned), engine.embed(turned.copy()))
    np.testing.assert_array_equal(crops, CROPS)


def test_the_golden_pair_has_the_last_word(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_engine, "missing", lambda: None)
    monkeypatch.setattr(tensorrt_engine, "Workplace", lambda: Lasting(site.place))
    monkeypatch.setattr(tensorrt_engine, "cache_folder", lambda setting: site.cache)
    site.build("visible")
    with open_engine(site.bundle, "visible", name="tensorrt") as engine:
        assert (engine.name, engine.precision) == ("tensorrt", "fp32")
    # Everything agrees, but what it computes: a plan of the other modality's graph under this one's name.
    job = bundle_job(site.bundle, "visible", "fp32")
    site.place.build(Job(site.bundle.graph("infrared"), job.graph, job.preprocessing), HOW, site.cache, again=True)
    with pytest.raises(BundleError, match=r"the golden embeddings within 0.0001, found .* on tensorrt in fp32"):
        open_engine(site.bundle, "visible", name="tensorrt")
    assert not site.cuda.buffers


class Lasting:
    """A workplace whose end is the test's."""

    def __init__(self, place: Workplace) -> None:
        self.open = place.open

    def close(self) -> None: ...


def test_rows_of_another_shape_or_type_are_refused(site: Site) -> None:
    site.build()
    with site.open() as engine:
        for crops in (CROPS[0], CROPS[:, :31], CROPS.astype(np.float32), np.empty((0, 16, 32, 3), np.uint8)):
            with pytest.raises(ValueError, match=r"expected uint8 crops of shape \(n, 32, 16, 3\), found"):
                engine.embed(crops)
    with pytest.raises(ValueError, match="found it closed"):
        engine.embed(CROPS)
    engine.close()


def test_everything_on_the_gpu_is_freed_in_order_and_in_its_thread(site: Site) -> None:
    site.build()
    site.cuda.events.clear()
    engine = site.open()
    engine.embed(CROPS)
    engine.close()
    assert site.cuda.events == ["free context", "free engine", "free runtime", "free buffer", "free buffer"]
    streams = {call[1] for call in site.trt.calls if call[0] == "execute"}
    assert 0 not in streams


def test_one_thread_serves_every_engine(site: Site) -> None:
    for modality in MODALITIES:
        site.build(modality)
    with site.open("visible") as one, site.open("infrared") as other:
        assert np.abs(one.embed(CROPS) - other.embed(CROPS)).max() > 1e-2


@pytest.mark.parametrize(("call", "says"), [
    ("Runtime", "expected a runtime without complaints"),
    ("deserialize_cuda_engine", "it was made with another version of TensorRT"),
    ("create_execution_context", "expected room to run it in"),
])
@pytest.mark.parametrize("none", [True, False])
def test_an_error_in_the_log_is_a_failure_whatever_the_call_answers(
        site: Site, call: str, says: str, none: bool) -> None:
    site.build()
    site.trt.logs[call] = "Version tag does not match. Note: Current Version: 213, Serialized Engine Version: 232"
    if none and call != "Runtime":
        site.trt.refuses.add(call)
    with pytest.raises(DeviceError, match=says) as error:
        site.open()
    assert "Current Version: 213" in str(error.value)
    assert not site.cuda.buffers


@pytest.mark.parametrize("call", ["deserialize_cuda_engine", "create_execution_context", "set_tensor_address"])
def test_a_refusal_without_a_reason_is_a_failure_too(site: Site, call: str) -> None:
    site.build()
    site.trt.refuses.add(call)
    with pytest.raises(DeviceError, match="it does not say why"):
        site.open()


@pytest.mark.parametrize("call", ["set_input_shape", "execute_async_v3"])
@pytest.mark.parametrize("logs", [True, False])
def test_a_batch_that_fails_is_an_error_of_the_device_and_never_old_embeddings(
        site: Site, call: str, logs: bool) -> None:
    site.build()
    with site.open() as engine:
        engine.embed(CROPS[:3])
        if logs:
            site.trt.logs[call] = "[E] [TRT] an illegal memory access was encountered"
        else:
            site.trt.refuses.add(call)
        with pytest.raises(DeviceError, match="illegal memory access" if logs else "does not say why"):
            engine.embed(CROPS[3:7])
        site.trt.logs.clear()
        site.trt.refuses.clear()
        assert engine.embed(CROPS[3:7]).shape == (4, 8)


def test_a_gpu_that_fails_is_an_error_of_the_device_and_closing_after_it_is_quiet(
        site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.build()
    engine = site.open()
    site.cuda.broken = "cuStreamSynchronize failed: unspecified launch failure"
    with pytest.raises(DeviceError, match=r"the GPU to run it, found RuntimeError .*unspecified launch failure"):
        engine.embed(CROPS)
    engine.close()
    engine.close()
    assert "could not be freed" in caplog.text


_CACHE: dict[int, tuple[TensorRtEngine, np.ndarray]] = {}


def _opened(most: int) -> tuple[TensorRtEngine, np.ndarray]:
    """One engine for all examples: making one is what takes time."""
    if most not in _CACHE:
        site = Site(Path(tempfile.mkdtemp()))
        site.build()
        engine = site.open(max_batch=most)
        _CACHE[most] = engine, engine.embed(CROPS)
    return _CACHE[most]
