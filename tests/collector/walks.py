"""People who walk about a small site, and a bundle calibrated on what they look like: what pages have to show."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cmnas_edge import bundle
from cmnas_edge.calibration import PAIRS, CalibratedOn, Calibration, encode, pair
from cmnas_edge.calibration.fit import Plan, Scores, fit
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.sighting import Sighting
from tests.collector.people import FINGERPRINT, People
from tests.collector.process import Process

# Camera: its device, its light (dual: visible at first), and to whom it is how many seconds.
CAMERAS: dict[str, tuple[str, str, dict[str, float]]] = {
    "entrance": ("gate", "visible", {"corridor": 12, "car park": 35}),
    "corridor": ("gate", "visible", {"entrance": 12, "stairs": 8, "loading bay": 26}),
    "stairs": ("gate", "visible", {"corridor": 8}),
    "loading bay": ("yard", "infrared", {"corridor": 26, "car park": 18}),
    "car park": ("yard", "dual", {"entrance": 35, "loading bay": 18}),
}
NOISE, GAP = 0.35, 0.45


def walks(count: int, now: float, *, seed: int = 3, over_s: float = 600.0) -> list[Sighting]:
    """What cameras see of so many people in the last seconds, in the order of time."""
    people, rng, tracklet = People(seed, noise=NOISE, gap=GAP), random.Random(seed), 0
    seen = []
    for person in range(count):
        at = now - over_s + rng.uniform(0, 0.75 * over_s)
        camera = rng.choice(list(CAMERAS))
        for _ in range(rng.randint(1, 5)):
            device, light, onward = CAMERAS[camera]
            modality = ("visible" if at < now - over_s / 2 else "infrared") if light == "dual" else light
            tracklet += 1
            for _ in range(rng.randint(1, 3)):
                seen.append(people.sighting(person, at=at, device=device, camera=camera, modality=modality,  # type: ignore[arg-type]
                                            tracklet=tracklet, lasting=rng.uniform(3, 5)))
                at += 6
            camera = rng.choice(list(onward))
            at += onward[camera] * rng.lognormvariate(0, 0.2)
    return sorted((s for s in seen if s.seen_at < now), key=lambda s: s.seen_at)


def send(collector: Process, seen: list[Sighting]) -> dict[str, str]:
    """Enrol the devices and post what they saw; return their tokens."""
    tokens = {device: collector.enrol(device) for device in {camera[0] for camera in CAMERAS.values()}}
    if not collector.runs:
        collector.start()
    for start in range(0, len(seen), 64):
        for device, token in sorted(tokens.items()):
            collector.send(token, [s for s in seen[start:start + 64] if s.device == device])
    return tokens


def calibrate(folder: Path, on: CalibratedOn = "drawn", people_count: int = 60) -> Calibration:
    """Give a bundle of `tests.collector.people` the calibration that its people have."""
    people, manifest = People(8, noise=0.6, gap=GAP), bundle.Bundle.open(folder).manifest
    who = np.repeat(np.arange(1000, 1000 + people_count), 2)
    looks = {light: np.stack([people.vector(int(one), light) for one in who]) for light in MODALITIES}
    found = {}
    for a, b in itertools.combinations_with_replacement(MODALITIES, 2):
        found[pair(a, b)] = fit(pair(a, b), _scores(looks[a], looks[b], who, a, b), on, Plan(resamples=20, strangers=5))
    made = Calibration(2, FINGERPRINT.hex(), on, {name: found[name][0] for name in PAIRS},
                       {name: found[name][1] for name in PAIRS}, 0.01)
    (folder / bundle.CALIBRATION).write_bytes(encode(made))
    bundle.seal(folder, manifest)
    return made


def _scores(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32], who: npt.NDArray[np.int64],
            a: Modality, b: Modality) -> Scores:
    cosines = left @ right.T
    i, j = np.nonzero(np.triu(np.ones(cosines.shape, bool), 1) if a == b else np.ones(cosines.shape, bool))
    same = who[i] == who[j]
    return Scores(cosines[i, j][same], who[i][same], cosines[i, j][~same], np.stack([who[i], who[j]], 1)[~same])
