"""What TensorRT or the driver refuses becomes our message, over the real bindings; and nothing is left behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.engine.tensorrt import TensorRtEngine, Workplace, missing
from cmnas_edge.engine.tensorrt.build import Job, bundle_job
from cmnas_edge.errors import BundleError, DeviceError
from tests.tensorrt.cuda_driver import Driver
from tests.tensorrt.library import Dims
from tests.tensorrt.stage import HOW
from tests.tensorrt.world import World

EINSUM = {"desc": "no importer registered for op: Einsum", "node": 7, "node_name": "head/mix",
          "node_operator": "Einsum"}
NON_ZERO = {"desc": "dynamic\n output", "node": 9, "node_name": "", "node_operator": "NonZero"}


def opened(bundle: Bundle, plan: Path, place: Workplace) -> TensorRtEngine:
    return TensorRtEngine(bundle, "visible", precision="fp32", cache=plan.parents[2], workplace=place)


def said(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, on one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def job(bundle: Bundle) -> Job:
    return bundle_job(bundle, "visible", "fp32")


def test_a_parser_s_errors_are_all_listed_with_their_nodes(world: World, place: Workplace, job: Job, trt: Any,
                                                           tmp_path: Path) -> None:
    world.parse_errors += [EINSUM, NON_ZERO]
    with pytest.raises(BundleError) as error:
        place.build(job, HOW, tmp_path)
    assert said(error).startswith(f"{job.path}: expected a graph TensorRT {trt.__version__} can read, found 2 errors: ")
    assert "(1) Einsum head/mix: no importer registered for op: Einsum; (2) NonZero 9: dynamic output;" in said(error)
    assert list(tmp_path.rglob("*.plan")) == []


@pytest.mark.parametrize(("log", "remedy"), [
    (("Error Code 10: Could not find any implementation for node {ForeignNode[conv]}.",), "choose another precision"),
    (("Error Code 2: OutOfMemory (Requested size was 8589934592 bytes.)",), "free memory"),
    ((), "it does not say why"),
])
def test_a_build_that_gives_nothing_is_refused_with_what_was_logged(world: World, place: Workplace, job: Job,
                                                                    tmp_path: Path, log: tuple[str, ...],
                                                                    remedy: str) -> None:
    world.teach("builder.build_serialized_network", None, log=log)
    with pytest.raises(DeviceError, match="found that it cannot") as error:
        place.build(job, HOW, tmp_path)
    assert all(text in said(error) for text in (*log, remedy))
    assert list(tmp_path.rglob("*.plan")) == []


def test_a_builder_that_cannot_be_made_is_refused_with_what_was_logged(world: World, place: Workplace, job: Job,
                                                                       tmp_path: Path) -> None:
    world.teach("make.builder", None, log=("CUDA initialization failure with error: 35",))
    with pytest.raises(DeviceError, match="CUDA initialization failure with error: 35"):
        place.build(job, HOW, tmp_path)


@pytest.mark.parametrize(("name", "answer"), [("profile.set_dimensions", False),
                                              ("config.add_optimization_profile", -1)])
def test_a_profile_that_is_refused_is_a_sentence(world: World, place: Workplace, job: Job, tmp_path: Path, name: str,
                                                 answer: int) -> None:
    world.teach(name, answer, log=("a reason",))
    with pytest.raises(DeviceError, match="expected TensorRT to take batches of 1, 2 and 5, found") as error:
        place.build(job, HOW, tmp_path)
    assert "a reason" in said(error)


def test_an_error_that_is_logged_while_building_is_passed_on_though_a_plan_came(
        world: World, place: Workplace, job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world.teach("builder.build_serialized_network", log=("Skipping tactic 0x3e9 due to exception",))
    path, _ = place.build(job, HOW, tmp_path)
    assert path.exists()
    assert "TensorRT built a plan, and complained on the way: Skipping tactic 0x3e9" in caplog.text


@pytest.mark.parametrize(("log", "meaning"), [
    (("Error Code 1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.",
      "Version tag does not match. Note: Current Version: 239, Serialized Engine Version: 240)"),
     "another version of TensorRT"),
    (("The engine plan file is generated on an incompatible device, expecting compute 8.7 got compute 8.6",),
     "made for another GPU"),
    ((), "it gives no reason"),
])
def test_a_plan_tensorrt_does_not_load_is_refused_with_what_that_means(
        world: World, place: Workplace, bundle: Bundle, plan: Path, log: tuple[str, ...], meaning: str) -> None:
    world.teach("runtime.deserialize_cuda_engine", None, log=log)
    with pytest.raises(DeviceError, match=re.escape(str(plan))) as error:
        opened(bundle, plan, place)
    assert all(text in said(error) for text in (*log, meaning, "build here: cmnas-edge engine build"))


def test_a_plan_of_another_version_is_known_by_tensorrt_s_own_words(
        world: World, place: Workplace, bundle: Bundle, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "version", "10.99.0")
    with pytest.raises(DeviceError, match="made with another version of TensorRT"):
        opened(bundle, plan, place)


def test_an_error_that_is_logged_while_loading_counts_though_an_engine_came(world: World, place: Workplace,
                                                                            bundle: Bundle, plan: Path) -> None:
    world.teach("runtime.deserialize_cuda_engine", log=("Cuda Runtime (an illegal memory access)",))
    with pytest.raises(DeviceError, match="an illegal memory access"):
        opened(bundle, plan, place)


def test_a_runtime_that_complains_is_not_touched(world: World, place: Workplace, bundle: Bundle, plan: Path) -> None:
    """As without a GPU: what the lean runtime hands out then crashes at its next call."""
    world.teach("make.runtime", log=("CUDA initialization failure with error: 35",))
    with pytest.raises(DeviceError, match="expected a runtime without complaints, found CUDA initialization failure"):
        opened(bundle, plan, place)
    assert {call.name for call in world.library.calls} <= {"make.runtime", "runtime.destroy"}


def test_a_runtime_that_cannot_be_made_is_refused(world: World, place: Workplace, bundle: Bundle, plan: Path) -> None:
    world.teach("make.runtime", None, log=("CUDA initialization failure with error: 35",))
    with pytest.raises(DeviceError, match="CUDA initialization failure with error: 35"):
        opened(bundle, plan, place)


@pytest.mark.parametrize(("name", "message"), [
    ("engine.create_execution_context", "expected room to run it in, found that TensorRT has none"),
    ("context.set_tensor_address", "expected TensorRT to take its crops at an address, found that it does not"),
])
def test_what_an_engine_refuses_when_it_is_opened_is_a_sentence(world: World, place: Workplace, bundle: Bundle,
                                                                plan: Path, name: str, message: str) -> None:
    world.teach(name, 0, log=("a reason",))
    with pytest.raises(DeviceError, match=message) as error:
        opened(bundle, plan, place)
    assert "(a reason)" in said(error)


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("context.set_input_shape", (False,), "expected TensorRT to take a batch of 3, found that it does not (a reason)"),
    ("context.execute_async_v3", (False,), "expected TensorRT to run a batch of 3, found that it does not (a"),
    ("context.execute_async_v3", (), "expected a batch of 3 without complaints, found a reason"),
])
def test_what_a_context_refuses_or_complains_of_is_a_sentence(
        world: World, place: Workplace, bundle: Bundle, plan: Path, name: str, answer: tuple[bool, ...],
        message: str) -> None:
    crops = bundle.golden("visible")[0][:3]
    with opened(bundle, plan, place) as engine:
        world.teach(name, *answer, log=("a reason",))
        with pytest.raises(DeviceError, match=re.escape(message)):
            engine.embed(crops)


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("engine.get_tensor_shape", Dims((-1, 8)), r"found input crops uint8 \(-1, 8\), output embeddings"),
    ("engine.get_tensor_dtype", 1, r"expected input crops uint8 .*, found input crops float16"),
    ("engine.num_io_tensors", 1, r"found input crops uint8 \(-1, 32, 16, 3\); build again"),
])
def test_a_plan_with_other_tensors_than_its_manifest_says_is_refused(
        world: World, place: Workplace, bundle: Bundle, plan: Path, name: str, answer: Any, message: str) -> None:
    world.teach(name, answer)
    with pytest.raises(BundleError, match=message):
        opened(bundle, plan, place)


def test_a_plan_with_another_profile_than_its_manifest_says_is_refused(world: World, place: Workplace, bundle: Bundle,
                                                                       plan: Path) -> None:
    world.teach("engine.get_tensor_profile_shape", Dims((1, 32, 16, 3)))
    with pytest.raises(BundleError, match="expected batches of shape"):
        opened(bundle, plan, place)


@pytest.mark.parametrize("name", ["cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamCreate"])
def test_a_gpu_without_room_is_a_sentence_and_leaks_nothing(world: World, driver: Driver, place: Workplace,
                                                            bundle: Bundle, plan: Path, name: str) -> None:
    driver.taught[name] = 2
    with pytest.raises(DeviceError, match=r"expected room for it on the GPU, found MemoryError \(.*out of memory"):
        opened(bundle, plan, place)


@pytest.mark.parametrize("name", ["cuStreamSynchronize", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"])
def test_a_gpu_that_fails_in_the_middle_is_a_sentence(world: World, driver: Driver, place: Workplace, bundle: Bundle,
                                                      plan: Path, name: str) -> None:
    crops = bundle.golden("visible")[0][:3]
    with opened(bundle, plan, place) as engine:
        driver.taught[name] = 700
        with pytest.raises(DeviceError, match=r"expected the GPU to run it, found LogicError \(.*illegal memory"):
            engine.embed(crops)
        driver.taught.clear()


@pytest.mark.parametrize(("name", "code", "message"), [
    ("cuInit", 100, r"a GPU that the driver can start \(cuInit answers 100\)"),
    ("cuInit", 803, r"cuInit answers 803"),
    ("cuDeviceGetCount", 100, r"a GPU that this process may see"),
])
def test_a_driver_without_a_gpu_is_told_before_tensorrt_is_asked(world: World, driver: Driver, name: str, code: int,
                                                                 message: str) -> None:
    driver.taught[name] = code
    assert re.search(message, missing() or "")
    with pytest.raises(DeviceError, match=message):
        Workplace()
    assert world.library.calls == []


def test_a_gpu_that_gives_no_context_is_a_sentence(world: World, driver: Driver) -> None:
    driver.taught["cuDevicePrimaryCtxRetain"] = 2
    with pytest.raises(DeviceError, match=r"expected a context of its own, found MemoryError \(.*out of memory"):
        Workplace()
