"""What is found when a bundle is tried on a device; a file to attach to a report."""

from __future__ import annotations

from typing import Literal

import msgspec

from cmnas_edge.embedding import Modality
from cmnas_edge.engine.tensorrt.job import How
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["Asked", "Frames", "Proof", "Subject"]


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
        verdict: ``passed``, or in a sentence what it failed at; ``not finished`` while it is tried.
        limit: Distance (one less the cosine) from ONNX Runtime in float32 that an embedding may have.
        build_s: Seconds the plan took; None: no plan, or it was there.
        plan_mb: Its size.
        golden: Worst difference from the golden embeddings, as `check_golden` has it.
        parity: Worst distance on the bundle's pictures.
        batches: Worst distance by batch, from 0 to one more than the largest.
        frames: See there.
        opens: How often it was opened and closed.
        opens_growth_mib: What that left in the process's memory.
        activations_mib: What of the GPU's memory TensorRT says it needs for values between layers.
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
    activations_mib: float | None = None
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
        device: The GPU in a line; empty without TensorRT, or where it could not be asked.
        subjects: Those tried so far.
        whole: Whether those were all; else something ended the proof before its end.
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
    whole: bool = False

    @property
    def passed(self) -> bool:
        """Whether everything was tried, and did."""
        return self.whole and all(subject.verdict == "passed" for subject in self.subjects)
