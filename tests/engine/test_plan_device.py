"""What a machine lacks for TensorRT is said in a sentence each, before anything of TensorRT is touched."""

from __future__ import annotations

import ctypes
import gc
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from cmnas_edge import cli
from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import open_engine
from cmnas_edge.engine.tensorrt import TensorRtEngine
from cmnas_edge.engine.tensorrt import device as here
from cmnas_edge.engine.tensorrt import worker as workers
from cmnas_edge.engine.tensorrt.cuda import PyCuda
from cmnas_edge.engine.tensorrt.device import Device, missing, power_mode, too_old
from cmnas_edge.engine.tensorrt.worker import GpuWorker, give_back, take
from cmnas_edge.errors import DeviceError
from tests.fake_gpu import ORIN, FakeCuda
from tests.gpu_site import Site
from tests.tiny_bundle import TINY, with_variant


def driver(count: int = 1, init: int = 0, counting: int = 0) -> Any:
    """A libcuda that answers so."""
    def device_count(place: Any) -> int:
        place._obj.value = count
        return counting
    return SimpleNamespace(cuInit=lambda flags: init, cuDeviceGetCount=device_count)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder packages are imported from, and a driver with one GPU."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver())
    for name in ("tensorrt", "pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(folder: Path, name: str, text: str = "") -> None:
    path = folder.joinpath(*name.split("."))
    path.mkdir(parents=True)
    (path / "__init__.py").write_text(text)


def test_without_a_driver_it_is_the_driver_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert str(missing()).startswith("an NVIDIA driver (libcuda.so.1); install it, or JetPack")


@pytest.mark.parametrize(("found", "says"), [
    (driver(init=100), "a GPU that the driver can start (cuInit answers 100)"),
    (driver(count=0), "a GPU that this process may see (the driver counts 0, code 0); correct CUDA_VISIBLE_DEVICES"),
    (driver(counting=3), "a GPU that this process may see (the driver counts 1, code 3)"),
])
def test_a_driver_without_a_gpu_is_asked_and_not_believed_to_have_one(
        found: object, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: found)
    assert str(missing()).startswith(says)


def test_with_a_gpu_it_is_the_packages_one_after_the_other(packages: Path) -> None:
    assert str(missing()).startswith("the Python package tensorrt; on a Jetson JetPack brings it")
    install(packages, "tensorrt", "raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    assert str(missing()).startswith("the Python package pycuda (")
    install(packages, "pycuda")
    install(packages, "pycuda.driver")
    assert "a TensorRT whose libraries load (libnvinfer.so.10" in str(missing())


@pytest.mark.parametrize(("version", "says"), [
    ("8.6.1", "TensorRT 10.3 or newer: this is 8.6.1; install a newer one (JetPack 6"), ("10.0.1", "this is 10.0.1"),
    ("10.2.0.post1", "this is 10.2.0.post1"), ("10.3.0", None), ("10.3.0.30", None), ("10.16.1.11", None),
    ("11.4.0.106", None)])
def test_a_tensorrt_that_is_too_old_is_named_with_the_oldest_that_is_not(
        packages: Path, version: str, says: str | None) -> None:
    install(packages, "tensorrt", f"__version__ = {version!r}")
    install(packages, "pycuda")
    install(packages, "pycuda.driver")
    found = missing()
    assert found == too_old(version)
    assert found is None if says is None else says in str(found)


def test_this_very_machine_is_asked_without_a_crash() -> None:
    reason = missing()
    assert reason is None or len(reason.splitlines()) == 1


@pytest.mark.skipif(missing() is None, reason="there is a GPU and a TensorRT here")
@pytest.mark.parametrize("words", [["build", str(TINY)]])
def test_a_machine_without_tensorrt_is_told_what_it_lacks_and_69(
        words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["engine", *words]) == 69
    assert f"expected {missing()}" in capsys.readouterr().err
    with pytest.raises(DeviceError, match="engine 'tensorrt': expected"):
        open_engine(Bundle.open(TINY), "visible", name="tensorrt")


def test_bf16_is_no_precision_of_tensorrts_and_the_message_has_those_that_are(tmp_path: Path) -> None:
    bundle = with_variant(Path(shutil.copytree(TINY, tmp_path / "tiny")), "bf16")
    with pytest.raises(DeviceError, match="expected fp32, fp16, int8 or int8_fp16, found bf16"):
        TensorRtEngine(bundle, "visible", precision="bf16")


def test_devices_that_cannot_run_each_others_plans_have_other_keys() -> None:
    one = Device("linux-aarch64", "10.3.0", ORIN)
    others = [msgspec.structs.replace(one, platform="linux-x86_64"), msgspec.structs.replace(one, tensorrt="10.3.0.30"),
              msgspec.structs.replace(one, gpu=msgspec.structs.replace(ORIN, sm_count=16)),
              msgspec.structs.replace(one, gpu=msgspec.structs.replace(ORIN, capability="7.2")),
              msgspec.structs.replace(one, gpu=msgspec.structs.replace(ORIN, name="NVIDIA/../Thor"))]
    keys = {device.key for device in (one, *others)}
    assert len(keys) == 6
    assert not any(set("/ ") & set(key) for key in keys)
    assert msgspec.structs.replace(one, power_mode="15W", l4t="R36.4").key == one.key


def test_a_jetsons_power_mode_and_release_are_read_and_others_have_none(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(here, "_L4T", tmp_path / "release")
    assert (power_mode(), here._l4t()) == ("", "")
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: MAXN_SUPER'\necho 2\n")
    tool.chmod(0o755)
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n")
    assert (power_mode(), here._l4t()) == ("MAXN_SUPER", "R36.4.3")
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert power_mode() == ""


def test_there_is_one_worker_for_all_and_the_last_one_ends_it() -> None:
    made = []

    def make() -> FakeCuda:
        made.append(FakeCuda())
        return made[-1]

    first, second = take(make), take(make)
    assert first is second
    assert len(made) == 1
    give_back()
    assert made[0].thread is not None
    assert first(lambda: "still") == "still"
    give_back()
    assert made[0].events == ["leave"]
    assert workers._shared is None


def test_what_fails_on_the_gpus_thread_leaves_nothing_of_it_alive() -> None:
    kept = []

    class Held: ...

    def work() -> None:
        held = Held()
        kept.append(weakref.ref(held))
        raise RuntimeError("as it happens")

    worker = GpuWorker(FakeCuda())
    with pytest.raises(RuntimeError, match="as it happens") as error:
        worker(work)
    assert kept[0]() is None
    assert error.value is not None
    worker.close()
    worker.close()


def test_a_gpu_that_gives_no_context_is_an_error_of_the_device() -> None:
    class Broken(FakeCuda):
        def enter(self) -> None:
            raise RuntimeError("cuDevicePrimaryCtxRetain failed: out of memory")

    with pytest.raises(DeviceError, match=r"GPU: expected a context of its own, found RuntimeError .*out"):
        GpuWorker(Broken())


class Driver:
    """As much of pycuda.driver as `PyCuda` uses, with pycuda's own signatures; what is called is written down."""

    def __init__(self, *, integrated: bool) -> None:
        self.said: list[str] = []
        self.current = 0
        said = self.said
        outer = self

        class Allocation:
            def __init__(self, size: int) -> None:
                self.size = size

            def __int__(self) -> int:
                return 0x1000

            def free(self) -> None:
                assert outer.current == 1, "freed outside of the context"
                said.append("free device")

        class Pinned:
            def __init__(self, data: bytearray) -> None:
                self.data = data

            def get_device_pointer(self) -> int:
                return 0x2000

            def free(self) -> None:
                assert outer.current == 1, "freed outside of the context"
                said.append("free pinned")

        class Context:
            def push(self) -> None:
                outer.current += 1

            @staticmethod
            def pop() -> None:
                outer.current -= 1

            def detach(self) -> None:
                said.append("release")

        class GpuDevice:
            def __init__(self, ordinal: int) -> None:
                assert ordinal == 0

            def retain_primary_context(self) -> Context:
                said.append("retain")
                return Context()

            def name(self) -> str:
                return "Orin"

            def compute_capability(self) -> tuple[int, int]:
                return 8, 7

            def total_memory(self) -> int:
                return 8 << 30

            def get_attribute(self, attribute: str) -> int:
                return {"INTEGRATED": int(integrated), "CAN_MAP_HOST_MEMORY": 1, "MULTIPROCESSOR_COUNT": 8}[attribute]

        self.Device = GpuDevice
        self.Stream = lambda: SimpleNamespace(handle=0xABC, synchronize=lambda: said.append("wait"))
        self.mem_alloc = Allocation
        self.device_attribute = SimpleNamespace(
            INTEGRATED="INTEGRATED", CAN_MAP_HOST_MEMORY="CAN_MAP_HOST_MEMORY",
            MULTIPROCESSOR_COUNT="MULTIPROCESSOR_COUNT")
        self.host_alloc_flags = SimpleNamespace(DEVICEMAP=2)
        self._pinned = Pinned

    def init(self) -> None:
        self.said.append("init")

    def get_driver_version(self) -> int:
        return 12060

    def mem_get_info(self) -> tuple[int, int]:
        return 1 << 30, 8 << 30

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        outer = self
        self.said.append(f"pinned {mem_flags}")

        class Array(np.ndarray):  # type: ignore[type-arg]
            @property
            def base(self) -> Any:  # type: ignore[override]
                return outer._pinned(bytearray())

        return np.empty(shape, dtype).view(Array)

    def memcpy_htod_async(self, target: Any, source: Any, stream: Any) -> None:
        self.said.append(f"up {source.shape}")

    def memcpy_dtoh_async(self, target: Any, source: Any, stream: Any) -> None:
        self.said.append(f"down {target.shape}")


@pytest.mark.parametrize("integrated", [True, False])
def test_pycuda_is_used_in_the_primary_context_and_copies_only_where_memory_is_not_shared(
        integrated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Driver(integrated=integrated)
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=fake))
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake)
    cuda = PyCuda()
    gpu = cuda.gpu()
    assert (gpu.name, gpu.capability, gpu.driver, gpu.memory_mib) == ("Orin", "8.7", "12.6", 8192)
    assert gpu.integrated is integrated
    cuda.enter()
    assert fake.current == 1
    stream = cuda.stream()
    assert cuda.handle(stream) == 0xABC
    buffer = cuda.buffer((4, 2), "float32")
    assert buffer.address == (0x2000 if integrated else 0x1000)
    buffer.upload(3, stream)
    buffer.download(3, stream)
    cuda.synchronize(stream)
    assert cuda.memory() == (1 << 30, 8 << 30)
    buffer.free()
    cuda.leave()
    cuda.leave()
    assert fake.current == 0
    assert fake.said.count("retain") == fake.said.count("release") == 1
    copies = [word for word in fake.said if word.startswith(("up", "down"))]
    assert copies == ([] if integrated else ["up (3, 2)", "down (3, 2)"])
    assert ("pinned 2" in fake.said) is integrated
    assert "free pinned" in fake.said
    assert ("free device" in fake.said) is not integrated


def test_what_nobody_closed_is_closed_in_order_by_the_gpus_thread_before_the_process_ends(tmp_path: Path) -> None:
    script = ("import pathlib, sys\n"
              "from tests.gpu_site import Site\n"
              "site = Site(pathlib.Path(sys.argv[1]))\n"
              "site.build()\n"
              "site.cuda.events = type('Said', (list,), {'append': lambda self, word: print(word, flush=True)})()\n"
              "engine = site.open()\n"
              "del site\n")
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True,
                         cwd=Path(__file__).resolve().parents[2])
    assert ran.stdout.splitlines() == [
        "free context", "free engine", "free runtime", "free buffer", "free buffer", "leave"]
    assert ran.stderr == ""


def test_a_forgotten_engine_is_freed_and_its_gpu_stays_open_for_the_others(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.build()
    engine = site.open()
    del engine
    gc.collect()
    assert not site.cuda.buffers
    with site.open() as another:
        assert another.name == "tensorrt"
    site.place.close()
    with pytest.raises(ValueError, match="expected an open GPU worker, found it closed"):
        site.open()
