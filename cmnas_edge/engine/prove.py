"""First contact of a bundle with a device: everything that can go wrong is tried, measured and written down.

For each precision and modality: build, load, golden embeddings, agreement with ONNX Runtime in float32 on the bundle's
own pictures, every batch from 0 to one more than the largest, thousands of frames of changing size whose every
embedding is checked, opening and closing again and again, and what all of it takes in time and memory. Without
TensorRT the same is done to ONNX Runtime, which proves the proof and says so.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge import __version__
from cmnas_edge.bundle import LABELS, Bundle
from cmnas_edge.bundle.pictures import stored
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.engine import TOLERANCE, Engine, check_golden
from cmnas_edge.engine.onnx_runtime import OnnxRuntimeEngine
from cmnas_edge.engine.tensorrt import RUNS, TensorRtEngine, Workplace
from cmnas_edge.engine.tensorrt.device import power_mode
from cmnas_edge.engine.tensorrt.job import How, bundle_job
from cmnas_edge.errors import CmnasError
from cmnas_edge.progress import Progress
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["Asked", "Proof", "Subject", "prove"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
# How many people one frame shows, drawn from these; now and then nobody, now and then a crowd.
_CROWDS = (1, 1, 1, 2, 2, 3, 4, 6)
_MOST_PICTURES = 64
_POINTS = 200           # of a curve in the picture
_SETTLED = 0.2          # of the frames: what a library keeps for itself it has by then
_GROWTH_MIB = 24.0      # beyond it memory is said to grow
_THERMAL = Path("/sys/class/thermal")
_PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "pycuda", "tensorrt")


class Asked(msgspec.Struct, frozen=True):
    """How much is tried."""

    frames: int = 10_000
    opens: int = 20
    how: How = How()


class Frames(msgspec.Struct, frozen=True):
    """Many frames running.

    Attributes:
        count: How many.
        crops: In all of them.
        wrong: Frames with an embedding beyond the limit; 0, or the engine must not serve.
        worst: Largest distance of an embedding.
        ms_median: Of a frame with somebody in it.
        ms_p99: The slowest of a hundred.
        crops_per_s: Over all frames.
        ms: Median over the course of time, for the picture.
        resident_mib: The process's memory over the course of time.
    """

    count: int
    crops: int
    wrong: int
    worst: float
    ms_median: float
    ms_p99: float
    crops_per_s: float
    ms: tuple[float, ...]
    resident_mib: tuple[float, ...]


class Subject(msgspec.Struct):
    """One engine in one precision for one modality, and how far it came.

    Attributes:
        verdict: ``passed``, or in a sentence what it failed at.
        limit: Distance (one less the cosine) from ONNX Runtime in float32 that an embedding may have.
        build_s: Seconds the plan took; None: no plan, or it was there.
        plan_mb: Its size.
        golden: Worst difference from the golden embeddings, as `check_golden` has it.
        parity: Worst distance on the bundle's pictures.
        batches: Worst distance by batch, from 0 to one more than the largest.
        frames: See there.
        opens: How often it was opened and closed.
        opens_growth_mib: What that left in the process's memory.
        gpu_mib: What it took of the GPU's memory, and what was still taken after it was closed.
        temperatures: Hottest sensor before and after the frames, in degrees Celsius.
        layers: Kinds of TensorRT's layers by the type of their first output.
    """

    engine: EngineName
    precision: Precision
    modality: Modality
    verdict: str = "not begun"
    limit: float = 0.0
    build_s: float | None = None
    plan_mb: float | None = None
    golden: float | None = None
    parity: float | None = None
    batches: tuple[float, ...] = ()
    frames: Frames | None = None
    opens: int = 0
    opens_growth_mib: float | None = None
    gpu_mib: tuple[float, float] | None = None
    temperatures: tuple[float, float] | None = None
    layers: dict[str, int] = {}

    def __str__(self) -> str:
        """Who it is."""
        return f"{self.engine} {self.precision} {self.modality}"


class Proof(msgspec.Struct):
    """What was found; no name of a machine, a person or a folder is in it.

    Attributes:
        lacking: Why no figure of TensorRT was made; empty if there are some.
        device: The GPU in a line; empty without TensorRT.
    """

    schema: Literal[1]
    date: str
    made_by: str
    bundle: str
    fingerprint: str
    lacking: str
    device: str
    power_mode: str
    system: str
    processor: str
    cores: int
    versions: dict[str, str]
    pictures: int
    max_batch: int
    subjects: list[Subject]

    @property
    def passed(self) -> bool:
        """Whether everything did."""
        return all(subject.verdict == "passed" for subject in self.subjects)


def prove(bundle: Bundle, asked: Asked, cache: Path, place: Workplace | None, lacking: str, *,
          precisions: Sequence[Precision] = RUNS, say: Callable[[str], None],
          clock: Callable[[], float] = time.perf_counter) -> Proof:
    """Try a bundle on this device.

    Args:
        bundle: Which.
        asked: How much.
        cache: Where plans are kept.
        place: The GPU; None: without TensorRT.
        lacking: What is missing for TensorRT; empty with a place.
        precisions: Of TensorRT's.
        say: Is told a line at a time.
        clock: Seconds.
    """
    pictures = {modality: _pictures(bundle, modality) for modality in MODALITIES}
    proof = Proof(1, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), f"cmnas-edge {__version__}", bundle.name,
                  bundle.fingerprint_hex, lacking, "" if place is None else str(place.device), power_mode(),
                  f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
                  _processor(), len(os.sched_getaffinity(0)), _versions(place), min(map(len, pictures.values())),
                  asked.how.most_batch, [])
    engines: list[tuple[EngineName, Precision]] = [("onnxruntime", "fp32")]
    if place is not None:
        engines += [("tensorrt", precision) for precision in bundle.precisions if precision in precisions]
    for name, precision in engines:
        for modality in MODALITIES:
            with OnnxRuntimeEngine(bundle, modality, threads=1, max_batch=8) as reference:
                expected = reference.embed(pictures[modality])
            subject = Subject(name, precision, modality, limit=_limit(bundle, precision))
            proof.subjects.append(subject)
            say(f"\n{subject}")
            trial = _Trial(bundle, asked, cache, place, subject, pictures[modality], expected, say, clock)
            try:
                subject.verdict = trial.run()
            except CmnasError as error:
                subject.verdict = _anonymous(str(error))
            say(f"  verdict   {subject.verdict}")
    return proof


class _Trial:
    """One subject, from build to close."""

    def __init__(self, bundle: Bundle, asked: Asked, cache: Path, place: Workplace | None, subject: Subject,
                 pictures: U8, expected: F32, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._bundle, self._asked, self._cache, self._place = bundle, asked, cache, place
        self._subject, self._pictures, self._expected = subject, pictures, expected
        self._say, self._clock = say, clock

    def run(self) -> str:
        subject = self._subject
        if subject.engine == "tensorrt":
            self._build()
        before = self._gpu_free()
        with self._open() as engine:
            taken = before - self._gpu_free()
            subject.golden = check_golden(engine, self._bundle, subject.modality)
            self._say(f"  golden    worst difference {subject.golden:.1e}")
            subject.parity = _worst(engine.embed(self._pictures), self._expected)
            self._say(f"  parity    {len(self._pictures)} pictures, worst distance from ONNX Runtime in fp32 "
                      f"{subject.parity:.1e} (limit {subject.limit:.1e})")
            if isinstance(engine, TensorRtEngine):
                subject.layers = layers(engine.runner.layers())
            subject.batches = self._batches(engine)
            self._say(f"  batches   0 to {engine.max_batch + 1}, worst distance {max(subject.batches):.1e}")
            hot = _hottest()
            subject.frames = frames = self._frames(engine)
            subject.temperatures = None if hot is None else (hot, _hottest() or hot)
            self._say(f"  frames    {frames.count} with {frames.crops} crops: median {frames.ms_median:.2f} ms, p99 "
                      f"{frames.ms_p99:.2f} ms, {frames.crops_per_s:.0f} crops/s, {frames.wrong} wrong")
        self._reopen()
        if self._place is not None and subject.engine == "tensorrt":
            subject.gpu_mib = taken / 2**20, (before - self._gpu_free()) / 2**20
            self._say(f"  GPU       {subject.gpu_mib[0]:.0f} MiB while open, {subject.gpu_mib[1]:.0f} MiB after")
        return self._verdict(frames)

    def _verdict(self, frames: Frames) -> str:
        subject = self._subject
        for what, found in (("its pictures", subject.parity or 0.0), ("a batch", max(subject.batches)),
                            ("a frame", frames.worst)):
            if not found <= subject.limit:
                return (f"expected embeddings within {subject.limit:.1e} of ONNX Runtime's, found {found:.1e} on "
                        f"{what}; do not let it serve, and attach this to a report")
        settled = frames.resident_mib[int(len(frames.resident_mib) * _SETTLED):]
        growth = settled[-1] - settled[0] if settled else 0.0
        if max(growth, subject.opens_growth_mib or 0.0) > _GROWTH_MIB:
            return (f"expected memory to stay, found it grown by {growth:.0f} MiB over the frames and "
                    f"{subject.opens_growth_mib or 0:.0f} MiB over {subject.opens} openings; attach this to a report")
        return "passed"

    def _build(self) -> None:
        assert self._place is not None
        subject = self._subject
        job = bundle_job(self._bundle, subject.modality, subject.precision)
        _, plan = self._place.build(job, self._asked.how, self._cache, again=True, say=self._say)
        subject.build_s, subject.plan_mb = plan.build_s, plan.file.bytes / 1e6
        self._say(f"  build     {plan.build_s:.1f} s, {subject.plan_mb:.2f} MB")

    def _open(self) -> Engine:
        subject = self._subject
        if subject.engine == "tensorrt":
            return TensorRtEngine(self._bundle, subject.modality, precision=subject.precision, cache=self._cache,
                                  max_batch=self._asked.how.most_batch, workplace=self._place)
        return OnnxRuntimeEngine(self._bundle, subject.modality, precision=subject.precision, threads=1,
                                 max_batch=self._asked.how.most_batch)

    def _batches(self, engine: Engine) -> tuple[float, ...]:
        worst = []
        for n in range(engine.max_batch + 2):
            rows = np.arange(n) % len(self._pictures)
            worst.append(_worst(engine.embed(self._pictures[rows]), self._expected[rows]))
        return tuple(worst)

    def _frames(self, engine: Engine) -> Frames:
        draw = np.random.default_rng(0)
        count = self._asked.frames
        took, crops, wrong, worst, memory = [], 0, 0, 0.0, []
        with Progress("frames") as progress:
            for frame in range(count):
                n = engine.max_batch + 1 if frame % 499 == 498 else 0 if frame % 97 == 96 else draw.choice(_CROWDS)
                rows = draw.integers(len(self._pictures), size=n)
                chosen = self._pictures[rows]
                begun = self._clock()
                found = engine.embed(chosen)
                if n:
                    took.append(1000 * (self._clock() - begun))
                distance = _worst(found, self._expected[rows])
                crops, worst = crops + int(n), max(worst, distance)
                wrong += not distance <= self._subject.limit
                if frame % max(1, count // _POINTS) == 0:
                    memory.append(round(_resident_mib(), 2))
                progress(frame + 1, count)
        curve = tuple(round(float(np.median(part)), 4) for part in np.array_split(took, min(_POINTS, len(took))))
        return Frames(count, crops, wrong, worst, float(np.median(took)), float(np.percentile(took, 99)),
                      1000 * crops / sum(took), curve, tuple(memory))

    def _reopen(self) -> None:
        sizes = []
        for _ in range(self._asked.opens):
            with self._open() as engine:
                engine.embed(self._pictures[:1])
            sizes.append(_resident_mib())
        self._subject.opens = len(sizes)
        if sizes:
            self._subject.opens_growth_mib = round(sizes[-1] - sizes[int(len(sizes) * _SETTLED)], 2)
            self._say(f"  opens     {len(sizes)}, memory grew by {self._subject.opens_growth_mib:.1f} MiB")

    def _gpu_free(self) -> int:
        if self._place is None:
            return 0
        worker = self._place.worker
        return worker(lambda: worker.cuda.memory()[0])


def layers(text: str) -> dict[str, int]:
    """Count what TensorRT made of a graph: ``{"CaskConvolution Half": 12}``; empty if it is not to be read.

    Its JSON changed with version 11 (``Datatype`` on its own), so both are looked for.
    """
    with suppress(ValueError, TypeError, AttributeError):
        found: Counter[str] = Counter()
        for layer in msgspec.json.decode(text)["Layers"]:
            if isinstance(layer, dict):
                out: dict[str, Any] = next(iter(layer.get("Outputs") or [{}]))
                kind = str(out.get("DataType") or out.get("Datatype") or out.get("Format/Datatype") or "?")
                found[f"{layer.get('LayerType', '?')} {kind}"] += 1
        return dict(found.most_common())
    return {}


def _worst(found: F32, expected: F32) -> float:
    """Largest distance of a row: one less the cosine of unit vectors, and 0 where both have no direction."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(((found.astype(np.float64) - expected) ** 2).sum(1).max(initial=0.0) / 2)


def _limit(bundle: Bundle, precision: Precision) -> float:
    if precision == "fp32":
        return bundle.dimension * TOLERANCE**2 / 2  # every entry off by as much as one may be
    # The bundle's limit holds for its few golden crops; the worst of many pictures is worse.
    return 2 * (1 - bundle.manifest.variants[precision].golden_cosine)


def _pictures(bundle: Bundle, modality: Modality) -> U8:
    golden = bundle.golden(modality)[0]
    if LABELS not in bundle.manifest.files:
        return golden
    kept = stored(bundle)
    more = kept.images[kept.infrared == (modality == "infrared")]
    return np.concatenate([golden, more])[:_MOST_PICTURES]


def _resident_mib() -> float:
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def _hottest() -> float | None:
    found = []
    for path in _THERMAL.glob("thermal_zone*/temp"):
        with suppress(OSError, ValueError):
            found.append(int(path.read_text(encoding="ascii")) / 1000)
    return max((value for value in found if 0 < value < 150), default=None)


def _processor() -> str:
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if named := re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE):
            return named[1].strip()
    return platform.machine()


def _versions(place: Workplace | None) -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    if place is not None:
        found["tensorrt"] = place.device.tensorrt  # JetPack's has no metadata
    return found


def _anonymous(text: str) -> str:
    """A message without the folders of whoever ran it."""
    return re.sub(r"(?:/[^/\s'\"();:,]+)+/([^/\s'\"();:,]+)", r".../\1", text)
