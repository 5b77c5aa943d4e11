"""Days of six cameras as two numbers a second, with the truth about their filters: what `benchmarks.dusk` counts on.

Levels are those of drawn and real pictures (`benchmarks.dusks`, docs/dusk.md); what comes and goes around them is drawn
from a seed: sun and clouds, fog, a week of snow, gain and colours turned down in little light, white balance that
searches, headlights, whoever walks or parks there, a decoder that has lost a packet, filters that go to and fro.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.settings import SpectrumSettings
from cmnas_edge.camera.spectrum import Spectrum
from cmnas_edge.embedding import Modality

__all__ = ["CAMERAS", "DAY_S", "Counted", "Day", "Kind", "count", "day"]

F32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

DAY_S: Final = 86_400
_STEPS: Final = 5   # frames that a doubtful second is played at
_LATE_S: Final = 600
_SNOW_DAYS: Final = (10.2, 17.6)
_SNOW: Final = 0.12     # share of a place's colour that it leaves


@dataclass(frozen=True)
class Kind:
    """A camera and its place.

    Attributes:
        name: For tables.
        colour: Chroma by day.
        moves: It has a filter that moves at dusk.
        night_colour: Chroma at night: of lamps if the filter stays, else of what a grey stream shows.
        cars: Headlights an hour, at night.
        indoors: Lamps go on and off; without them it is dark.
    """

    name: str
    colour: float
    moves: bool = True
    night_colour: float = 0.0
    cars: float = 4.0
    indoors: bool = False


CAMERAS: Final = (
    Kind("garden", 30.0),
    Kind("car park", 8.0, cars=30.0),
    Kind("snow yard", 2.2),
    Kind("street with lamps", 25.0, moves=False, night_colour=14.0, cars=60.0),
    Kind("corridor", 20.0, moves=False, indoors=True, cars=0.0),
    Kind("old gate", 12.0, night_colour=0.5, cars=20.0),
)


class Day(NamedTuple):
    """One camera's day: chroma (NaN tells nothing), brightness, and whether the filter is out, by second."""

    colour: F32
    brightness: F32
    infrared: Bool


def day(kind: Kind, seed: int, number: int) -> Day:
    """Draw a day of a camera; the same for the same arguments."""
    rng = np.random.default_rng((seed, number, CAMERAS.index(kind)))
    lux = _sun(rng)
    base = kind.colour * _snow(kind, number) * np.exp(_wander(rng, 7200, 0.15) + _wander(rng, 10, 0.03))
    thick = _fog(rng)
    base *= 1 if kind.indoors else 1 - 0.8 * thick
    for at, length in _events(rng, 3, 3600, 8 * 3600):      # something big parks before the camera
        base[at:at + length] *= float(np.exp(rng.uniform(np.log(0.6), np.log(4))))
    for at, length in _events(rng, 200, 5, 60):             # people and cars in colours
        base[at:at + length] += rng.uniform(0, 6)
    if kind.indoors:
        lit = _lamps(rng)
        colour, brightness = np.where(lit, base, 1.5).astype(np.float32), np.where(lit, 120.0, 3.0).astype(np.float32)
        return Day(_glitches(rng, colour), brightness, np.zeros(DAY_S, np.bool_))
    infrared = _filter(rng, lux) if kind.moves else np.zeros(DAY_S, np.bool_)
    gained = np.clip((np.log10(np.maximum(lux, 1e-3)) + 0.3) / 1.8, 0, 1).astype(np.float32)
    colour = base * (0.35 + 0.65 * gained)
    brightness = (20 + 90 * gained + 8 * _wander(rng, 600, 1.0)).astype(np.float32)
    if not kind.moves:
        night = gained < 0.5
        colour[night] = np.maximum(colour[night], kind.night_colour * base[night] / kind.colour)
        brightness[night] = np.maximum(brightness[night], 50)
    colour[infrared] = kind.night_colour
    brightness[infrared] = 85
    _moving(rng, infrared, colour)
    _headlights(rng, lux < 5, infrared, colour, kind.cars)
    noise = np.abs(rng.standard_normal(DAY_S, dtype=np.float32)) * np.where(
        infrared, 0.2 * np.float32(kind.night_colour), 0.3).astype(np.float32)
    return Day(_glitches(rng, (colour + noise).astype(np.float32)), brightness, infrared)


def _snow(kind: Kind, number: int) -> F32:
    """What is left of colours: snow falls for six hours, in the night or by day, and is gone as slowly."""
    if kind.indoors or kind.colour < 10:
        return np.ones(DAY_S, np.float32)
    passed = number + np.arange(DAY_S, dtype=np.float32) / DAY_S
    lies = np.clip((passed - _SNOW_DAYS[0]) * 4, 0, 1) * np.clip((_SNOW_DAYS[1] - passed) * 4, 0, 1)
    return np.asarray(_SNOW ** lies, np.float32)


def _sun(rng: np.random.Generator) -> F32:
    hours = np.arange(DAY_S) / 3600
    elevation = 8 - 34 * np.cos(2 * np.pi * (hours - rng.uniform(-0.3, 0.3)) / 24)
    lux = np.interp(elevation, [-18, -12, -6, 0, 6, 30], [-3, -2, 0.5, 2.6, 3.6, 4.7])
    clouds = np.clip(_wander(rng, 1800, 0.5) + _wander(rng, 30, 0.05), -1.2, 0.3)
    return np.asarray(10 ** (lux + clouds), np.float32)


def _filter(rng: np.random.Generator, lux: F32) -> Bool:
    """When the camera itself moves its filter: two thresholds and a delay; on some evenings it cannot decide."""
    low, high = rng.uniform(1.0, 3.0), rng.uniform(6.0, 15.0)
    votes = np.where(lux < low, 1, np.where(lux > high, -1, 0))
    for at, length in _events(rng, 8, 8, 20):      # a car, seen as day
        if lux[at] < low:
            votes[at:at + length] = -1
    out = np.zeros(DAY_S, np.bool_)
    changes = np.flatnonzero(np.diff(votes)) + 1
    state, edges = votes[0] == 1, [0, *changes.tolist(), DAY_S]
    for begin, end in pairwise(edges):
        wanted = bool(votes[begin] == 1) if votes[begin] else state
        delay = 10 if wanted != state and begin else 0
        out[begin:end] = state
        if wanted != state and end - begin > delay:
            out[begin + delay:end] = wanted
            state = wanted
    if rng.random() < 0.2 and len(falls := np.flatnonzero(np.diff(out.astype(np.int8)) == 1)):
        period, start = int(rng.integers(4, 30)), int(falls[-1]) + 1
        seconds = np.arange(min(600, DAY_S - start))
        out[start:start + len(seconds)] = seconds // period % 2 == 0
    return out


def _moving(rng: np.random.Generator, infrared: Bool, colour: F32) -> None:
    """Around each move: washed out and white before it, and a white balance that searches after it."""
    steps = np.diff(infrared.astype(np.int8))
    for at in (np.flatnonzero(steps) + 1).tolist():
        if steps[at - 1] == 1:
            colour[max(0, at - 2):at] *= 0.4
            if rng.random() < 0.3:
                colour[at - 1:at + 1] = np.nan
            colour[at:at + 2] += rng.uniform(0, 2)
        else:
            colour[at:at + 5] *= rng.uniform(0.5, 1.6)


def _headlights(rng: np.random.Generator, dark: Bool, infrared: Bool, colour: F32, an_hour: float) -> None:
    for at, length in _events(rng, 24 * an_hour, 1, 4):
        if dark[at] and not infrared[at]:
            colour[at:at + length] *= rng.uniform(0.1, 0.6)
            if rng.random() < 0.2:
                colour[at:at + 1] = np.nan


def _glitches(rng: np.random.Generator, colour: F32) -> F32:
    """A lost packet: a second or two of smeared colours, or a flat grey picture until the next whole one."""
    for at, length in _events(rng, 3, 1, 2):
        colour[at:at + length] = rng.uniform(5, 80)
    for at, length in _events(rng, 3, 1, 10):
        colour[at:at + length] = np.nan
    return colour


def _lamps(rng: np.random.Generator) -> Bool:
    hours = np.arange(DAY_S) / 3600
    lit = (hours > 6) & (hours < 22)
    for at, length in _events(rng, 30, 10, 600):
        lit[at:at + length] ^= True
    return lit


def _fog(rng: np.random.Generator) -> F32:
    thick = np.zeros(DAY_S, np.float32)
    if rng.random() < 0.2:
        at, length = rng.integers(4 * 3600, 20 * 3600), rng.integers(2 * 3600, 6 * 3600)
        distance = np.abs(np.arange(DAY_S) - at) - length / 2
        thick = np.clip(-distance / 1800, 0, 1).astype(np.float32)
    return thick


def _wander(rng: np.random.Generator, every_s: int, spread: float) -> F32:
    """Noise that takes so long to change."""
    knots = rng.standard_normal(DAY_S // every_s + 2) * spread
    return np.interp(np.arange(DAY_S) / every_s, np.arange(len(knots)), knots).astype(np.float32)


def _events(rng: np.random.Generator, mean: float, least_s: float, most_s: float) -> list[tuple[int, int]]:
    number = int(rng.poisson(mean))
    starts, lengths = rng.integers(0, DAY_S, number), rng.uniform(least_s, most_s, number)
    return [(int(at), max(1, round(length))) for at, length in zip(starts, lengths, strict=True)]


class Counted(NamedTuple):
    """What one camera's spectrum machine made of its days."""

    days: int
    moves: int              # of the filter, that lasted a minute
    switches: int
    false_switches: int     # to what the camera had not been for five seconds
    missed: int             # moves not told within ten minutes
    delays_s: list[float]
    wrong_s: int            # certain, and wrong
    uncertain_s: int


def count(kind: Kind, seed: int, days: int, settings: SpectrumSettings | None = None,
          told: Callable[[int, Modality], object] = lambda *_: None) -> Counted:
    """Run the machine over days of a camera.

    Args:
        kind: Which camera.
        seed: Of its days.
        days: How many, one after another.
        settings: Of the machine.
        told: Called with second and modality at each switch.
    """
    machine = Spectrum(settings or SpectrumSettings())
    states = np.zeros(days * DAY_S, np.int8)    # 1 infrared, -1 visible, 0 uncertain
    switches: list[tuple[int, bool]] = []
    truth = np.empty(days * DAY_S, np.bool_)
    judge = machine.judge
    for number in range(days):
        drawn, first = day(kind, seed, number), number * DAY_S
        truth[first:first + DAY_S] = drawn.infrared
        for second, (colour, brightness) in enumerate(zip(drawn.colour.tolist(), drawn.brightness.tolist(),
                                                          strict=True), first):
            state = judge(colour, brightness, second)
            for step in range(1, _STEPS):   # as fast as a camera would, while it matters
                if state.switched or state.modality is not None:
                    break
                state = judge(colour, brightness, second + step / _STEPS)
            if state.modality is not None:
                states[second] = 1 if state.modality == "infrared" else -1
                if state.switched:
                    switches.append((second, state.modality == "infrared"))
                    told(second, state.modality)
    false = sum(not (truth[max(0, at - 5):at + 1] == infrared).any() for at, infrared in switches)
    delays, missed, moves = [], 0, 0
    for at in (np.flatnonzero(np.diff(truth.astype(np.int8))) + 1).tolist():
        if (truth[at:at + 60] != truth[at]).any():
            continue
        moves += 1
        right = np.flatnonzero(states[at:at + _LATE_S] == (1 if truth[at] else -1))
        if len(right):
            delays.append(float(right[0]))
        else:
            missed += 1
    wrong = (states != 0) & (states != np.where(truth, 1, -1))
    return Counted(days, moves, len(switches), false, missed, delays, int(wrong.sum()),
                   int(np.count_nonzero(states == 0)))
