"""The pycuda that is at hand, real or a stand-in, does what `cuda.py` counts on; and its failures become sentences."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import numpy as np
import pytest

from cmnas_edge.engine.tensorrt import Workplace, missing
from cmnas_edge.engine.tensorrt.cuda import PyCuda
from cmnas_edge.errors import DeviceError
from tests.tensorrt.cuda_driver import Driver
from tests.tensorrt.signatures import FILE, signatures
from tests.tensorrt.world import World


@pytest.fixture
def cuda(world: World) -> Any:
    import pycuda.driver

    pycuda.driver.init()
    return pycuda.driver


@pytest.mark.skipif("CMNAS_PYCUDA" not in os.environ, reason="the stand-in is at work")
def test_the_signatures_on_record_are_pycuda_s(cuda: Any) -> None:
    assert signatures(cuda) == json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("code", "kind", "text"), [
    (2, "MemoryError", "out of memory"), (100, "RuntimeError", "no CUDA-capable device is detected"),
    (101, "LogicError", "invalid device ordinal"), (700, "LogicError", "illegal memory access"),
    (719, "LaunchError", "launch failure"),
])
def test_a_code_of_the_driver_s_is_a_kind_of_error(cuda: Any, driver: Driver, code: int, kind: str, text: str) -> None:
    driver.taught["cuDeviceGet"] = code
    with pytest.raises(cuda.Error, match=f"cuDeviceGet failed: .*{text}") as error:
        cuda.Device(0)
    assert type(error.value) is getattr(cuda, kind)
    assert not isinstance(error.value, (RuntimeError, MemoryError))  # Python's own: who catches those catches nothing


def test_memory_belongs_to_the_thread_that_has_a_context(cuda: Any) -> None:
    with pytest.raises(cuda.LogicError, match="invalid device context"):
        cuda.mem_alloc(16)
    context = cuda.Device(0).retain_primary_context()
    with pytest.raises(cuda.LogicError, match="invalid device context"):  # retaining pushes nothing
        cuda.mem_alloc(16)
    context.push()
    cuda.mem_alloc(16).free()
    elsewhere: list[str] = []

    def allocate() -> None:
        try:
            cuda.mem_alloc(16)
        except cuda.LogicError as error:
            elsewhere.append(str(error))

    thread = threading.Thread(target=allocate)
    thread.start()
    thread.join()
    assert "invalid device context" in elsewhere[0]
    cuda.Context.pop()
    context.detach()


@pytest.mark.parametrize("integrated", [False, True], ids=["copied", "mapped"])
def test_a_buffer_carries_rows_there_and_back(world: World, integrated: bool) -> None:
    world.gpu.integrated = integrated
    cuda = PyCuda()
    cuda.enter()
    buffer, stream = cuda.buffer((4, 3), "float32"), cuda.stream()
    assert cuda.handle(stream) != 0
    assert cuda.memory() == (6 << 30, 8 << 30)
    buffer.host[:] = np.arange(12).reshape(4, 3)
    buffer.upload(2, stream)
    cuda.synchronize(stream)
    there = np.frombuffer(bytes(world.gpu.memory[buffer.address]), np.float32).reshape(4, 3)
    assert there[:2].tolist() == [[0, 1, 2], [3, 4, 5]]
    if not integrated:
        assert np.isnan(there[2:]).all()  # rows nobody asked for stay
        buffer.host[:] = 0
        buffer.download(2, stream)
        assert buffer.host.any() == 0  # not before the stream has been waited for
        cuda.synchronize(stream)
        assert buffer.host.tolist() == [[0, 1, 2], [3, 4, 5], [0, 0, 0], [0, 0, 0]]
    buffer.free()
    del stream
    cuda.leave()


def test_a_gpu_is_described_in_full(world: World) -> None:
    gpu = PyCuda().gpu()
    assert (gpu.name, gpu.capability, gpu.sm_count, gpu.integrated, gpu.memory_mib, gpu.driver) == (
        "Orin", "8.7", 8, False, 8192, "12.6")


def test_pycuda_without_its_driver_is_named_with_the_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoDriver:
        def find_spec(self, name: str, *_: object) -> None:
            if name.startswith("pycuda"):
                raise ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")

    for name in [name for name in sys.modules if name.startswith("pycuda")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoDriver(), *sys.meta_path])
    assert missing() == ("the Python package pycuda (libcuda.so.1: cannot open shared object file: No such file or "
                         "directory); install it with: pip install pycuda")


@pytest.mark.parametrize(("name", "code", "text"), [
    ("cuDeviceGet", 100, "no CUDA-capable device is detected"), ("cuDeviceGet", 101, "invalid device ordinal"),
    ("cuDeviceTotalMem_v2", 2, "out of memory"), ("cuCtxPushCurrent_v2", 201, "invalid device context"),
])
def test_a_gpu_that_goes_away_while_it_is_asked_is_a_sentence(world: World, driver: Driver, name: str, code: int,
                                                              text: str) -> None:
    driver.taught[name] = code
    with pytest.raises(DeviceError, match=text):
        Workplace()
    driver.taught.clear()
    with Workplace():  # and the next to ask gets it
        pass
