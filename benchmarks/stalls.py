"""Each contender in a process of its own, bound to the same cores, waiting for its turn.

Threads of one library then cannot spin on a core while another is timed, and each process's memory is its own.
What is sent to a process: how often to do what with how many crops; what comes back: seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import peers
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["Contender", "Stall", "boxes_in", "environment", "opened"]

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
FRAME = (1080, 1920)


@dataclass(frozen=True)
class Contender:
    """Who is to be timed.

    Attributes:
        name: For tables.
        bundle: Of ours: the bundle's folder.
        engine: Of ours; None: a peer.
        precision: Of ours.
        folder: Of a peer: where its exports lie.
        backbone: Of a peer.
        size: Height and width of a crop.
    """

    name: str
    bundle: Path
    engine: EngineName | None
    precision: Precision
    folder: Path
    backbone: str
    size: tuple[int, int]

    @property
    def is_ours(self) -> bool:
        """Whether it is an engine of this project."""
        return self.engine is not None


class Stall:
    """A contender's process. Make it with `opened`."""

    def __init__(self, contender: Contender, cores: Sequence[int]) -> None:
        self.contender = contender
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.stalls", *map(str, cores)], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                         cwd=Path(__file__).resolve().parents[1], env=environment(len(cores)))
        self._say(asdict(contender))
        found = self._hear()
        self.lacks = found if isinstance(found, str) else ""

    def infer(self, batch: int, calls: int) -> list[float]:
        """Seconds of each of so many calls with prepared crops, after one that is not counted."""
        return [total for total, _ in self._ask("infer", batch, calls)]

    def frame(self, people: int, calls: int) -> list[tuple[float, float]]:
        """From boxes in a frame to unit vectors: seconds of all, and of preparing the crops."""
        return self._ask("frame", people, calls)

    def _ask(self, *words: object) -> list[tuple[float, float]]:
        self._say(words)
        found = self._hear()
        if isinstance(found, str):
            raise RuntimeError(f"{self.contender.name}: {found}")
        return [(total, prepared) for total, prepared in found]

    def _say(self, words: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):     # who died says nothing, and is asked in vain below
            self._process.stdin.write(json.dumps(words, default=str) + "\n")
            self._process.stdin.flush()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else "its process died"

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def environment(cores: int) -> dict[str, str]:
    """What OpenMP and OpenBLAS read when they are loaded: as for a person who has so many cores."""
    return {**os.environ, "OMP_NUM_THREADS": str(cores), "OPENBLAS_NUM_THREADS": str(cores)}


@contextmanager
def opened(contenders: Sequence[Contender], cores: int) -> Iterator[tuple[list[Stall], dict[str, str]]]:
    """Processes of all that can run on so many cores, and why the others cannot."""
    bound_to = sorted(os.sched_getaffinity(0))[:cores]
    stalls: list[Stall] = []
    try:
        stalls.extend(Stall(contender, bound_to) for contender in contenders)
        yield [stall for stall in stalls if not stall.lacks], {s.contender.name: s.lacks for s in stalls if s.lacks}
    finally:
        for stall in stalls:
            stall.close()


def boxes_in(people: int, seed: int = 0) -> F32:
    """Boxes as large as people are on a 1080p camera, ``(people, 4)``."""
    rng = np.random.default_rng(seed)
    tall = rng.uniform(100, 450, people)
    wide = tall * rng.uniform(0.35, 0.5, people)
    x, y = rng.uniform(0, FRAME[1] - wide), rng.uniform(0, FRAME[0] - tall)
    return np.stack([x, y, x + wide, y + tall], 1).astype(np.float32)


def _serve() -> None:
    """The process of a contender: told who it is, then asked again and again, in lines of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)   # whatever a library prints is no answer
    cores = tuple(map(int, sys.argv[1:]))
    os.sched_setaffinity(0, cores)

    def answer(found: object) -> None:
        answers.write(json.dumps(found) + "\n")
        answers.flush()

    told = json.loads(sys.stdin.readline())
    contender = Contender(**{**told, "bundle": Path(told["bundle"]), "folder": Path(told["folder"]),
                             "size": tuple(told["size"])})
    try:
        work = _ours(contender, len(cores)) if contender.is_ours else _peer(contender, len(cores))
    except Exception as error:  # whatever a library raises, the others go on
        answer(f"{type(error).__name__}: {error}")
        return
    answer(None)
    for line in sys.stdin:
        what, count, calls = json.loads(line)
        try:
            prepare, run = work(what, count)
            seconds = []
            for _ in range(calls + 1):
                began = time.perf_counter()
                rows = prepare()
                prepared = time.perf_counter()
                run(rows)
                seconds.append((time.perf_counter() - began, prepared - began))
            answer(seconds[1:])
        except Exception as error:
            answer(f"{type(error).__name__}: {error}")


def _scene(people: int) -> tuple[U8, F32]:
    frame = np.random.default_rng(1).integers(0, 256, (*FRAME, 3), np.uint8)
    return frame, boxes_in(people)


def _ours(contender: Contender, cores: int) -> Any:
    from cmnas_edge.bundle import Bundle  # noqa: PLC0415 - peers' processes hold nothing of ours
    from cmnas_edge.engine import open_engine  # noqa: PLC0415
    from cmnas_edge.preprocess import crops  # noqa: PLC0415

    assert contender.engine is not None
    bundle = Bundle.open(contender.bundle)
    engine = open_engine(bundle, "visible", name=contender.engine,
                         precision=contender.precision, threads=cores)

    def work(what: str, count: int) -> Any:
        frame, boxes = _scene(count)
        def prepare() -> U8:
            return crops(frame, boxes, *contender.size, definition=bundle.manifest.preprocessing)

        batch = prepare()
        return (lambda: batch) if what == "infer" else prepare, engine.embed
    return work


def _peer(contender: Contender, cores: int) -> Any:
    network = peers.load(contender.name, contender.folder, contender.backbone, cores)

    def unit_vectors(images: F32) -> F32:
        features = network(images)
        return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True))

    def work(what: str, count: int) -> Any:
        frame, boxes = _scene(count)
        if what == "frame":
            return (lambda: peers.preprocess(frame, boxes, *contender.size)), unit_vectors
        batch = peers.preprocess(frame, boxes, *contender.size)
        return (lambda: batch), network
    return work


if __name__ == "__main__":
    _serve()
