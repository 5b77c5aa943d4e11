"""Every engine keeps one contract: any number of crops, the same numbers, never a wrong graph.

One that this machine lacks is skipped, and says what would bring it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as runtime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine import ENGINES, Engine, check_golden, open_engine, openvino
from cmnas_edge.engine import onnx_runtime as onnxruntime
from cmnas_edge.errors import BundleError, DeviceError
from tests.tiny_bundle import TINY, copy_tiny, reseal, with_variant

CROPS = np.random.default_rng(3).integers(0, 256, (23, 32, 16, 3), dtype=np.uint8)
MODULES = {"onnxruntime": onnxruntime, "openvino": openvino}


# TensorRT runs only plans that were built before: test_plan_run.py and tests/tensorrt hold it to the same.
@pytest.fixture(scope="module", params=[engine for engine in ENGINES if engine != "tensorrt"])
def name(request: pytest.FixtureRequest) -> str:
    if lacks := MODULES[request.param].missing():
        pytest.skip(f"needs {lacks}")
    return request.param


@pytest.fixture(scope="module")
def engine(name: str) -> Iterator[Engine]:
    with open_engine(Bundle.open(TINY), "visible", name=name, max_batch=7) as engine:
        yield engine


@settings(deadline=None)
@given(st.integers(0, len(CROPS)))
def test_any_number_of_crops_gives_a_row_each_and_the_same_as_alone(engine: Engine, n: int) -> None:
    found = engine.embed(CROPS[:n])
    assert found.shape == (n, 8)
    assert found.dtype == np.float32
    alone = [engine.embed(CROPS[i:i + 1])[0] for i in range(n)]
    np.testing.assert_allclose(found, np.array(alone, np.float32).reshape(n, 8), atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("max_batch", [3, 32])
def test_onnx_runtime_makes_its_largest_call_when_it_opens(
        threads: int, max_batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    honest = runtime.InferenceSession.run

    def run(session: object, names: list[str], given: dict[str, npt.NDArray[np.uint8]]) -> object:
        sizes.append(len(given["crops"]))
        return honest(session, names, given)

    monkeypatch.setattr(runtime.InferenceSession, "run", run)
    with open_engine(Bundle.open(TINY), "visible", threads=threads, max_batch=max_batch) as engine:
        assert sizes[0] <= max_batch
        for count in (1, len(CROPS), 2):
            engine.embed(CROPS[:count])
    assert max(sizes) == sizes[0]   # it keeps what that took, and would take more for more


def test_every_row_has_length_one(engine: Engine) -> None:
    np.testing.assert_allclose(np.linalg.norm(engine.embed(CROPS), axis=1), 1, atol=1e-6)


def test_a_result_is_the_callers_and_later_calls_leave_it_alone(engine: Engine) -> None:
    first = engine.embed(CROPS[:5])
    kept = first.copy()
    engine.embed(CROPS[5:10])
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(engine.embed(CROPS[:5]), kept)


def test_crops_are_the_callers_too_and_stay_as_they_were(engine: Engine) -> None:
    crops = CROPS.copy()
    engine.embed(crops)
    np.testing.assert_array_equal(crops, CROPS)
    crops.flags.writeable = False
    engine.embed(crops)


def test_crops_that_do_not_lie_in_one_piece_are_embedded_all_the_same(engine: Engine) -> None:
    turned = CROPS[::-2, :, ::-1]
    assert not turned.flags.c_contiguous
    np.testing.assert_array_equal(engine.embed(turned), engine.embed(turned.copy()))


@pytest.mark.parametrize("crops", [
    CROPS[0], CROPS[:, :31], CROPS[..., :1], CROPS.astype(np.float32), CROPS.transpose(0, 3, 1, 2),
    np.empty((0, 16, 32, 3), np.uint8),
])
def test_crops_of_another_shape_or_type_are_refused(engine: Engine, crops: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 crops of shape \(n, 32, 16, 3\), found"):
        engine.embed(crops)


def test_engines_agree_on_what_they_see_to_the_rounding_of_a_processor(engine: Engine) -> None:
    with open_engine(Bundle.open(TINY), "visible") as reference:
        np.testing.assert_allclose(engine.embed(CROPS), reference.embed(CROPS), atol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_engine_gives_the_golden_embeddings_of_its_modality(name: str, modality: str) -> None:
    bundle = Bundle.open(TINY)
    with open_engine(bundle, modality, name=name) as engine:
        assert check_golden(engine, bundle, modality) < 1e-6
        assert (engine.name, engine.precision, engine.max_batch) == (name, "fp32", 32)
        crops, _ = bundle.golden(modality)
        other = "infrared" if modality == "visible" else "visible"
        with open_engine(bundle, other, name=name) as stranger:
            assert np.abs(stranger.embed(crops) - engine.embed(crops)).max() > 1e-2


def test_an_engine_that_computes_something_else_never_serves(name: str, tmp_path: Path) -> None:
    path = copy_tiny(tmp_path)
    shutil.copy(TINY / "visible.onnx", path / "infrared.onnx")
    reseal(path)
    bundle = Bundle.open(path)
    open_engine(bundle, "visible", name=name).close()
    with pytest.raises(BundleError, match=r"infrared\.onnx: expected the golden embeddings"):
        open_engine(bundle, "infrared", name=name)


def test_an_embedding_that_is_not_a_number_is_no_agreement(name: str, tmp_path: Path) -> None:
    path = copy_tiny(tmp_path)
    weights = np.fromfile(path / "weights.bin", np.float32)
    weights[:] = np.nan
    weights.tofile(path / "weights.bin")
    reseal(path)
    with pytest.raises(BundleError, match=r"expected the golden embeddings within 0\.0001, found nan"):
        open_engine(Bundle.open(path), "visible", name=name)


def test_a_file_that_is_no_graph_is_refused_in_one_sentence(name: str, tmp_path: Path,
                                                            capfd: pytest.CaptureFixture[str]) -> None:
    path = copy_tiny(tmp_path)
    (path / "visible.onnx").write_bytes(b"no graph")
    reseal(path)
    with pytest.raises(BundleError, match=r"visible\.onnx: (ONNX Runtime|OpenVINO) .* cannot run it") as caught:
        open_engine(Bundle.open(path), "visible", name=name)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")   # nor does the library tell its own story


def test_a_graph_of_another_size_is_refused(name: str, tmp_path: Path) -> None:
    path = copy_tiny(tmp_path)
    reseal(path, lambda manifest: manifest.update(height=64))
    with pytest.raises(BundleError, match=r"expected .*64.* found .*32"):
        open_engine(Bundle.open(path), "visible", name=name)


def test_weights_that_lie_outside_the_bundle_are_not_read(name: str, tmp_path: Path) -> None:
    if name == "onnxruntime" and onnxruntime.onnxruntime.__version__.startswith(("1.20.", "1.21.", "1.22.", "1.23.")):
        pytest.skip("ONNX Runtime up to 1.23 reads external weights from anywhere")
    path = copy_tiny(tmp_path)
    shutil.copy(path / "weights.bin", tmp_path / "outw.bin")
    graph = (path / "visible.onnx").read_bytes()
    assert graph.count(b"weights.bin") > 1
    # As long as the honest name, so that the graph stays well formed.
    (path / "visible.onnx").write_bytes(graph.replace(b"weights.bin", b"../outw.bin"))
    reseal(path)
    with pytest.raises(BundleError, match=r"visible\.onnx: .* cannot run it"):
        open_engine(Bundle.open(path), "visible", name=name)


def test_precisions_that_this_engine_would_only_pretend_to_compute_are_refused(name: str, tmp_path: Path) -> None:
    bundle = with_variant(copy_tiny(tmp_path), "fp16")
    with pytest.raises(DeviceError, match=r"expected fp32.* int8, .* found fp16; choose another"):
        open_engine(bundle, "visible", name=name, precision="fp16")


def test_a_precision_the_bundle_was_never_measured_in_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match=r"expected one of the precisions fp32, found int8 asked for \(it was never"):
        open_engine(Bundle.open(TINY), "visible", name=name, precision="int8")


def test_another_precision_is_held_against_its_own_limit(name: str, tmp_path: Path) -> None:
    path = copy_tiny(tmp_path)
    bundle = with_variant(path, "int8", golden_cosine=0.999)
    with open_engine(bundle, "visible", name=name, precision="int8") as engine:
        assert engine.precision == "int8"
        assert check_golden(engine, bundle, "visible") < 1e-6
    shutil.copy(path / "infrared.int8.onnx", path / "visible.int8.onnx")
    reseal(path)
    with pytest.raises(BundleError, match=r"visible\.int8\.onnx: expected the golden embeddings within 0\.001, found"):
        open_engine(Bundle.open(path), "visible", name=name, precision="int8")


@pytest.mark.parametrize(("threads", "max_batch"), [(0, 1), (1, 0), (-1, 8)])
def test_an_engine_needs_a_thread_and_a_batch(name: str, threads: int, max_batch: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        open_engine(Bundle.open(TINY), "visible", name=name, threads=threads, max_batch=max_batch)


def test_a_closed_engine_says_so(name: str) -> None:
    engine = open_engine(Bundle.open(TINY), "visible", name=name)
    with engine:
        pass
    engine.close()
    with pytest.raises(ValueError, match="closed"):
        engine.embed(CROPS)


def test_nobody_is_told_that_an_engine_runs(name: str, tmp_path: Path) -> None:
    """Left to themselves ONNX Runtime numbers this device and OpenVINO this user, and both tell a server."""
    script = """
import os, sys
from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import open_engine
open_engine(Bundle.open(sys.argv[1]), "visible", name=sys.argv[2]).close()
told = any(module.startswith("openvino_telemetry") and found for module, found in sys.modules.items())
print("telemetry" if told else "silence", flush=True)
os._exit(0)     # not waiting for whoever might still be calling home
"""
    ran = subprocess.run([sys.executable, "-c", script, str(TINY), name], capture_output=True, text=True, check=True,
                         timeout=60, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
                         cwd=Path(__file__).parents[2])
    assert ran.stdout.split("\n") == ["silence", ""]
    assert list(tmp_path.rglob("*")) == []   # nor is a file left with a number


def test_an_unknown_engine_is_refused_with_those_there_are() -> None:
    with pytest.raises(DeviceError, match="'onxruntime': expected one of onnxruntime"):
        open_engine(Bundle.open(TINY), "visible", name="onxruntime")
