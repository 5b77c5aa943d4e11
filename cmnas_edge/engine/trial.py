"""One engine in one precision for one modality tried on a device, from build to close."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import LABELS, Bundle
from cmnas_edge.bundle.pictures import stored
from cmnas_edge.embedding import Modality
from cmnas_edge.engine import TOLERANCE, Engine, check_golden
from cmnas_edge.engine.contestant import told
from cmnas_edge.engine.onnx_runtime import OnnxRuntimeEngine
from cmnas_edge.engine.proof import Asked, Frames, Subject
from cmnas_edge.engine.prove_device import anonymous, hottest, layers, resident_mib
from cmnas_edge.engine.tensorrt import TensorRtEngine, Workplace, missing
from cmnas_edge.engine.tensorrt.job import bundle_job
from cmnas_edge.errors import DeviceError
from cmnas_edge.progress import Progress
from cmnas_edge.sighting import Precision

__all__ = ["PICTURES", "Here", "Look", "Trials", "pictures"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
# How many people one frame shows, drawn from these; now and then nobody, now and then a crowd.
_CROWDS = (1, 1, 1, 2, 2, 3, 4, 6)
PICTURES = 64           # of the bundle's, at most
_POINTS = 200           # of a curve in the picture
_SETTLED = 0.2          # of the frames: what a library keeps for itself it has by then
_GROWTH_MIB = 24.0      # beyond it memory is said to grow
Say = Callable[[str], None]
At = Callable[[str], None]      # told what is done next, and now and then that it still is


class Look(msgspec.Struct, frozen=True, tag=True):
    """What TensorRT says of this device.

    Attributes:
        lacking: What is missing for it, and so is not tried; else empty.
        fault: Why it could not be asked, though nothing is missing; else empty.
        device: The GPU in a line.
        tensorrt: Its version.
    """

    lacking: str = ""
    fault: str = ""
    device: str = ""
    tensorrt: str = ""


class Trials(Protocol):
    """Where subjects are tried."""

    def look(self) -> Look:
        """Ask TensorRT what is here."""

    def attempt(self, subject: Subject, say: Say) -> Subject:
        """Try one; whatever happens to it is its verdict."""


class Here:
    """Trials in this process.

    Args:
        bundle: Which.
        asked: How much.
        cache: Where plans are kept.
        place: The GPU; None: opened for each trial, and closed after it.
        clock: Seconds.
    """

    def __init__(self, bundle: Bundle, asked: Asked, cache: Path, place: Workplace | None = None,
                 clock: Callable[[], float] = time.perf_counter) -> None:
        self._bundle, self._asked, self._cache, self._place, self._clock = bundle, asked, cache, place, clock

    def look(self) -> Look:
        """See `Trials`."""
        if self._place is not None:
            return Look(device=str(self._place.device), tensorrt=self._place.device.tensorrt)
        if lacking := missing():
            return Look(lacking=lacking)
        try:
            with Workplace() as place:
                return Look(device=str(place.device), tensorrt=place.device.tensorrt)
        except DeviceError as error:
            return Look(fault=anonymous(str(error)))

    def attempt(self, subject: Subject, say: Say, at: At = lambda _: None) -> Subject:
        """See `Trials`; ``at`` is told what it is at."""
        subject.verdict = "not finished"
        try:
            with ExitStack() as opened:
                place = None
                if subject.engine == "tensorrt":
                    at("looking for a GPU")
                    place = self._place or opened.enter_context(Workplace())
                trial = _Trial(self._bundle, self._asked, self._cache, place, subject, say, at, self._clock)
                verdict = trial.run()
                at("leaving the GPU")
            subject.verdict = verdict
        except Exception as error:  # whatever a library raises, it stands in the report, and the others go on
            subject.verdict = anonymous(told(error))
        return subject


class _Trial:
    """One subject, from build to close."""

    def __init__(self, bundle: Bundle, asked: Asked, cache: Path, place: Workplace | None, subject: Subject, say: Say,
                 at: At, clock: Callable[[], float]) -> None:
        self._bundle, self._asked, self._cache, self._place = bundle, asked, cache, place
        self._subject, self._say, self._at, self._clock = subject, say, at, clock
        at("embedding its pictures by ONNX Runtime")
        subject.limit = _limit(bundle, subject.precision)
        self._pictures = pictures(bundle, subject.modality)
        with OnnxRuntimeEngine(bundle, subject.modality, threads=1, max_batch=8) as reference:
            self._expected = reference.embed(self._pictures)

    def run(self) -> str:
        """Everything; the verdict.

        Raises:
            Exception: Whatever a library raises.
        """
        subject = self._subject
        if self._place is not None:
            self._at("building its plan")
            self._build(self._place)
        before = self._gpu_free()
        self._at("being opened")
        with self._open() as engine:
            taken = before - self._gpu_free()
            self._at("embedding the golden crops")
            subject.golden = check_golden(engine, self._bundle, subject.modality)
            self._say(f"  golden    worst difference {subject.golden:.1e}")
            self._at("embedding its pictures")
            subject.parity = _worst(engine.embed(self._pictures), self._expected)
            self._say(f"  parity    {len(self._pictures)} pictures, worst distance from ONNX Runtime in fp32 "
                      f"{subject.parity:.1e} (limit {subject.limit:.1e})")
            if isinstance(engine, TensorRtEngine):
                self._at("saying what it made of the graph")
                subject.layers = layers(engine.runner.layers())
                subject.activations_mib = engine.runner.memory_bytes() / 2**20
            subject.batches = self._batches(engine)
            self._say(f"  batches   0 to {engine.max_batch + 1}, worst distance {max(subject.batches):.1e}")
            hot = hottest()
            subject.frames = frames = self._frames(engine)
            subject.temperatures = None if hot is None else (hot, hottest() or hot)
            self._say(f"  frames    {frames.count} with {frames.crops} crops: median {frames.ms_median:.2f} ms, p99 "
                      f"{frames.ms_p99:.2f} ms, {frames.crops_per_s:.0f} crops/s, {frames.wrong} wrong")
        self._reopen()
        if self._place is not None:
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

    def _build(self, place: Workplace) -> None:
        subject = self._subject
        job = bundle_job(self._bundle, subject.modality, subject.precision)
        _, plan = place.build(job, self._asked.how, self._cache, again=True, say=self._say)
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
            self._at(f"embedding {n} crops at once")
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
                    memory.append(round(resident_mib(), 2))
                    self._at(f"embedding frame {frame + 1} of {count}")
                progress(frame + 1, count)
        curve = tuple(round(float(np.median(part)), 4) for part in np.array_split(took, min(_POINTS, len(took))))
        return Frames(count, crops, wrong, worst, float(np.median(took)), float(np.percentile(took, 99)),
                      1000 * crops / sum(took), curve, tuple(memory))

    def _reopen(self) -> None:
        sizes = []
        for number in range(self._asked.opens):
            self._at(f"being opened for the {number + 2}. time")
            with self._open() as engine:
                engine.embed(self._pictures[:1])
            sizes.append(resident_mib())
        self._subject.opens = len(sizes)
        if sizes:
            self._subject.opens_growth_mib = round(sizes[-1] - sizes[int(len(sizes) * _SETTLED)], 2)
            self._say(f"  opens     {len(sizes)}, memory grew by {self._subject.opens_growth_mib:.1f} MiB")

    def _gpu_free(self) -> int:
        if self._place is None:
            return 0
        worker = self._place.worker
        return worker(lambda: worker.cuda.memory()[0])


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


def pictures(bundle: Bundle, modality: Modality) -> U8:
    """What is shown of a modality, ``(n, h, w, 3)``: golden crops, then validation crops, at most `PICTURES`."""
    golden = bundle.golden(modality)[0]
    if LABELS not in bundle.manifest.files:
        return golden[:PICTURES]
    kept = stored(bundle)
    more = kept.images[kept.infrared == (modality == "infrared")]
    return np.concatenate([golden, more])[:PICTURES]
