"""A small world to test a collector with: a bundle of 16 dimensions, and people as directions in it.

A person is a random direction per modality; a sighting of them is that direction with noise.
How alike strangers are, and how far apart a person's two modalities lie, is known exactly.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge import bundle
from cmnas_edge.calibration import PAIRS, CalibratedOn, Calibration, Pair, Threshold
from cmnas_edge.embedding import Modality, unit
from cmnas_edge.preprocess import DEFINITION
from cmnas_edge.sighting import Sighting

F32 = npt.NDArray[np.float32]
DIMENSION = 16
FINGERPRINT = hashlib.sha256(b"people").digest()
SPOOL = "00000000000000aa"
THRESHOLDS: dict[Pair, Threshold] = {
    "visible-visible": Threshold(0.7, 1e-3, 0.1, 1000, 100_000),
    "infrared-infrared": Threshold(0.7, 1e-3, 0.1, 1000, 100_000),
    "visible-infrared": Threshold(0.6, 1e-3, 0.3, 1000, 100_000)}


@dataclass(frozen=True)
class Model:
    """What the collector asks of a bundle."""

    fingerprint: bytes = FINGERPRINT
    dimension: int = DIMENSION
    thresholds: dict[Pair, Threshold] = field(default_factory=lambda: THRESHOLDS)
    calibrated_on: CalibratedOn = "drawn"
    name: str = "people"
    backbone: str = "none"

    @property
    def calibration(self) -> Calibration:
        """Of schema 1: thresholds alone."""
        return Calibration(1, self.fingerprint.hex(), self.calibrated_on, self.thresholds)


def write_bundle(folder: Path) -> Path:
    """Write a bundle that opens, whose graphs nobody will run."""
    folder.mkdir(parents=True)
    for name in ("visible.onnx", "infrared.onnx", "weights.bin", "golden.npz", "MODEL.md"):
        (folder / name).write_bytes(b"not run in these tests")
    calibration = Calibration(1, FINGERPRINT.hex(), "drawn", {name: THRESHOLDS[name] for name in PAIRS})
    (folder / bundle.CALIBRATION).write_bytes(msgspec.json.encode(calibration))
    drawn = bundle.Drawn(0, 1, (1, 3), 1, 0)
    bundle.seal(folder, bundle.Manifest(
        schema=1, name="people", made_by="tests", backbone="none", precision="fp32",
        fingerprint=FINGERPRINT.hex(), dimension=DIMENSION, height=8, width=4, preprocessing=DEFINITION,
        golden=drawn, validation=drawn, retrieval=None, files={}))
    return folder


class People:
    """Draws sightings of numbered people."""

    def __init__(self, seed: int = 0, *, noise: float = 0.1, gap: float = 0.3, dimension: int = DIMENSION) -> None:
        self._rng = np.random.default_rng(seed)
        self._noise = noise
        self._gap = gap
        self._dimension = dimension
        self._directions: dict[tuple[int, Modality], F32] = {}
        self._sequence = 0

    def vector(self, person: int, modality: Modality = "visible") -> F32:
        """One look at a person: a unit vector, shape ``(d,)``."""
        if (person, modality) not in self._directions:
            own = np.random.default_rng((12345, person)).standard_normal((3, self._dimension))
            for name, shift in (("visible", own[1]), ("infrared", own[2])):
                self._directions[person, name] = unit((own[:1] + self._gap * shift).astype(np.float32))[0]  # type: ignore[index]
        noise = self._rng.standard_normal(self._dimension) * self._noise / np.sqrt(self._dimension)
        looked: F32 = unit((self._directions[person, modality] + noise)[None].astype(np.float32))[0]
        return looked

    def sighting(self, person: int, *, at: float, device: str = "gate", camera: str = "north",
                 modality: Modality = "visible", tracklet: int | None = None, lasting: float = 2.0,
                 sequence: int | None = None, vector: F32 | None = None) -> Sighting:
        """One sighting; without a tracklet number each is a tracklet of its own."""
        self._sequence += 1
        number = self._sequence if sequence is None else sequence
        return Sighting(
            device=device, camera=camera, seen_from=at, seen_at=at + lasting, modality=modality,
            tracklet=number if tracklet is None else tracklet, view_count=3, quality=0.8, box_width=40,
            box_height=96, fingerprint=FINGERPRINT, engine="onnxruntime", precision="fp32", packing="fp16",
            vector=self.vector(person, modality) if vector is None else vector, spool=SPOOL, sequence=number)
