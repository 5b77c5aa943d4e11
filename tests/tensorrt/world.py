"""What TensorRT's stand-ins share: the library, the device, the logger, and what a test taught them.

Arithmetic is ONNX Runtime's: a plan here is a header and the ONNX graph it was built from, and a context runs
that graph on the memory it was given when its stream is waited for. So the project's own check of the golden
embeddings passes only if bytes, shapes, addresses and streams went the right way. What TensorRT refuses is
refused here, logged in its words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime

from tests.tensorrt.gpu import Gpu
from tests.tensorrt.library import Library, StandIn

MAGIC = b"ftrt"
ERROR, WARNING = 1, 2
TYPES = {"tensor(float)": 0, "tensor(float16)": 1, "tensor(int8)": 2, "tensor(int32)": 3, "tensor(uint8)": 5}
NUMPY: dict[int, Any] = {0: np.float32, 1: np.float16, 2: np.int8, 3: np.int32, 5: np.uint8}
LIMITS = ("min", "opt", "max")


def session(onnx: bytes, folder: str) -> onnxruntime.InferenceSession:
    """A graph made runnable, its weights read from a folder."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


@dataclass
class World:
    """What all stand-ins share: the library, the device, the logger and the version they play."""

    library: Library
    gpu: Gpu
    version: str
    strongly_typed: int  # the flag's number: 1, and 0 since 11
    parse_errors: list[dict[str, Any]] = field(default_factory=list)
    missing_weights: list[str] = field(default_factory=list)
    steps: int = 2
    on_step: Callable[[int], None] = lambda step: None

    def __post_init__(self) -> None:
        # Since 11 a logger is a versioned interface, whose four slots come first.
        self.log_slot = 4 if int(self.version.split(".")[0]) >= 11 else 0

    def clear(self) -> None:
        """Forget what a test taught."""
        self.parse_errors.clear()
        self.missing_weights.clear()
        self.library.taught.clear()
        self.steps = 2
        self.on_step = lambda step: None

    def teach(self, name: str, *answer: Any, log: tuple[str, ...] = ()) -> None:
        """Let a method, such as "builder.build_serialized_network", log errors and, if given, answer this.

        A class, such as "make.builder", answers None: the bindings then say that its factory returned a null.
        """
        def lesson(logger: int, do: Callable[[], Any]) -> Any:
            for text in log:
                self.log(logger, ERROR, text)
            return answer[0] if answer else do()

        self.library.taught[name] = lesson

    def log(self, logger: int, severity: int, text: str) -> None:
        """Say something to a logger of the project's, as TensorRT does."""
        self.library.call(logger, self.log_slot, severity, text)

    def makes(self, *kinds: type[Thing]) -> None:
        """Let the C functions make these."""
        def maker(kind: type[Thing]) -> Callable[[int, StandIn | None], StandIn]:
            def make(logger: int, of: StandIn | None) -> StandIn:
                made = kind(self.library, self, of)
                made.logger = logger
                return made
            return make

        self.library.makers = {kind.kind: maker(kind) for kind in kinds}


@dataclass
class Thing(StandIn):
    """A stand-in of this world, with the one it came from."""

    world: World
    of: Any = None
    told: dict[str, Any] = field(default_factory=dict)

    def make(self, kind: type[Thing], *further: Any) -> Any:
        made = kind(self.library, self.world, self, {}, *further)
        made.logger = self.logger
        return made

    def refuse(self, text: str) -> None:
        self.world.log(self.logger, ERROR, text)
