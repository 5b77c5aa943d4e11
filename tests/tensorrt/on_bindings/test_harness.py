"""The harness sees what it is there to see: it is made to, and its rules are broken on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from cmnas_edge.engine.tensorrt.logger import Log
from tests.tensorrt.cuda_driver import CONTEXT, Driver
from tests.tensorrt.world import World
from tests.tiny_bundle import TINY


def broken(world: World) -> str:
    """What was broken, and forgiven."""
    found = "; ".join(world.library.broken + world.gpu.broken)
    world.library.broken.clear()
    world.gpu.broken.clear()
    world.library.calls.clear()  # made in this thread, which is not the GPU's
    return found


def planned(trt: Any, log: Any, builder: Any, *, typed: bool = True) -> Any:
    """A plan of a graph."""
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if typed else 0
    network = builder.create_network(flags)
    parser, config = trt.OnnxParser(network, log), builder.create_builder_config()
    assert parser.parse((TINY / "visible.onnx").read_bytes(), str(TINY / "visible.onnx"))
    profile = builder.create_optimization_profile()
    profile.set_shape("crops", *[(n, 32, 16, 3) for n in (1, 2, 5)])
    config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config)


def test_a_call_nobody_rehearsed_is_seen(world: World, trt: Any) -> None:
    log = Log(trt)
    builder = trt.Builder(log.native)
    _ = builder.num_DLA_cores
    del builder
    assert "builder: slot" in broken(world)


def test_a_weakly_typed_network_is_seen(world: World, trt: Any) -> None:
    if trt.__version__.startswith("11."):
        pytest.skip("TensorRT 11 has no other network than a strongly typed one")
    log = Log(trt)
    builder = trt.Builder(log.native)
    plan = planned(trt, log.native, builder, typed=False)
    del plan, builder
    assert "the network is weakly typed" in broken(world)


def test_the_default_stream_and_memory_of_nobody_s_are_seen(world: World, trt: Any) -> None:
    log = Log(trt)
    builder = trt.Builder(log.native)
    engine = trt.Runtime(log.native).deserialize_cuda_engine(bytes(planned(trt, log.native, builder)))
    context = engine.create_execution_context()
    crops, embeddings = world.gpu.allocate(5 * 32 * 16 * 3), world.gpu.allocate(8)
    assert context.set_input_shape("crops", (5, 32, 16, 3))
    assert not context.set_input_shape("crops", (6, 32, 16, 3))
    assert "setInputShape" in log.taken()[0]
    context.set_tensor_address("crops", crops)
    assert not context.execute_async_v3(stream_handle=0)  # one address is missing
    assert "embeddings" in log.taken()[0]
    context.set_tensor_address("embeddings", embeddings)
    stream = world.gpu.stream()
    assert context.execute_async_v3(stream_handle=stream)
    found = broken(world)
    assert "TensorRT ran on the default stream" in found
    assert "embeddings needs 160 bytes" in found
    world.gpu.streams[stream].clear()  # it would write where nobody allocated
    for address in (crops, embeddings):
        world.gpu.free(address)
    world.gpu.end(stream)
    del context, engine, builder
    broken(world)


def test_memory_freed_too_early_or_twice_and_copies_that_wait_are_seen(world: World, driver: Driver) -> None:
    gpu = world.gpu
    stream, device, pinned = gpu.stream(), gpu.allocate(4), gpu.allocate(4, pinned=True)
    gpu.copy(device, pinned, 4, stream)
    gpu.free(device)
    assert "was freed while work waits" in broken(world)
    gpu.streams[stream].clear()
    gpu.free(device)
    assert "is not allocated" in broken(world)
    pageable, other = gpu.allocate(4), gpu.allocate(4)
    gpu.copy(other, pageable, 4, stream)
    assert "no asynchronous copy" in broken(world)
    gpu.end(stream)
    assert "was destroyed with" in broken(world)
    for address in (pinned, pageable, other):
        gpu.free(address)
    assert driver.answer("cuCtxPopCurrent_v2", CONTEXT) == 201  # nothing was pushed in this thread
    broken(world)
