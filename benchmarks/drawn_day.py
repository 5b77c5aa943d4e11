"""A day on a drawn site, as its cameras tell it: who passed where and when, and what the network made of them.

Six cameras stand on a plan. Who leaves one comes to a neighbouring one after a walk at their own speed; two cameras
see one doorway, so a person may be in both at once. People come once to three times, most of them in rush hours. At
dusk, each in its own minute, four cameras turn to infrared; one looks at a lit hall and never does, one at a cellar
and always has. A quarter of the people wear uniforms: four of them dress alike down to the dyes.

Every sighting is one drawn crop, embedded by a bundle: harsher than a camera, which averages several views; and kinder,
since poses are drawn crop by crop and not along one walk. Nobody here was trained on, and no camera either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import MODALITIES, Modality, pack, unpack
from cmnas_edge.engine import open_engine
from cmnas_edge.synthetic.crops import camera_of, crop_rng, draw_crop
from cmnas_edge.synthetic.people import Person

__all__ = ["DAY", "DUSK", "EDGES", "NAMES", "Day", "Look", "Pass", "draw_day", "draw_passes"]

F32 = npt.NDArray[np.float32]

DAY = 13 * 3600.0           # from 08:00
DUSK = 8.5 * 3600.0         # 16:30
NAMES = ("gate", "doorway", "stairs", "cellar", "hall", "yard")
# Who stands next to whom, metres of unseen way; the doorway and the gate see one place.
EDGES: dict[tuple[int, int], float] = {(0, 1): -4.0, (1, 2): 25.0, (0, 3): 60.0, (1, 4): 40.0, (2, 5): 140.0,
                                       (3, 4): 30.0, (4, 5): 90.0}
_ALWAYS: dict[int, Modality] = {3: "infrared", 4: "visible"}
_RUSH = (0.75 * 3600, 4.5 * 3600, 9.5 * 3600)
_WORLD = 7_000              # seeds of worlds nobody trained on
_FIRST_CAMERA = 101
_UNIFORM = 4                # people to each
_SPOOL = "00000000000000aa"


class Pass(NamedTuple):
    """One person before one camera: a tracklet."""

    person: int
    camera: int
    start: float            # seconds of the day
    end: float
    modality: Modality
    sighting_count: int


class Look(msgspec.Struct, frozen=True):
    """A sighting as `cmnas_edge.collector.matching` takes it; ``id`` counts up in the order they come."""

    id: int
    camera: str
    tracklet: int           # row of its `Pass`
    seen_from: float
    seen_at: float
    modality: Modality
    device: str = "site"
    spool: str = _SPOOL
    transform: int = 0


@dataclass(frozen=True, eq=False)
class Day:
    """What was seen, in the order it was: passes are tracklets, looks sightings, row i of vectors is look i's."""

    seed: int
    passes: list[Pass]
    looks: list[Look]
    vectors: F32            # (n, d)


def draw_passes(seed: int, people: int) -> list[Pass]:
    """Send so many people through the day of this seed; by start."""
    rng = np.random.default_rng((seed, people))
    turns = {camera: DUSK + float(rng.uniform(-600, 600)) for camera in range(len(NAMES))}
    ways: dict[int, list[tuple[int, float]]] = {camera: [] for camera in range(len(NAMES))}
    for (a, b), metres in EDGES.items():
        ways[a].append((b, metres))
        ways[b].append((a, metres))
    passes = []
    for person in range(people):
        speed = float(np.clip(rng.normal(1.35, 0.12), 1.0, 1.7))
        free = 0.0
        for _ in range(int(rng.integers(1, 4))):
            rush = float(rng.normal(_RUSH[int(rng.integers(3))], 1800))
            at = max(free, rush if rng.random() < 0.6 else float(rng.uniform(0, DAY)), 0.0)
            camera, before = int(rng.integers(len(NAMES))), -1
            for _ in range(int(rng.integers(2, 6))):
                lasting = float(rng.uniform(5, 14))
                if at + lasting > DAY:
                    break
                modality = _ALWAYS.get(camera, "infrared" if at + lasting / 2 > turns[camera] else "visible")
                passes.append(Pass(person, camera, at, at + lasting, modality, int(rng.integers(1, 4))))
                onward = [way for way in ways[camera] if way[0] != before] or ways[camera]
                way = onward[int(rng.integers(len(onward)))]
                before, camera = camera, way[0]
                took = way[1] / speed * float(rng.lognormal(0, 0.15))
                if way[1] > 0 and rng.random() < 0.1:       # stops to talk
                    took += float(rng.exponential(120))
                at = max(at, at + lasting + took)
            free = at + 900
    return sorted(passes, key=lambda one: one.start)


def draw_day(bundle: Bundle, seed: int, people: int, cache: Path,
             progress: Callable[[int, int], None] = lambda _done, _of: None) -> Day:
    """Draw a day and embed what is seen; what was embedded before is read from ``cache``."""
    passes = draw_passes(seed, people)
    looks: list[tuple[float, float, int, int]] = []
    for number, one in enumerate(passes):
        step = (one.end - one.start) / one.sighting_count
        looks += [(one.start + (k + 1) * step, one.start + k * step, number, k) for k in range(one.sighting_count)]
    looks.sort()
    told = msgspec.json.encode((bundle.fingerprint.hex(), seed, people, passes))
    path = cache / f"{people}-{seed}-{hashlib.sha256(told).hexdigest()[:12]}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        vectors = _embed(bundle, seed, passes, looks, progress)
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, vectors)
        path.with_suffix(".part").rename(path)
    return Day(seed, passes, [
        Look(number, NAMES[passes[row].camera], row, start, end, passes[row].modality)
        for number, (end, start, row, _) in enumerate(looks, 1)], np.load(path, allow_pickle=False))


def _person(seed: int, number: int) -> Person:
    drawn = Person.draw(_WORLD + seed, number)
    if number % (4 * _UNIFORM) < _UNIFORM and number % _UNIFORM:    # of sixteen, the second to the fourth
        return drawn.dressed_like(Person.draw(_WORLD + seed, number - number % _UNIFORM))
    return drawn


def _embed(bundle: Bundle, seed: int, passes: list[Pass], looks: list[tuple[float, float, int, int]],
           progress: Callable[[int, int], None]) -> F32:
    vectors = np.zeros((len(looks), bundle.dimension), np.float32)
    people = {number: _person(seed, number) for number in {one.person for one in passes}}
    done = 0
    for modality in MODALITIES:
        rows = [row for row, look in enumerate(looks) if passes[look[2]].modality == modality]
        with open_engine(bundle, modality) as engine:
            for at in range(0, len(rows), 64):
                some = rows[at:at + 64]
                crops = np.stack([_crop(people, seed, passes[looks[row][2]], looks[row], bundle) for row in some])
                vectors[some] = unpack(pack(engine.embed(crops), "fp16"), "fp16", bundle.dimension)
                done += len(some)
                progress(done, len(looks))
    return vectors


def _crop(people: dict[int, Person], seed: int, one: Pass, look: tuple[float, float, int, int],
          bundle: Bundle) -> npt.NDArray[np.uint8]:
    camera = camera_of(_WORLD + seed, _FIRST_CAMERA + one.camera, one.modality)
    rng = crop_rng(_WORLD + seed, one.person, _FIRST_CAMERA + one.camera, 10 * look[2] + look[3])
    return draw_crop(people[one.person], camera, rng, bundle.height, bundle.width)
