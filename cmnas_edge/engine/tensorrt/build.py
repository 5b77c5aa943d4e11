"""A graph becomes a plan: TensorRT reads it, times its kernels on this very GPU, and keeps the fastest.

One way for every version from 10.3 to 11.4: a strongly typed network, whose precision stands in the
graph and nowhere else. TensorFloat-32 is off, so that float32 means it. Timings are kept per version,
device and power mode, so the next build of anything alike takes seconds.

`cmnas-edge engine build` and `python -m export engine` are both `cmnas_edge.engine_commands.run_build`.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cmnas_edge import __version__
from cmnas_edge.bundle import FileRecord, weights_name
from cmnas_edge.engine.tensorrt.bytes_first import NotOnnx, cast_first, weight_files
from cmnas_edge.engine.tensorrt.cache import exclusive, write_together
from cmnas_edge.engine.tensorrt.device import Device
from cmnas_edge.engine.tensorrt.job import How, Job, bundle_job, detector_job
from cmnas_edge.engine.tensorrt.logger import Log, reason
from cmnas_edge.engine.tensorrt.plan import Plan, Profile, Settings, Tensor, check, plan_path, read_bytes, read_manifest
from cmnas_edge.engine.tensorrt.worker import GpuWorker
from cmnas_edge.errors import BundleError, CmnasError, DeviceError
from cmnas_edge.progress import Progress

__all__ = ["DTYPES", "How", "Job", "build", "bundle_job", "detector_job"]

_log = logging.getLogger("cmnas.tensorrt")
_LISTEN_S = 0.2
# What TensorRT calls a type, and what numpy does.
DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "UINT8": "uint8",
          "INT32": "int32", "INT64": "int64", "BOOL": "bool", "FP8": "float8", "INT4": "int4", "FP4": "float4"}


def build(job: Job, how: How, cache: Path, device: Device, worker: GpuWorker, trt: Any, *, again: bool = False,
          say: Callable[[str], None]) -> tuple[Path, Plan]:
    """Build a plan, or find it built, and keep it with its manifest.

    Ctrl-C ends TensorRT's search after the step it is at; nothing half-written is left.

    Args:
        job: What.
        how: Choices.
        cache: Where plans and timings are kept.
        device: This one.
        worker: Owns the GPU.
        trt: The module tensorrt.
        again: Build even if the plan is there.
        say: Is told, a line each, what is worth knowing.

    Raises:
        BundleError: TensorRT cannot read the graph; the message has all it says of it.
        DeviceError: TensorRT builds no plan of it on this device.
        ConfigError: The cache cannot be written to.
        DiskFull: There is no room for the plan.
    """
    path = plan_path(cache, job.graph, device)
    if not again and (kept := _kept(path, job, how, device)) is not None:
        return path, kept   # also where the cache is one that nobody may write to
    with exclusive(cache, lambda: say("waiting   for another build into the same cache to end")):
        if not again and (kept := _kept(path, job, how, device)) is not None:
            return path, kept
        model = _read(job)
        timings = cache / "timing" / f"{device.timing_key}.cache"
        begun = time.monotonic()
        try:
            made = _interruptible(worker, lambda stop: _build(trt, job, model, how, timings, stop))
        except CmnasError:
            raise
        except Exception as error:  # of the bindings, and of pycuda: RuntimeErrors of several kinds, MemoryError, ...
            raise DeviceError(f"{job.path}: expected TensorRT {trt.__version__} to build a plan in "
                              f"{job.graph.precision}, found {type(error).__name__} ({error}); {_remedy([str(error)])}"
                              ) from error
        plan = Plan(
            schema=1, made_by=f"cmnas-edge {__version__}", made_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            build_s=round(time.monotonic() - begun, 3),
            file=FileRecord(len(made.plan), hashlib.sha256(made.plan).hexdigest()), graph=job.graph, device=device,
            tensors=made.tensors, profile=made.profile, settings=made.settings, preprocessing=job.preprocessing,
            calibration=dict(job.calibration))
        text = msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n"
        write_together((path, made.plan), (path.with_suffix(".json"), text))
        if made.timings:
            write_together((timings, made.timings))
    return path, plan


@dataclass(frozen=True)
class _Made:
    plan: bytes
    tensors: tuple[Tensor, ...]
    profile: Profile
    settings: Settings
    timings: bytes


def _kept(path: Path, job: Job, how: How, device: Device) -> Plan | None:
    """The plan that is there, if it is what would be built."""
    try:
        plan = read_manifest(path, "")
        check(path, plan, job.graph, device, "")
        read_bytes(path, plan, "")
    except (BundleError, DeviceError):
        return None
    settings = plan.settings
    if (settings.workspace_mib, settings.level, plan.profile) != (how.workspace_mib, how.level,
                                                                  _profile(plan.input.shape, how)):
        return None
    return plan


def _read(job: Job) -> bytes:
    path = job.path
    try:
        model = path.read_bytes()
        found = weight_files(model)
        # What names the plan covers these files and no others; and a graph must not have us read anything else.
        own = weights_name(job.graph.precision) if job.graph.bundle else ""
        if strange := sorted(found - {own}):
            raise BundleError(f"{path}: expected its weights in {own or 'the file itself'}, found them in "
                              f"{strange[0][:80]!a}; export again")
        return cast_first(model)
    except OSError as error:
        raise BundleError(f"{path}: expected a graph this user can read, found {error.strerror}; check its owner and "
                          "mode") from None
    except NotOnnx as error:
        raise BundleError(f"{path}: {error}; export again") from None


def _interruptible(worker: GpuWorker, work: Callable[[threading.Event], _Made]) -> _Made:
    """Have the worker do it; on Ctrl-C tell it to stop, and wait until it has."""
    stop = threading.Event()
    try:
        begun = worker.begin(lambda: work(stop))
        # In short waits: a signal that comes just before a long one is only heard at its end.
        while not wait([begun], _LISTEN_S).done:
            pass
        return begun.result()
    except KeyboardInterrupt:
        stop.set()
        worker(lambda: None)    # what was begun has ended once the next in the queue has
        raise


def _build(trt: Any, job: Job, model: bytes, how: How, timings: Path, stop: threading.Event) -> _Made:
    """What happens on the GPU's thread."""
    log = Log(trt)
    try:
        builder = trt.Builder(log.native)
    except TypeError:   # so pybind11 says that TensorRT made none
        raise DeviceError(f"TensorRT {trt.__version__}: expected a builder, found that it makes none "
                          f"({reason(log.taken())}); look at nvidia-smi or dmesg, and update the driver if it is older "
                          "than this TensorRT's CUDA") from None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log.native)
    read = parser.parse(model, str(job.path))
    if not read or parser.num_errors:
        raise BundleError(_complaints(trt, parser, job.path, log))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(how.workspace_mib) << 20)
    config.builder_optimization_level = int(how.level)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)
    tensors = _tensors(network, job.path)
    profile = _profile(tensors[0].shape, how)
    if -1 in tensors[0].shape:
        shapes = builder.create_optimization_profile()
        try:
            shapes.set_shape(tensors[0].name, profile.least, profile.usual, profile.most)
        except RuntimeError as error:
            raise DeviceError(f"{job.path}: expected TensorRT to take batches of 1, {how.usual_batch} and "
                              f"{how.most_batch}, found that it does not ({error}; {reason(log.taken())}); choose "
                              "others") from None
        if int(config.add_optimization_profile(shapes)) < 0:
            raise DeviceError(f"{job.path}: expected TensorRT to take batches of 1, {how.usual_batch} and "
                              f"{how.most_batch}, found that it does not ({reason(log.taken())}); choose others")
    cache = _timing_cache(config, timings, log)     # must live through the build
    with Progress("steps") as progress:
        monitor = _monitor(trt, progress, stop)
        config.progress_monitor = monitor
        log.taken()
        plan = builder.build_serialized_network(network, config)
    errors = log.taken()
    if plan is None:
        raise DeviceError(f"{job.path}: expected TensorRT {trt.__version__} to build a plan in {job.graph.precision}, "
                          f"found that it cannot ({reason(errors)}); {_remedy(errors)}")
    if errors:  # of kernels it tried and left, mostly; whether the plan is right the golden pair says
        _log.warning("%s: TensorRT built a plan, and complained on the way: %s", job.path.name, reason(errors))
    kept = config.get_timing_cache() if cache is not None else None
    return _Made(bytes(plan), tensors, profile, Settings(how.workspace_mib, how.level, ("STRONGLY_TYPED", "-TF32"),
                                                         cache is not None),
                 bytes(kept.serialize()) if kept is not None else b"")


def _complaints(trt: Any, parser: Any, path: Path, log: Log) -> str:
    """Everything the parser says against a graph, in one message."""
    said = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node = f"{error.node_operator() or 'node'} {error.node_name() or error.node()}"
        said.append(f"({index + 1}) {node}: {' '.join(str(error.desc()).split()) or 'no reason given'}")
    count = f"{len(said)} error{'s' if len(said) != 1 else ''}"
    return (f"{path}: expected a graph TensorRT {trt.__version__} can read, found {count}: "
            f"{'; '.join(said) or reason(log.taken())}; export again, or choose another precision or engine")


def _remedy(errors: Sequence[str]) -> str:
    text = " ".join(errors).lower()
    if "memory" in text or "workspace" in text:
        return "free memory, or lower --max-batch or raise --workspace-mib"
    if "implementation" in text or "tactic" in text:
        return "this GPU has no kernel for it: choose another precision"
    return "choose another precision, or report it with what it said"


def _tensors(network: Any, path: Path) -> tuple[Tensor, ...]:
    """One input, then one output.

    Raises:
        BundleError: There are others.
    """
    if (int(network.num_inputs), int(network.num_outputs)) != (1, 1):
        raise BundleError(f"{path}: expected one input and one output, found {network.num_inputs} and "
                          f"{network.num_outputs}; export again")
    one, other = network.get_input(0), network.get_output(0)
    if -1 in tuple(one.shape)[1:]:
        raise BundleError(f"{path}: expected an input whose size is free in the number of pictures alone, found "
                          f"{tuple(map(int, one.shape))}; export it for one height and width")
    return (Tensor(str(one.name), "input", DTYPES.get(one.dtype.name, "?"), tuple(map(int, one.shape))),
            Tensor(str(other.name), "output", DTYPES.get(other.dtype.name, "?"), tuple(map(int, other.shape))))


def _profile(shape: tuple[int, ...], how: How) -> Profile:
    """Shapes of the input by batch; a graph with a batch of its own keeps it."""
    def at(batch: int) -> tuple[int, ...]:
        return (batch if shape[0] == -1 else shape[0], *shape[1:])

    return Profile(at(1), at(how.usual_batch), at(how.most_batch))


def _timing_cache(config: Any, path: Path, log: Log) -> Any:
    """Timings of earlier builds on this device; TensorRT itself refuses another device's."""
    try:
        kept = path.read_bytes()
    except OSError:
        kept = b""
    for data in ([kept] if kept else []) + [b""]:
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
        log.taken()  # a damaged or foreign cache only costs time
    return None


def _monitor(trt: Any, progress: Progress, stop: threading.Event) -> Any:
    """Shows how far TensorRT is, and is how it is stopped: by the answer to a finished step."""
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.outer: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self.outer[phase_name] = int(num_steps)

        def phase_finish(self, phase_name: str) -> None:
            self.outer.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            steps = self.outer.get(phase_name, 0)
            if int(step) + 1 < steps:
                progress(int(step) + 1, steps, phase_name)
            return not stop.is_set()

    return Monitor()
