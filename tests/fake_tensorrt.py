"""As much of the module tensorrt as is used: plans are JSON and ONNX, and what it "builds" ONNX Runtime computes.

It knows one rule of the real one that matters to us: bytes go into a Cast, nowhere else. The real bindings are a
matter of tests/tensorrt.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from tests.fake_gpu import FakeCuda


class Severity(enum.Enum):
    """Of a line of the log."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class DataType(enum.Enum):
    """Of a tensor."""

    FLOAT = 0
    HALF = 1
    UINT8 = 5


class _Flag(enum.IntEnum):
    STRONGLY_TYPED = 1
    TF32 = 7
    WORKSPACE = 0
    DETAILED = 2
    INPUT = 1
    OUTPUT = 2
    JSON = 1


@dataclass
class Error:
    """A complaint of the parser."""

    op: str
    name: str
    text: str

    def node_operator(self) -> str:
        return self.op

    def node_name(self) -> str:
        return self.name

    def node(self) -> int:
        return 0

    def desc(self) -> str:
        return self.text


class FakeTensorRt:
    """See the module. Set an attribute to have something fail.

    Attributes:
        parse_errors: The parser answers False with these.
        refuses: Names of calls that answer None or False.
        logs: By name of a call: an ERROR it logs, whatever it answers.
        on_step: Called with the number of a step while a plan is built.
        monitor: Of the build that runs, or ran last.
    """

    def __init__(self, cuda: FakeCuda, version: str = "10.3.0") -> None:
        self.__version__ = version
        self._cuda = cuda
        self.parse_errors: list[Error] = []
        self.refuses: set[str] = set()
        self.logs: dict[str, str] = {}
        self.on_step: Callable[[int], None] = lambda step: None
        self.monitor: Any = None
        self.builds = 0
        self.calls: list[tuple[Any, ...]] = []
        self.NetworkDefinitionCreationFlag = self.BuilderFlag = self.MemoryPoolType = _Flag
        self.ProfilingVerbosity = self.TensorIOMode = self.LayerInformationFormat = _Flag

        class ILogger:
            Severity = Severity

            def __init__(self) -> None: ...

        class IProgressMonitor:
            def __init__(self) -> None: ...

        self.ILogger, self.IProgressMonitor = ILogger, IProgressMonitor

    def answer(self, name: str, logger: Any, value: Any, otherwise: Any = None) -> Any:
        self._cuda.inside()
        if name in self.logs:
            logger.log(Severity.ERROR, self.logs[name])
        return otherwise if name in self.refuses else value

    def Builder(self, logger: Any) -> _Builder:  # noqa: N802 - as TensorRT has it
        self._cuda.inside()
        return _Builder(self, logger)

    def OnnxParser(self, network: _Network, logger: Any) -> _Parser:  # noqa: N802
        return _Parser(self, network)

    def Runtime(self, logger: Any) -> _Runtime:  # noqa: N802
        return self.answer("Runtime", logger, _Runtime(self, logger))


class _Network:
    num_inputs = num_outputs = 1
    model: onnx.ModelProto
    path = ""

    def get_input(self, index: int) -> Any:
        return _tensor(self.model.graph.input[index])

    def get_output(self, index: int) -> Any:
        return _tensor(self.model.graph.output[index])


@dataclass
class _Tensor:
    name: str
    dtype: DataType
    shape: tuple[int, ...]


def _tensor(info: onnx.ValueInfoProto) -> _Tensor:
    kind = info.type.tensor_type
    types = {onnx.TensorProto.UINT8: DataType.UINT8, onnx.TensorProto.FLOAT: DataType.FLOAT}
    return _Tensor(info.name, types[kind.elem_type],
                   tuple(side.dim_value if side.HasField("dim_value") else -1 for side in kind.shape.dim))


class _Parser:
    def __init__(self, trt: FakeTensorRt, network: _Network) -> None:
        self._trt, self._network = trt, network
        self._errors = trt.parse_errors

    def parse(self, model: bytes, path: str) -> bool:
        if self._errors:
            return False
        self._network.model, self._network.path = onnx.ModelProto.FromString(model), path
        graph = self._network.model.graph
        bytes_in = {info.name for info in graph.input if _tensor(info).dtype is DataType.UINT8}
        self._errors = [Error(node.op_type, node.name, "UINT8 is not supported") for node in graph.node
                        if bytes_in & set(node.input) and node.op_type != "Cast"]
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Error:
        return self._errors[index]


class _Builder:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def create_network(self, flags: int) -> _Network:
        assert flags == 1 << _Flag.STRONGLY_TYPED
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config(self._trt, self._logger)

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        self._trt.builds += 1
        monitor = config.progress_monitor
        self._trt.monitor = monitor
        monitor.phase_start("Building Engine", None, 4)
        for step in range(4):
            self._trt.on_step(step)
            if not monitor.step_complete("Building Engine", step):
                return None
        monitor.phase_finish("Building Engine")
        head = {"version": self._trt.__version__, "folder": str(Path(network.path).parent), "profile": config.profile}
        plan = json.dumps(head).encode() + b"\0" + network.model.SerializeToString()
        return self._trt.answer("build_serialized_network", self._logger, plan)


class _Profile:
    shapes: tuple[str, list[tuple[int, ...]]]

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes = name, list(shapes)


class _Config:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        self._trt, self._logger = trt, logger
        self.profile: Any = None
        self.progress_monitor: Any = None

    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        self._trt.calls.append(("workspace", size))

    def clear_flag(self, flag: int) -> None:
        self._trt.calls.append(("clear", flag))

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profile = profile.shapes
        return int(self._trt.answer("add_optimization_profile", self._logger, 0, -1))

    def create_timing_cache(self, data: bytes) -> Any:
        self._trt.calls.append(("timings", data))
        return self._trt.answer("create_timing_cache", self._logger, _Timings(data), None if data else _Timings(data))

    def set_timing_cache(self, cache: _Timings, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        self._cache = cache
        return True

    def get_timing_cache(self) -> _Timings:
        return self._cache


@dataclass
class _Timings:
    data: bytes

    def serialize(self) -> bytes:
        return self.data + b"timed "


class _Runtime:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        head, _, model = plan.partition(b"\0")
        kept = json.loads(head)
        assert kept["version"] == self._trt.__version__, "TensorRT was given a plan of another version"
        return self._trt.answer("deserialize_cuda_engine", self._logger, _Engine(self._trt, self._logger, kept, model))

    def __del__(self) -> None:
        self._trt._cuda.events.append("free runtime")


class _Engine:
    num_io_tensors = 2
    device_memory_size_v2 = 1 << 20

    def __init__(self, trt: FakeTensorRt, logger: Any, head: Any, model: bytes) -> None:
        self.trt, self.logger, self._head = trt, logger, head
        graph = onnx.ModelProto.FromString(model).graph
        self._tensors = {info.name: (_tensor(info), mode) for info, mode in (
            (graph.input[0], _Flag.INPUT), (graph.output[0], _Flag.OUTPUT))}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", head["folder"])
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> int:
        return self._tensors[name][1]

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensors[name][0].dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name][0].shape

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        assert (name, index) == (self._head["profile"][0], 0)
        return [tuple(shape) for shape in self._head["profile"][1]]

    def create_execution_context(self) -> _Context | None:
        return self.trt.answer("create_execution_context", self.logger, _Context(self))

    def create_engine_inspector(self) -> Any:
        class Inspector:
            def get_engine_information(self, form: int) -> str:
                return json.dumps({"Layers": [{"Name": "conv", "LayerType": "CaskConvolution",
                                               "Outputs": [{"Format/Datatype": "Half"}]}]})
        return Inspector()

    def __del__(self) -> None:
        self.trt._cuda.events.append("free engine")


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._shape: tuple[int, ...] | None = None
        self._places: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return bool(self._engine.trt.answer("set_input_shape", self._engine.logger, value=True, otherwise=False))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._places[name] = address
        return bool(self._engine.trt.answer("set_tensor_address", self._engine.logger, value=True, otherwise=False))

    def execute_async_v3(self, stream_handle: int) -> bool:
        trt = self._engine.trt
        cuda = trt._cuda
        trt.calls.append(("execute", stream_handle, self._shape))
        (source, target) = (cuda.buffers[self._places[self._engine.get_tensor_name(index)]] for index in (0, 1))
        rows = len(source.host) if self._shape is None else self._shape[0]
        name = self._engine.get_tensor_name(0)

        def work() -> None:
            target.device[:rows] = self._engine.session.run(None, {name: source.device[:rows]})[0]

        cuda.streams[stream_handle].waiting.append(work)
        return bool(trt.answer("execute_async_v3", self._engine.logger, value=True, otherwise=False))

    def __del__(self) -> None:
        self._engine.trt._cuda.events.append("free context")
