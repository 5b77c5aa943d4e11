"""A pytest plugin: NVIDIA's bindings over the stand-ins, for the tests of `on_bindings`.

Loaded by name, in a process whose ``LD_LIBRARY_PATH`` leads to the stand-ins and whose ``PYTHONPATH`` leads to one
version of the bindings; see `on.py`. Every test begins with nothing on the GPU and must end so, no rule broken.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.engine.tensorrt import Workplace
from cmnas_edge.engine.tensorrt.build import How, bundle_job
from tests.tensorrt.building import Builder, Parser
from tests.tensorrt.cuda_driver import Driver
from tests.tensorrt.gpu import Gpu
from tests.tensorrt.library import Library
from tests.tensorrt.loading import ParserRefitter, Refitter, Runtime
from tests.tensorrt.rehearsal import BORROWED, rehearse
from tests.tensorrt.world import World
from tests.tiny_bundle import TINY

HOW = How(usual_batch=2, most_batch=5, workspace_mib=96, level=2)
FOLDER = Path(os.environ["CMNAS_STAND_INS"])


def set_up() -> tuple[Any, World, Driver]:
    """Bring the real bindings together with the stand-ins.

    Returns:
        The module tensorrt, its library's stand-in, and the driver's.
    """
    sys.modules["tensorrt_libs"] = None  # type: ignore[assignment]  # where TensorRT itself is installed it stays out
    import tensorrt as trt

    gpu = Gpu()
    library = Library(FOLDER / f"libnvinfer.so.{trt.__version__.split('.')[0]}", gpu.log)
    driver = Driver(FOLDER / "libcuda.so.1", gpu)
    atexit.register(library.leave)
    atexit.register(driver.leave)
    world = World(library, gpu, trt.__version__, int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    world.makes(Builder, Parser, Runtime, Refitter, ParserRefitter)
    rehearse(trt, world, TINY / "visible.onnx")
    assert not gpu.broken, gpu.broken
    if "CMNAS_PYCUDA" not in os.environ:
        from tests.tensorrt import fake_pycuda

        fake_pycuda.install(driver)
    return trt, world, driver


@pytest.fixture(scope="session")
def _stage() -> tuple[Any, World, Driver]:
    staged = set_up()
    gc.collect()
    gc.freeze()  # so that collecting what a test left takes no time
    return staged


@pytest.fixture(scope="session")
def trt(_stage: tuple[Any, World, Driver]) -> Any:
    """The real bindings."""
    return _stage[0]


@pytest.fixture
def driver(_stage: tuple[Any, World, Driver]) -> Driver:
    """The driver, with a GPU that has eight multiprocessors and is called Orin."""
    return _stage[2]


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The tiny bundle."""
    return Bundle.open(TINY)


@pytest.fixture
def place(world: World) -> Iterator[Workplace]:
    """The project's own way to this device; nothing of it is a fake."""
    with Workplace() as place:
        yield place


@pytest.fixture
def plan(world: World, place: Workplace, bundle: Bundle, tmp_path: Path) -> Path:
    """A plan of the visible graph, built; what it took is forgotten."""
    path = place.build(bundle_job(bundle, "visible", "fp32"), HOW, tmp_path)[0]
    world.library.calls.clear()
    world.gpu.log.clear()
    return path


@pytest.fixture
def world(_stage: tuple[Any, World, Driver]) -> Iterator[World]:
    """TensorRT's stand-in, with nothing built, loaded or allocated."""
    _, world, driver = _stage
    world.gpu.clear()
    world.clear()
    driver.taught.clear()
    driver.calls.clear()
    with world.library.watched():
        yield world
        gc.collect()
    assert not world.gpu.broken, world.gpu.broken
    astray = {call.name for call in world.library.calls if not call.thread.startswith("gpu worker")}
    assert not astray, f"called in another thread than the GPU's: {sorted(astray)}"
    alive = {thing.kind for thing in world.library.things.values() if thing.alive} - BORROWED
    assert not alive, f"nobody deleted {sorted(alive)}"
    left = [f"{len(world.gpu.memory)} buffers", f"{len(world.gpu.streams)} streams", f"{driver.retained} contexts"]
    assert left == ["0 buffers", "0 streams", "0 contexts"], f"left on the GPU: {', '.join(left)}"
