"""How TensorRT builds: a parser fills a network, and builder and config make a plan of it."""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.tensorrt.library import Data, Dims, Small
from tests.tensorrt.world import LIMITS, MAGIC, TYPES, Thing, session

# Slots of IProgressMonitor's virtual table, the same in all versions; 0 to 3 are those of every versioned interface.
PHASE_START, STEP_COMPLETE, PHASE_FINISH = 4, 5, 6


@dataclass
class Tensor(Thing):
    """A network's input or output."""

    value: Any = None
    kind = "tensor"

    def name(self) -> str:
        return str(self.value.name)

    def shape(self) -> Any:
        return Dims(n if isinstance(n, int) else -1 for n in self.value.shape)

    def dtype(self) -> int:
        return TYPES[self.value.type]

    def is_shape_tensor(self) -> bool:
        return False


@dataclass
class Network(Thing):
    """A graph that a parser fills."""

    flags: int = 0
    onnx: bytes = b""
    folder: str = ""
    session: Any = None
    refittable: set[str] = field(default_factory=set)
    kind = "network"

    @property
    def strongly_typed(self) -> bool:
        return bool(self.flags >> self.world.strongly_typed & 1)

    def num_inputs(self) -> int:
        return len(self.session.get_inputs()) if self.session else 0

    def num_outputs(self) -> int:
        return len(self.session.get_outputs()) if self.session else 0

    def get_input(self, index: Small) -> Any:
        return self.make(Tensor, self.session.get_inputs()[index])

    def get_output(self, index: Small) -> Any:
        return self.make(Tensor, self.session.get_outputs()[index])

    def num_layers(self) -> int:
        return 7

    def get_flag(self, flag: Small) -> bool:
        return bool(self.flags >> flag & 1)

    def mark_weights_refittable(self, name: str) -> bool:
        self.refittable.add(name)
        return True


@dataclass
class ParserError(Thing):
    """One thing a parser could not do."""

    what: dict[str, Any] = field(default_factory=dict)
    kind = "parser_error"

    def code(self) -> int:
        return int(self.what.get("code", 8))  # UNSUPPORTED_NODE

    def desc(self) -> str:
        return str(self.what["desc"])

    def file(self) -> str:
        return "ImporterContext.cpp"

    def line(self) -> int:
        return 42

    def func(self) -> str:
        return "importNode"

    def node(self) -> int:
        return int(self.what["node"])

    def node_name(self) -> str:
        return str(self.what["node_name"])

    def node_operator(self) -> str:
        return str(self.what["node_operator"])


@dataclass
class Parser(Thing):
    """Reads ONNX into a network."""

    kind = "parser"

    def parse(self, model: Data, path: str) -> bool:
        if self.world.parse_errors:
            for error in self.world.parse_errors:
                self.refuse(f"ModelImporter.cpp: {error['desc']}")
            return False
        folder = str(Path(path).parent)
        try:
            self.of.session = session(bytes(model), folder)
        except Exception as error:
            self.world.parse_errors.append({"desc": f"Failed to parse ONNX model: {error}", "node": -1, "node_name": "",
                                            "node_operator": ""})
            return False
        self.of.onnx, self.of.folder = bytes(model), folder
        return True

    def num_errors(self) -> int:
        return len(self.world.parse_errors)

    def get_error(self, index: Small) -> Any:
        return self.make(ParserError, self.world.parse_errors[index])

    def clear_errors(self) -> None:
        self.world.parse_errors.clear()

    def set_flag(self, flag: Small) -> None:
        self.told["flag"] = flag


@dataclass
class Profile(Thing):
    """The shapes an input may have: least, usual, most."""

    shapes: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    kind = "profile"

    def set_dimensions(self, name: str, which: Small, dims: Dims) -> bool:
        self.shapes.setdefault(name, {})[LIMITS[which]] = list(dims)
        return True

    def is_valid(self) -> bool:
        return all(len(shapes) == 3 for shapes in self.shapes.values())


@dataclass
class Plan(Thing):
    """Memory of TensorRT's that the bindings lend as a buffer."""

    content: bytes = b""
    kind = "plan"

    def data(self) -> int:
        return self.library.text(self.content)

    def size(self) -> int:
        return len(self.content)

    def type(self) -> int:
        return TYPES["tensor(int8)"]


@dataclass
class Cache(Thing):
    """What was measured in earlier builds."""

    content: bytes = b""
    kind = "cache"

    def serialize(self) -> Any:
        return self.make(Plan, self.content)

    def combine(self, other: Cache, ignore: bool) -> bool:
        self.content += other.content
        return True


@dataclass
class Config(Thing):
    """How to build."""

    pools: dict[int, int] = field(default_factory=dict)
    flags: set[int] = field(default_factory=set)
    profiles: list[Profile] = field(default_factory=list)
    cache: Any = None
    monitor: int = 0
    kind = "config"

    def set_memory_pool_limit(self, pool: Small, size: int) -> None:
        self.pools[pool] = size

    def get_memory_pool_limit(self, pool: Small) -> int:
        return self.pools.get(pool, 0)

    def set_flag(self, flag: Small) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: Small) -> None:
        self.flags.discard(flag)

    def get_flag(self, flag: Small) -> bool:
        return flag in self.flags

    def set_builder_optimization_level(self, level: Small) -> None:
        self.told["builder_optimization_level"] = level

    def builder_optimization_level(self) -> int:
        return int(self.told.get("builder_optimization_level", 3))

    def set_max_aux_streams(self, count: Small) -> None:
        self.told["max_aux_streams"] = count

    def set_profiling_verbosity(self, verbosity: Small) -> None:
        self.told["profiling_verbosity"] = verbosity

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: Data) -> Any:
        return self.make(Cache, bytes(content))

    def set_timing_cache(self, cache: Cache, ignore: bool) -> bool:
        self.cache = weakref.ref(cache) if cache else None
        return True

    def get_timing_cache(self) -> Any:
        return self.cache() if self.cache else None

    def set_progress_monitor(self, monitor: int) -> None:
        self.monitor = monitor


@dataclass
class Builder(Thing):
    """Makes networks, configs, profiles and plans."""

    kind = "builder"

    def create_network(self, flags: int) -> Any:
        return self.make(Network, flags & 0xFFFFFFFF)

    def create_builder_config(self) -> Any:
        return self.make(Config)

    def create_optimization_profile(self) -> Any:
        return self.make(Profile)

    def set_max_threads(self, count: Small) -> bool:
        return True

    def is_network_supported(self, network: Network, config: Config) -> bool:
        return True

    def build_serialized_network(self, network: Network, config: Config) -> Any:
        """A header with what a plan fixes, then the graph."""
        self.library.rule(network.strongly_typed, f"the network is weakly typed: flags {network.flags}")
        cache = config.get_timing_cache()
        self.library.rule(cache is None or cache.alive, "the timing cache was deleted before the build")
        dynamic = any(isinstance(n, str) for value in network.session.get_inputs() for n in value.shape)
        if dynamic and not (config.profiles and all(profile.is_valid() for profile in config.profiles)):
            self.refuse("IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network has dynamic or shape "
                        "inputs, but no optimization profile has been defined.)")
            return None
        if config.monitor and not self._phases(config.monitor):
            self.refuse("IBuilder::buildSerializedNetwork: Error Code 2: cancelled by the progress monitor")
            return None
        if cache is not None:
            cache.content += b"tactic"
        header = {"version": self.world.version, "profiles": [profile.shapes for profile in config.profiles],
                  "refit": bool(network.refittable), "bytes": len(network.onnx),
                  "folder": network.folder}
        self.library.rule(cache is None or cache.alive, "the timing cache was deleted during the build")
        return self.make(Plan, MAGIC + json.dumps(header).encode() + b"\n" + network.onnx)

    def _phases(self, monitor: int) -> bool:
        """A phase of some steps; False if the monitor wants no more."""
        self.library.call(monitor, PHASE_START, "Building Engine", 0, self.world.steps)
        for step in range(self.world.steps):
            self.world.on_step(step)
            if not self.library.call(monitor, STEP_COMPLETE, "Building Engine", step) & 0xFF:
                return False
        self.library.call(monitor, PHASE_FINISH, "Building Engine")
        return True
