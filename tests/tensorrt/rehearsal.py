"""Each method of TensorRT's the project may use, called once through the real bindings: so its slot is known.

The order is that of a build, a load, a run and a refit. Some objects are only there once others are.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np

from tests.tensorrt.world import World

BORROWED = {"parser_error", "profile", "tensor"}  # belong to what they came from


def rehearse(trt: Any, world: World, graph: Path) -> None:
    """Call everything once, with a graph of one input and one output; and delete everything."""
    kept = _everything(trt, world, graph)
    world.library.ending = True  # every slot that has no name yet is a destructor
    del kept
    gc.collect()
    world.library.ending = False
    assert not world.library.broken, world.library.broken
    left = sorted({thing.kind for thing in world.library.things.values() if thing.alive} - BORROWED)
    assert not left, f"nobody deleted {left}"


def _everything(trt: Any, world: World, graph: Path) -> dict[str, Any]:
    learn = world.library.learn

    class Log(trt.ILogger):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            pass

    log = Log()
    builder = trt.Builder(log)
    learn("set_max_threads", lambda: setattr(builder, "max_threads", 1))
    typed = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = learn("create_network", lambda: builder.create_network(1 << int(typed)))
    learn("get_flag", lambda: network.get_flag(typed))
    parser = trt.OnnxParser(network, log)
    learn("set_flag", lambda: parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM))
    learn("parse", lambda: parser.parse(graph.read_bytes(), str(graph)))
    learn("num_errors", lambda: parser.num_errors)
    world.parse_errors.append({"desc": "none", "node": 0, "node_name": "", "node_operator": ""})
    error = learn("get_error", lambda: parser.get_error(0))
    for name in ("code", "desc", "file", "line", "func", "node", "node_name", "node_operator"):
        learn(name, getattr(error, name))
    learn("clear_errors", parser.clear_errors)
    for name in ("num_inputs", "num_outputs", "num_layers"):
        learn(name, lambda name=name: getattr(network, name))
    tensor = learn("get_input", lambda: network.get_input(0))
    learn("get_output", lambda: network.get_output(0))
    for name in ("name", "shape", "dtype", "is_shape_tensor"):
        learn(name, lambda name=name: getattr(tensor, name))
    learn("mark_weights_refittable", lambda: network.mark_weights_refittable("conv"))

    config = learn("create_builder_config", builder.create_builder_config)
    pool = trt.MemoryPoolType.WORKSPACE
    learn("set_memory_pool_limit", lambda: config.set_memory_pool_limit(pool, 1 << 20))
    learn("get_memory_pool_limit", lambda: config.get_memory_pool_limit(pool))
    learn("set_flag", lambda: config.set_flag(trt.BuilderFlag.REFIT))
    learn("clear_flag", lambda: config.clear_flag(trt.BuilderFlag.REFIT))
    learn("get_flag", lambda: config.get_flag(trt.BuilderFlag.REFIT))
    learn("set_builder_optimization_level", lambda: setattr(config, "builder_optimization_level", 3))
    learn("builder_optimization_level", lambda: config.builder_optimization_level)
    learn("set_max_aux_streams", lambda: setattr(config, "max_aux_streams", 0))
    learn("set_profiling_verbosity", lambda: setattr(config, "profiling_verbosity", trt.ProfilingVerbosity.DETAILED))
    profile = learn("create_optimization_profile", builder.create_optimization_profile)
    shape = (1, *tensor.shape[1:])
    learn("set_dimensions", lambda: profile.set_shape(tensor.name, shape, shape, shape))
    learn("is_valid", lambda: bool(profile))
    learn("add_optimization_profile", lambda: config.add_optimization_profile(profile))
    cache = learn("create_timing_cache", lambda: config.create_timing_cache(b""))
    learn("set_timing_cache", lambda: config.set_timing_cache(cache, ignore_mismatch=False))
    learn("get_timing_cache", config.get_timing_cache)
    learn("combine", lambda: cache.combine(cache, False))
    blob = learn("serialize", cache.serialize)
    learn("size", lambda: blob.nbytes)
    learn("type", lambda: blob.dtype)
    learn("data", lambda: bytes(blob))
    learn("is_network_supported", lambda: builder.is_network_supported(network, config))
    engine_of = learn("build_serialized_network", lambda: builder.build_serialized_network(network, config))
    learn("set_progress_monitor", lambda: setattr(config, "progress_monitor", None))

    runtime = trt.Runtime(log)
    learn("set_max_threads", lambda: setattr(runtime, "max_threads", 1))
    learn("set_engine_host_code_allowed", lambda: setattr(runtime, "engine_host_code_allowed", False))
    learn("num_dla_cores", lambda: runtime.num_DLA_cores)
    engine = learn("deserialize_cuda_engine", lambda: runtime.deserialize_cuda_engine(bytes(engine_of)))
    for name in ("num_io_tensors", "num_optimization_profiles", "num_layers", "refittable", "device_memory_size_v2",
                 "name"):
        learn(name, lambda name=name: getattr(engine, name))
    one = learn("get_tensor_name", lambda: engine.get_tensor_name(0))
    for name in ("mode", "shape", "dtype", "location", "format"):
        learn(f"get_tensor_{name}", lambda name=name: getattr(engine, f"get_tensor_{name}")(one))
    learn("get_tensor_profile_shape", lambda: engine.get_tensor_profile_shape(one, 0))
    inspector = learn("create_engine_inspector", engine.create_engine_inspector)
    context = learn("create_execution_context", engine.create_execution_context)
    learn("set_execution_context", lambda: setattr(inspector, "execution_context", context))
    learn("get_engine_information", lambda: inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    stream = world.gpu.stream()
    learn("set_optimization_profile_async", lambda: context.set_optimization_profile_async(0, stream))
    learn("set_input_shape", lambda: context.set_input_shape(one, shape))
    learn("get_engine infer_shapes", context.infer_shapes)
    learn("all_binding_shapes_specified", lambda: context.all_binding_shapes_specified)
    learn("get_tensor_shape", lambda: context.get_tensor_shape(one))
    for name in (engine.get_tensor_name(index) for index in range(2)):
        memory = world.gpu.allocate(1 << 16)
        context.set_tensor_address(name, memory) if name != one else learn(
            "set_tensor_address", lambda memory=memory: context.set_tensor_address(one, memory))
    learn("get_tensor_address", lambda: context.get_tensor_address(one))
    learn("execute_async_v3", lambda: context.execute_async_v3(stream_handle=stream))
    world.gpu.wait(stream)

    refitter = trt.Refitter(engine, log)
    weights = np.zeros(4, np.float32)
    learn("set_named_weights", lambda: refitter.set_named_weights("conv", trt.Weights(weights)))
    learn("get_weights_prototype", lambda: refitter.get_weights_prototype("conv"))
    learn("get_missing_weights", refitter.get_missing_weights)
    learn("refit_cuda_engine", refitter.refit_cuda_engine)
    by_parser = trt.OnnxParserRefitter(refitter, log)
    learn("refit_from_bytes", lambda: by_parser.refit_from_bytes(graph.read_bytes()))
    learn("num_errors", lambda: by_parser.num_errors)
    return dict(locals())
