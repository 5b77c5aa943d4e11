"""Does a camera know whether it sees visible light or infrared: how late is it told, and how often wrongly?

    python -m benchmarks.dusk                                   # drawn dusks, and 30 days of six cameras
    python -m benchmarks.dusk --footage CLIP ... --seeds 9      # colour clips of yours, too; other seeds

The same command picks up where it was stopped: what results hold, measured by the code as it is, is not measured
again, unless ``--again`` asks for it.

Drawn dusks (`benchmarks.dusks`) pass through a real H.264 encoder and decoder; the machine looks at each frame, raw
and coded, and the whole pipeline (motion detector, tracker, selection of views) at one quality. A *mixed* sighting
has views from both sides of a move of the filter. Days are series of chroma and brightness, one a second
(`benchmarks.dusk_series`); a switch is *false* if the filter was not there within five seconds. Clips are real, in
colour; their second half is played without it, which is a night mode's picture of daylight. The machine was made
with seeds 1, 2 and 101 in view; the default one was held out. Real infrared footage: not measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.dusk_series import CAMERAS, DAY_S, Kind, count
from benchmarks.dusks import DUSKS, Drawn, Dusk, Stage, coded
from benchmarks.least import at_least
from benchmarks.records import RESULTS, keep, kept
from cmnas_edge.camera.frames.footage import video
from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.pipeline import Pipeline
from cmnas_edge.camera.settings import CameraSettings, DetectorSettings, SourceSettings, SpectrumSettings
from cmnas_edge.camera.spectrum import Spectrum, chroma
from cmnas_edge.camera.tally import Tally
from cmnas_edge.embedding import Modality
from cmnas_edge.progress import Progress

__all__ = ["Sightings", "Told", "main", "sightings", "watch"]

U8 = npt.NDArray[np.uint8]
_FPS = 5.0
_PEOPLE = 5
_QUALITIES = (None, 28, 40)     # None: as drawn
_PLOTTED = ("dusk", "flapping", "purple", "sodium lamp", "snow, a night", "headlights, visible")
_CROP = (256, 128)
_REAL = "real colour, then without"
# What decides what is found: how it is drawn, and the machine. Crops are the pipeline's, and are not looked at.
_DRAWN = ("benchmarks/dusks.py", "cmnas_edge/camera/spectrum.py")
_SERIES = ("benchmarks/dusk_series.py", "cmnas_edge/camera/spectrum.py")


@dataclass
class Told:
    """What the machine made of one film."""

    delays_s: list[float | None] = field(default_factory=list)  # of each move; None: never told
    false_switches: int = 0
    wrong_share: float = 0.0        # of frames, certain and wrong
    uncertain_share: float = 0.0
    trail: list[tuple[float, float, Modality | None, Modality]] = field(default_factory=list, repr=False)


@dataclass
class Sightings:
    """What the pipeline would send."""

    count: int = 0
    mixed: int = 0
    wrong: int = 0      # a view's modality is not what was written on the sighting


def main() -> None:
    """Measure, print, draw, and append to ``results/dusk.jsonl``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[202], help="of days and places (default: 202)")
    parser.add_argument("--days", type=int, default=30, help="of each camera; 0 for none (default: 30)")
    parser.add_argument("--footage", type=Path, nargs="*", default=[], help="clips in colour")
    parser.add_argument("--again", action="store_true", help="measure what has been measured, too")
    args = parser.parse_args()
    at_least(parser, args, 0, "seeds")
    if args.days < 0:
        parser.error(f"--days: expected 0 or more, found {args.days}; give more")
    tasks: list[tuple[dict[str, object], Sequence[str], Callable[[], None]]] = [
        ({"question": "drawn", "dusk": name, "seed": seed}, _DRAWN, partial(drawn, name, seed))
        for seed in args.seeds for name in DUSKS]
    tasks += [({"question": _REAL, "clip": clip.name}, _DRAWN[1:], partial(real, clip)) for clip in args.footage]
    tasks += [({"question": "days", "seed": seed, "camera": kind.name, "days": args.days}, _SERIES,
               partial(days, kind, seed, args.days)) for seed in args.seeds for kind in CAMERAS if args.days]
    for number, (which, measured, measure) in enumerate(tasks, 1):
        row = None if args.again else kept("dusk", which, measured)
        print(f"{number} of {len(tasks)}: " + ", ".join(map(str, which.values())) + (
            f": measured on {row['date']}" if row else ""), flush=True)
        if row is None:
            measure()
    trails = {}
    for name in _PLOTTED:
        dusk = DUSKS[name]
        trails[name] = list(watch(_filmed(name, args.seeds[0], "for the picture"), dusk))[-1]
    draw(trails, RESULTS / "dusk.png")


def days(kind: Kind, seed: int, number: int) -> None:
    """Count switches over days of a camera."""
    found = count(kind, seed, number)
    late = ([round(float(value), 1) for value in np.quantile(found.delays_s, (0.5, 0.95, 1))]
            if found.delays_s else [None] * 3)
    row = {**found._asdict(), "delays_s": {"median": late[0], "p95": late[1], "most": late[2]}}
    print(f"{number} days, seed {seed}, {kind.name}: {found.false_switches} false of {found.switches} "
          f"switches, {found.missed} of {found.moves} moves missed, delay median {late[0]} s, most {late[2]} "
          f"s, uncertain {100 * found.uncertain_s / DAY_S / number:.2f} % of the time", flush=True)
    keep("dusk", {"question": "days", "seed": seed, "camera": kind.name, **row})


def drawn(name: str, seed: int) -> None:
    """Film one dusk and look at it at every quality."""
    dusk = DUSKS[name]
    films = tee(_filmed(name, seed, name), len(_QUALITIES) + 1)
    walks = zip(*(watch(_sent(film, quality), dusk) for film, quality in zip(films, _QUALITIES, strict=False)),
                sightings(_sent(films[-1], 28)), strict=True)
    *told, sent = list(walks)[-1]   # in step, so that no film has to be kept
    figures = {str(quality or "raw"): _without_trail(one) for quality, one in zip(_QUALITIES, told, strict=True)}
    print(f"{name} ({dusk.about}), seed {seed}: " + "; ".join(
        f"{quality} delay {one['delays_s']}, {one['false_switches']} false, wrong {100 * one['wrong_share']:.1f} "
        f"%, uncertain {100 * one['uncertain_share']:.0f} %" for quality, one in figures.items())
          + f"; {sent.count} sightings, {sent.mixed} mixed, {sent.wrong} wrong", flush=True)
    keep("dusk", {"question": "drawn", "dusk": name, "seed": seed, "fps": _FPS, "by_crf": figures,
                  "sightings": asdict(sent)})


def _filmed(name: str, seed: int, note: str) -> Iterator[Drawn]:
    """A dusk as it is drawn, which is what takes the time."""
    dusk = DUSKS[name]
    with Progress("frames") as told:
        for number, one in enumerate(Stage(seed, dusk.seconds, _PEOPLE, _FPS).film(dusk), 1):
            yield one
            told(number, round(dusk.seconds * _FPS), note)


def real(clip: Path) -> None:
    """Play a real clip, its second half without colour."""
    footage = video(clip)
    frame_count = int(cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FRAME_COUNT))
    half = frame_count // 2
    at_s = half / footage.fps

    def film() -> Iterator[Drawn]:
        for index, picture in enumerate(footage.pictures()):
            at_s = index / footage.fps
            if index < half:
                yield Drawn(picture, at_s, "visible")
            else:
                grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
                yield Drawn(np.asarray(grey, np.uint8), at_s, "infrared")

    dusk = Dusk(frame_count / footage.fps, DUSKS["dusk"].moment, "", (at_s,))
    told = list(watch(film(), dusk))[-1]
    sent = list(sightings(film()))[-1]
    print(f"{clip.name}, real, without its colour from {at_s:.1f} s: {_without_trail(told)}; {sent}")
    keep("dusk", {"question": _REAL, "clip": clip.name, **_without_trail(told),
                  "sightings": asdict(sent)})


def watch(film: Iterable[Drawn], dusk: Dusk, settings: SpectrumSettings | None = None) -> Iterator[Told]:
    """Let the machine look at a film; gives what it told so far, after each frame."""
    machine, told = Spectrum(settings or SpectrumSettings()), Told([None] * len(dusk.moves))
    wrong = uncertain = 0
    for number, (image, at_s, truth) in enumerate(film, 1):
        state = machine.update(image, at_s)
        told.trail.append((at_s, chroma(image)[0], state.modality, truth))
        wrong += state.modality not in (None, truth)
        uncertain += state.modality is None
        told.wrong_share, told.uncertain_share = wrong / number, uncertain / number
        if state.switched:
            told.false_switches += state.modality != truth
            moves = [row for row, move in enumerate(dusk.moves) if move <= at_s]
            if moves and told.delays_s[moves[-1]] is None and state.modality == truth:
                told.delays_s[moves[-1]] = round(at_s - dusk.moves[moves[-1]], 2)
        yield told


def sightings(film: Iterable[Drawn]) -> Iterator[Sightings]:
    """Let the whole pipeline look at a film; gives what there is to send so far, after each frame and at the end."""
    settings = CameraSettings(name="north", source=SourceSettings(location="drawn"), detector=DetectorSettings())
    pipeline = Pipeline(settings, open_detector(settings.detector), Tally(), height=_CROP[0], width=_CROP[1],
                        first_tracklet=1)
    sent, truths = Sightings(), dict[float, Modality]()

    def note(picks: Sequence[Pick]) -> None:
        for pick in picks:
            seen = {truths[at_s] for at_s in pick.times}
            sent.count += 1
            sent.mixed += len(seen) > 1
            sent.wrong += seen != {pick.modality}

    held: Drawn | None = None
    for index, one in enumerate(film):
        truths[one.at_s] = one.truth
        note(pipeline.process(Frame(one.image, index, one.at_s, one.at_s)))
        if held is not None:
            yield sent
        held = one
    note(pipeline.end())
    yield sent


def draw(trails: dict[str, Told], path: Path) -> None:
    """Chroma over time, and below it what was told (upper band) of what was (lower band)."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - nothing else needs it

    figure = Figure(figsize=(10, 7), layout="constrained")
    colours = {"visible": "#f2c14e", "infrared": "#5b4b8a", None: "#dddddd"}
    for axes, name in zip(figure.subplots(3, 2).flat, _PLOTTED, strict=True):
        at_s, shown, told, truth = zip(*trails[name].trail, strict=True)
        step = at_s[1] - at_s[0]
        for low, states in ((0.012, truth), (0.032, told)):
            for start, state in zip(at_s, states, strict=True):
                axes.fill_between([start, start + step], low, low * 2.2, color=colours[state], linewidth=0)
        axes.plot(at_s, np.maximum(shown, 0.1), color="black", linewidth=0.9)
        axes.set(yscale="log", ylim=(0.01, 100), xlim=(0, at_s[-1]), title=f"{name}: {DUSKS[name].about}")
        axes.title.set_fontsize(8)
        axes.set_ylabel("chroma", fontsize=8)
    figure.supxlabel("seconds. Lower band: what the filter lets in; upper: what is told. Yellow visible, violet "
                     "infrared, grey uncertain", fontsize=9)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _sent(film: Iterator[Drawn], crf: int | None) -> Iterator[Drawn]:
    """A film as it comes out of a stream of a quality."""
    if crf is None:
        return film
    pictures, rest = tee(film)
    return (one._replace(image=picture) for picture, one in zip(
        coded((one.image for one in pictures), crf, _FPS), rest, strict=True))


def _without_trail(told: Told) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(told).items() if name != "trail"}


if __name__ == "__main__":
    main()
