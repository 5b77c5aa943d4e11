"""One thread has the GPU: what is made there is freed there, in order, and pycuda is used as it wants to be."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cmnas_edge.engine.tensorrt import worker as workers
from cmnas_edge.engine.tensorrt.cuda import PyCuda
from cmnas_edge.engine.tensorrt.worker import GpuWorker, give_back, take
from cmnas_edge.errors import DeviceError
from tests.fake_gpu import FakeCuda
from tests.gpu_site import Site


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

    def __init__(self, *, integrated: bool, maps: bool = True) -> None:
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
                return {"INTEGRATED": int(integrated), "CAN_MAP_HOST_MEMORY": int(maps),
                        "MULTIPROCESSOR_COUNT": 8}[attribute]

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


@pytest.mark.parametrize(("integrated", "maps"), [(True, True), (True, False), (False, True)])
def test_pycuda_is_used_in_the_primary_context_and_copies_only_where_memory_is_not_shared(
        integrated: bool, maps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Driver(integrated=integrated, maps=maps)
    shared = integrated and maps
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
    assert buffer.address == (0x2000 if shared else 0x1000)
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
    assert copies == ([] if shared else ["up (3, 2)", "down (3, 2)"])
    assert ("pinned 2" in fake.said) is shared
    assert "free pinned" in fake.said
    assert ("free device" in fake.said) is not shared


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
