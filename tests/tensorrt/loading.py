"""How TensorRT runs: a runtime loads a plan, a context runs it on a stream, and a refitter gives it other weights."""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.tensorrt.library import Data, Dims, Small, Weights
from tests.tensorrt.world import LIMITS, MAGIC, NUMPY, TYPES, Thing, session


@dataclass
class Runtime(Thing):
    """Loads plans."""

    kind = "runtime"

    def deserialize_cuda_engine(self, plan: Data) -> Any:
        header, _, onnx = bytes(plan).partition(b"\n")
        if not header.startswith(MAGIC):
            self.refuse("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
                        "plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)")
            return None
        found = json.loads(header[len(MAGIC):])
        if found["version"] != self.world.version:
            self.refuse("IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is not "
                        f"compatible with this version of TensorRT, expecting library version {self.world.version} got "
                        f"{found['version']}, please rebuild.)")
            return None
        if found["bytes"] != len(onnx):
            self.refuse("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
                        "plan->header.size == size failed.)")
            return None
        return self.make(Engine, found, session(onnx, found["folder"]))

    def set_max_threads(self, count: Small) -> bool:
        return True

    def set_engine_host_code_allowed(self, allowed: bool) -> None:
        self.told["engine_host_code_allowed"] = allowed

    def num_dla_cores(self) -> int:
        return 0


@dataclass
class Engine(Thing):
    """A plan that was loaded."""

    header: dict[str, Any] = field(default_factory=dict)
    session: Any = None
    contexts: list[Context] = field(default_factory=list)
    refitted: dict[str, int] = field(default_factory=dict)
    kind = "engine"

    def destroy(self) -> None:
        self.library.rule(not any(context.alive for context in self.contexts), "the engine went before its context")
        self.library.rule(self.of.alive, "the runtime went before its engine")
        super().destroy()

    def values(self) -> list[Any]:
        return [*self.session.get_inputs(), *self.session.get_outputs()]

    def value(self, name: str) -> Any:
        return next(value for value in self.values() if value.name == name)

    def num_io_tensors(self) -> int:
        return len(self.values())

    def get_tensor_name(self, index: Small) -> str:
        return str(self.values()[index].name)

    def get_tensor_mode(self, name: str) -> int:
        return 1 if name in [value.name for value in self.session.get_inputs()] else 2

    def get_tensor_shape(self, name: str) -> Any:
        return Dims(n if isinstance(n, int) else -1 for n in self.value(name).shape)

    def get_tensor_dtype(self, name: str) -> int:
        return TYPES[self.value(name).type]

    def get_tensor_location(self, name: str) -> int:
        return 0

    def get_tensor_format(self, name: str) -> int:
        return 0

    def get_tensor_profile_shape(self, name: str, profile: Small, which: Small) -> Any:
        return Dims(self.header["profiles"][profile][name][LIMITS[which]])

    def num_optimization_profiles(self) -> int:
        return len(self.header["profiles"])

    def num_layers(self) -> int:
        return 5

    def refittable(self) -> bool:
        return bool(self.header["refit"])

    def device_memory_size_v2(self) -> int:
        return 1 << 20

    def name(self) -> str:
        return "fake"

    def create_execution_context(self, strategy: Small) -> Any:
        self.contexts.append(self.make(Context))
        return self.contexts[-1]

    def create_engine_inspector(self) -> Any:
        return self.make(Inspector)


@dataclass
class Context(Thing):
    """One run at a time of an engine."""

    shapes: dict[str, Dims] = field(default_factory=dict)
    addresses: dict[str, int] = field(default_factory=dict)
    kind = "context"

    def set_optimization_profile_async(self, index: Small, stream: int) -> bool:
        self.world.gpu.enqueue(stream, lambda: None)
        return True

    def set_input_shape(self, name: str, shape: Dims) -> bool:
        limits = self.of.header["profiles"][0][name]
        fits = all(a <= n <= b for a, n, b in zip(limits["min"], shape, limits["max"], strict=True))
        if fits:
            self.shapes[name] = Dims(shape)
        else:
            self.refuse(f"IExecutionContext::setInputShape: Error Code 3: API Usage Error (Parameter check failed, "
                        f"condition: engineDims.d[i] == dims.d[i]. Static dimension mismatch while setting input shape "
                        f"for {name}.)")
        return fits

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.library.rule(address != 0, f"{name} was given the address 0")
        self.addresses[name] = address
        return True

    def get_tensor_address(self, name: str) -> int:
        return self.addresses.get(name, 0)

    def get_tensor_shape(self, name: str) -> Any:
        if name in self.shapes:
            return self.shapes[name]
        batch = next((shape[0] for shape in self.shapes.values()), -1)
        return Dims(n if isinstance(n, int) else batch for n in self.of.value(name).shape)

    def get_engine(self) -> Any:
        return self.of

    def infer_shapes(self, most: Small, names: int) -> int:
        missing = [value.name for value in self.of.session.get_inputs() if value.name not in self.shapes]
        for index, name in enumerate(missing[:most]):
            ctypes.c_uint64.from_address(names + 8 * index).value = self.library.text(name)
        return len(missing)

    def all_binding_shapes_specified(self) -> bool:
        return len(self.shapes) == len(self.of.session.get_inputs())

    def execute_async_v3(self, stream: int) -> bool:
        self.library.rule(stream != 0, "TensorRT ran on the default stream")
        buffers = {}
        for value in self.of.values():
            shape, kind = self.get_tensor_shape(value.name), NUMPY[TYPES[value.type]]
            if -1 in shape or not self.addresses.get(value.name):
                self.refuse("IExecutionContext::enqueueV3: Error Code 3: API Usage Error (Neither address or "
                            f"allocator is set for input tensor {value.name}.)")
                return False
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            address = self.addresses[value.name]
            self.library.rule(self.world.gpu.reaches(address, size), f"{value.name} needs {size} bytes at "
                              f"{address:#x}, which is no memory the GPU can use")
            buffers[value.name] = np.frombuffer((ctypes.c_char * size).from_address(address), kind).reshape(shape)

        def run() -> None:
            inputs = {value.name: buffers[value.name] for value in self.of.session.get_inputs()}
            for value, result in zip(self.of.session.get_outputs(), self.of.session.run(None, inputs), strict=True):
                buffers[value.name][...] = result

        self.world.gpu.enqueue(stream, run)
        return True


@dataclass
class Inspector(Thing):
    """Says what an engine is made of."""

    kind = "inspector"

    def set_execution_context(self, context: Context) -> bool:
        return True

    def get_engine_information(self, form: Small) -> str:
        of_a_tensor = "Datatype" if self.world.log_slot else "Format/Datatype"  # the former since 11
        return json.dumps({"Layers": [{"Name": "conv", "LayerType": "CaskConvolution",
                                       "Outputs": [{"Name": "embeddings", of_a_tensor: "Half"}]}]})


@dataclass
class Refitter(Thing):
    """Gives an engine other weights."""

    kind = "refitter"

    def set_named_weights(self, name: str, weights: Weights) -> bool:
        self.of.refitted[name] = weights.count
        return True

    def get_missing_weights(self, size: Small, names: int) -> int:
        for index, name in enumerate(self.world.missing_weights[:size]):
            ctypes.c_uint64.from_address(names + 8 * index).value = self.library.text(name)
        return len(self.world.missing_weights)

    def get_weights_prototype(self, name: str) -> Any:
        return Weights(0, 0, 4)

    def refit_cuda_engine(self) -> bool:
        return not self.world.missing_weights


@dataclass
class ParserRefitter(Thing):
    """Refits from an ONNX file."""

    kind = "parser_refitter"

    def refit_from_bytes(self, model: Data) -> bool:
        return True

    def num_errors(self) -> int:
        return 0
