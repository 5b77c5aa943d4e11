"""A plan only ever runs on the device it was made on, from the graph it was made from, with every byte in its place."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine import check_golden, open_engine
from cmnas_edge.engine.tensorrt import TensorRtEngine, Workplace
from cmnas_edge.engine.tensorrt import engine as tensorrt_engine
from cmnas_edge.engine.tensorrt.bytes_first import NotOnnx, cast_first
from cmnas_edge.engine.tensorrt.job import Job, bundle_job
from cmnas_edge.engine.tensorrt.plan import Plan, read_manifest
from cmnas_edge.errors import BundleError, DeviceError
from tests.fake_gpu import ORIN
from tests.gpu_site import HOW, Site
from tests.tiny_bundle import TINY

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


def test_a_plan_runs_on_an_equal_device_it_was_copied_to(site: Site, tmp_path: Path) -> None:
    site.build()
    elsewhere = Site(tmp_path / "other")
    shutil.copytree(site.cache, elsewhere.cache)
    with elsewhere.place, elsewhere.open() as engine:
        assert check_golden(engine, elsewhere.bundle, "visible") < 1e-6
    assert elsewhere.trt.builds == 0


@pytest.mark.parametrize(("change", "says"), [
    ({"sm_count": 16}, "expected a plan for Orin with 16 multiprocessors, found one for Orin with 8"),
    ({"name": "Thor"}, "expected a plan for Thor with 8"),
    ({"capability": "9.0"}, r"expected a plan for compute capability 9.0 \(Orin\), found one for 8.7"),
    ({"version": "10.7.0"}, "expected a plan made with TensorRT 10.7.0, .*, found one made with 10.3.0"),
    ({"platform": "linux-aarch64"}, "expected a plan made on linux-aarch64, found one made on linux-x86_64; plans"),
])
def test_a_plan_of_another_device_is_refused_with_what_differs_before_tensorrt_sees_it(
        site: Site, tmp_path: Path, change: dict[str, object], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site.build()
    version = str(change.pop("version", "10.3.0"))
    name = str(change.pop("platform", "linux-x86_64"))
    monkeypatch.setattr("platform.machine", lambda: name.partition("-")[2])
    elsewhere = Site(tmp_path, msgspec.structs.replace(ORIN, **change), version)
    elsewhere.trt.logs["Runtime"] = "never made"
    with elsewhere.place, pytest.raises(DeviceError, match=says) as refusal:
        elsewhere.open()
    assert "build here: cmnas-edge engine build" in str(refusal.value)


def test_without_a_plan_the_command_that_makes_one_is_named(site: Site) -> None:
    with pytest.raises(DeviceError, match="expected a plan of visible in fp32 for this device, found none") as error:
        site.open()
    assert str(error.value).endswith(f"make it here: cmnas-edge engine build {TINY}")


@pytest.mark.parametrize(("damage", "says"), [
    (lambda data: data[:-100], r"expected \d+ bytes, found \d+: it was cut short"),
    (lambda data: b"", r"expected \d+ bytes, found 0: it was cut short"),
    (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], r"expected the \d+ bytes that were built"),
    (lambda data: data + b"\0", r"expected the \d+ bytes that were built"),
    (lambda data: data.replace(b"\n", b"\r\n"), "a program that takes files for text"),
    (lambda data: data.decode(errors="replace").encode(), "a program that takes files for text"),
])
def test_a_damaged_plan_is_called_so_before_tensorrt_sees_it(site: Site, damage: object, says: str) -> None:
    path = site.build()
    data = path.read_bytes()
    assert b"\n" in data
    path.write_bytes(damage(data))  # type: ignore[operator]
    site.trt.logs["Runtime"] = "never made"
    with pytest.raises(BundleError, match=says + ".*; copy it again, or build again: cmnas-edge engine build"):
        site.open()


@pytest.mark.parametrize("what", ["plan", "folder"])
def test_a_plan_that_anybody_may_write_is_code_of_anybodys_and_never_runs(site: Site, what: str) -> None:
    path = site.build()
    (path if what == "plan" else path.parent).chmod(0o777)
    site.trt.logs["Runtime"] = "never made"
    with pytest.raises(BundleError, match=r"expected what only its owner may change, found mode 777.*chmod o-w"):
        site.open()


def test_a_plan_is_its_owners_whatever_the_umask(site: Site) -> None:
    before = os.umask(0)
    try:
        site.build()
    finally:
        os.umask(before)
    site.open().close()


def test_a_large_plan_without_its_carriage_returns_went_through_a_text_program(site: Site) -> None:
    path = site.build()
    data = np.random.default_rng(0).bytes(2 << 20)
    plan = read_manifest(path, "")
    record = msgspec.structs.replace(plan.file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    path.with_suffix(".json").write_bytes(msgspec.json.encode(msgspec.structs.replace(plan, file=record)))
    path.write_bytes(data.replace(b"\r\n", b"\n"))
    with pytest.raises(BundleError, match="in none of them a carriage return before a line feed"):
        site.open()


@pytest.mark.parametrize(("text", "says"), [
    (None, "expected the manifest that goes with"), (b"", "expected a plan's manifest of this version"),
    (b"\xff\xfe", "expected a plan's manifest"), (b'{"schema":2}', "expected a plan's manifest"),
    (b" " * (1 << 21), "a file too large for one"),
])
def test_a_plan_without_a_manifest_that_can_be_read_is_refused(site: Site, text: bytes | None, says: str) -> None:
    path = site.build().with_suffix(".json")
    path.unlink() if text is None else path.write_bytes(text)
    with pytest.raises(BundleError, match=says):
        site.open()


def test_an_unknown_field_of_a_manifest_is_refused(site: Site) -> None:
    where = site.build().with_suffix(".json")
    where.write_bytes(where.read_bytes().replace(b'"schema"', b'"plugin": "x.so", "schema"', 1))
    with pytest.raises(BundleError, match="plugin"):
        site.open()


def test_a_plan_of_another_bundle_or_of_this_one_before_it_was_exported_again_is_refused(
        site: Site, tmp_path: Path) -> None:
    path = site.build()
    for change, says in (({"bundle": "ab" * 32}, "found visible in fp32 of bundle abababababababab"),
                         ({"name": "infrared"}, "found infrared in fp32"),
                         ({"sha256": "cd" * 32}, "the bundle was exported again, so build again")):
        _edit(path, lambda plan, change=change: msgspec.structs.replace(
            plan, graph=msgspec.structs.replace(plan.graph, **change)))
        with pytest.raises(BundleError, match=says):
            site.open()
        site.build(again=True)


def test_a_manifest_that_says_other_than_the_plan_does_is_refused(site: Site) -> None:
    path = site.build()
    for change, says in (
            (lambda plan: msgspec.structs.replace(plan, tensors=(
                plan.input, msgspec.structs.replace(plan.output, name="features"))), "output features"),
            (lambda plan: msgspec.structs.replace(plan, tensors=(
                plan.input, msgspec.structs.replace(plan.output, dtype="float16"))), "output embeddings float16"),
            (lambda plan: msgspec.structs.replace(plan, profile=msgspec.structs.replace(
                plan.profile, most=(64, 32, 16, 3))), r"expected batches of shape \(\(1, .*64")):
        _edit(path, change)
        with pytest.raises(BundleError, match=says):
            site.open()
        site.build(again=True)


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


def test_bytes_are_cast_before_they_are_turned_and_nothing_else_changes() -> None:
    bundle = Bundle.open(TINY)
    for modality in MODALITIES:
        before = bundle.graph(modality).read_bytes()
        after = cast_first(before)
        nodes = onnx.ModelProto.FromString(after).graph.node
        assert [node.op_type for node in nodes[:2]] == ["Cast", "Transpose"]
        assert cast_first(after) == after
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(bundle.path))
        one, other = (onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
                      for model in (before, after))
        np.testing.assert_array_equal(one.run(None, {"crops": CROPS})[0], other.run(None, {"crops": CROPS})[0])


def test_what_a_graph_says_of_its_tensors_is_true_after_the_change() -> None:
    make, kind = onnx.helper, onnx.TensorProto
    graph = make.make_graph(
        [make.make_node("Transpose", ["crops"], ["planes"], perm=[0, 3, 1, 2]),
         make.make_node("Cast", ["planes"], ["out"], to=kind.FLOAT)], "g",
        [make.make_tensor_value_info("crops", kind.UINT8, ["n", 4, 2, 3])],
        [make.make_tensor_value_info("out", kind.FLOAT, ["n", 3, 4, 2])],
        value_info=[make.make_tensor_value_info("planes", kind.UINT8, ["n", 3, 4, 2])])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 19)])
    changed = onnx.ModelProto.FromString(cast_first(model.SerializeToString()))
    onnx.checker.check_model(changed, full_check=True)
    assert [node.op_type for node in changed.graph.node] == ["Cast", "Transpose"]


@given(st.binary(max_size=200))
def test_what_is_no_graph_is_never_taken_for_one(data: bytes) -> None:
    with contextlib.suppress(NotOnnx):
        assert cast_first(data) == data


def test_a_graph_that_computes_on_bytes_is_refused_by_name() -> None:
    make = onnx.helper
    graph = make.make_graph(
        [make.make_node("Add", ["crops", "crops"], ["sum"]), make.make_node("Cast", ["sum"], ["out"], to=1)], "g",
        [make.make_tensor_value_info("crops", onnx.TensorProto.UINT8, ["n", 3])],
        [make.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", 3])])
    with pytest.raises(NotOnnx, match=r"bytes of input 'crops' to go through at most one Transpose.*found 'Add'"):
        cast_first(make.make_model(graph).SerializeToString())


def _edit(path: Path, change: object) -> None:
    where = path.with_suffix(".json")
    where.write_bytes(msgspec.json.encode(change(msgspec.json.decode(where.read_bytes(), type=Plan))))  # type: ignore[operator]


_CACHE: dict[int, tuple[TensorRtEngine, np.ndarray]] = {}


def _opened(most: int) -> tuple[TensorRtEngine, np.ndarray]:
    """One engine for all examples: making one is what takes time."""
    if most not in _CACHE:
        site = Site(Path(tempfile.mkdtemp()))
        site.build()
        engine = site.open(max_batch=most)
        _CACHE[most] = engine, engine.embed(CROPS)
    return _CACHE[most]


