"""OpenVINO serves in graphs of fixed sizes, in the precision it was asked for, and in silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import open_engine, openvino
from cmnas_edge.engine.openvino import OpenVinoEngine, pieces
from cmnas_edge.errors import DeviceError
from tests.tiny_bundle import TINY, copy_tiny, with_variant

CROPS = np.random.default_rng(3).integers(0, 256, (23, 32, 16, 3), dtype=np.uint8)
present = pytest.mark.skipif(openvino.missing() is not None, reason=f"needs {openvino.missing()}")


@given(st.integers(0, 3000), st.integers(1, 1024))
def test_pieces_hold_every_crop_in_few_sizes_and_waste_less_than_half(n: int, max_batch: int) -> None:
    found = pieces(n, max_batch)
    assert all(size & (size - 1) == 0 and 0 < size <= max_batch for size in found)
    assert list(found) == sorted(found, reverse=True)
    assert sum(found[:-1]) < n <= sum(found) if n else found == ()  # only the last has empty places
    assert sum(found) < 1.5 * n or n == 0


@pytest.mark.parametrize(("n", "expected"), [
    (1, (1,)), (3, (4,)), (5, (4, 1)), (7, (8,)), (12, (8, 4)), (23, (16, 8)), (32, (32,)), (70, (32, 32, 8))])
def test_pieces_weigh_a_call_against_crops_that_are_not_there(n: int, expected: tuple[int, ...]) -> None:
    assert pieces(n, 32) == expected


def test_where_it_is_not_installed_the_message_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(openvino.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'cmnas-edge[openvino]'" in str(openvino.missing())
    with pytest.raises(DeviceError, match=r"'openvino': expected the Python package openvino; install it with: pip"):
        open_engine(Bundle.open(TINY), "visible", name="openvino")


@present
def test_it_computes_in_bfloat16_where_it_says_so_and_nowhere_else(tmp_path: Path) -> None:
    bundle = with_variant(with_variant(copy_tiny(tmp_path), "bf16", golden_cosine=0.99).path, "int8")
    with open_engine(bundle, "visible") as reference:
        expected = reference.embed(CROPS)
    try:
        engine = open_engine(bundle, "visible", name="openvino", precision="bf16")
    except DeviceError as error:
        pytest.skip(str(error))
    with engine:
        away = np.abs(engine.embed(CROPS) - expected).max()
        assert 2.0**-16 < away < 2.0**-4   # bfloat16 keeps 8 bits of a number, float32 24
    for precision in ("fp32", "int8"):      # the int8 graph of this bundle is a float32 graph
        with open_engine(bundle, "visible", name="openvino", precision=precision) as engine:
            assert np.abs(engine.embed(CROPS) - expected).max() < 1e-5


@present
def test_where_the_processor_has_no_bfloat16_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def get_property(self, device: str, key: str) -> object:
            return {"OPTIMIZATION_CAPABILITIES": ["FP32", "INT8"], "FULL_DEVICE_NAME": "An Old One"}[key]

    monkeypatch.setattr(openvino, "_core", lambda library: Old())
    bundle = with_variant(copy_tiny(tmp_path), "bf16")
    with pytest.raises(DeviceError, match="expected a processor that computes in bfloat16, found An Old One"):
        open_engine(bundle, "visible", name="openvino", precision="bf16")


@present
@pytest.mark.parametrize("threads", [1, 2])
def test_it_computes_with_the_threads_it_was_given_on_cores_that_are_not_its_own(threads: int) -> None:
    with OpenVinoEngine(Bundle.open(TINY), "visible", threads=threads, max_batch=4) as engine:
        compiled = engine._requests[1].native.get_compiled_model()
        assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
        assert compiled.get_property("NUM_STREAMS") == 1
        assert compiled.get_property("ENABLE_CPU_PINNING") is False


@present
def test_only_sizes_that_were_needed_take_memory() -> None:
    with open_engine(Bundle.open(TINY), "visible", name="openvino", max_batch=16) as engine:
        assert isinstance(engine, OpenVinoEngine)
        at_first = set(engine._requests)
        engine.embed(CROPS)
        assert set(engine._requests) == at_first | {16, 8}


@present
def test_what_was_asked_before_is_neither_seen_nor_changed_by_what_is_asked_next() -> None:
    with open_engine(Bundle.open(TINY), "visible", name="openvino", max_batch=8) as engine:
        one, two, many = CROPS[:1], CROPS[1:4], CROPS[4:12]     # three fill a graph of four but for one
        first, expected = engine.embed(two), [engine.embed(crops) for crops in (one, two, many)]
        before = first.copy()
        engine.embed(many[:4])
        for crops, found in zip((one, two, many), expected, strict=True):
            np.testing.assert_array_equal(engine.embed(crops), found)
        np.testing.assert_array_equal(first, before)
        np.testing.assert_array_equal(engine.embed(CROPS[::-1][:8]), engine.embed(CROPS[::-1][:8].copy()))


@present
def test_a_failure_of_the_library_while_it_serves_names_the_engine_and_a_way_on(
        monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def infer(self, *given: object, **also: object) -> object:
            raise RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223:\nout of memory\n\n")

    with OpenVinoEngine(Bundle.open(TINY), "visible", threads=1, max_batch=4) as engine:
        engine.embed(CROPS[:4])
        monkeypatch.setitem(engine._requests, 4, engine._requests[4]._replace(native=Broken()))
        with pytest.raises(DeviceError, match=r"'openvino' in fp32: .* of 4 crops, found it failing \(out of memory\)"):
            engine.embed(CROPS[:4])
        assert len(engine.embed(CROPS[:1])) == 1


@present
def test_engines_that_come_and_go_leave_one_stack_for_signals_and_none_that_was_freed(tmp_path: Path) -> None:
    script = """if True:
        import ctypes, sys
        import numpy as np
        from cmnas_edge.bundle import Bundle
        from cmnas_edge.engine import open_engine

        class Stack(ctypes.Structure):
            _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

        seen = set()
        for name in ("visible", "infrared", "visible"):
            with open_engine(Bundle.open(sys.argv[1]), name, name="openvino") as engine:
                engine.embed(np.zeros((3, 32, 16, 3), np.uint8))
            stack = Stack()
            ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
            seen.add(stack.at)
        sys.exit(len(seen) != 1)
    """
    assert subprocess.run([sys.executable, "-c", script, str(TINY)], check=False).returncode == 0
