"""One way to run a bundle, as a race asks for it: opened, held against the golden embeddings, timed.

What is raced is code of others: it may crash, or never answer. So a race gives each contestant a process of its own
(`Apart`), which serves what is asked of `Here` over a pipe. Whoever does not answer within the limit, or dies, is out
and says why; whoever is left is told nothing of it. Such a process ends with the race, however that ends.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import Modality
from cmnas_edge.engine import Engine, check_golden, open_engine
from cmnas_edge.engine.process import Process, command, end_with_parent
from cmnas_edge.engine.results import Entrant
from cmnas_edge.errors import CmnasError, DeviceError

__all__ = ["LIMIT_S", "Apart", "Contestant", "Here", "Open", "serve", "serve_engine", "told"]

Open = Callable[[Modality], Engine]     # makes an engine runnable for a modality; raises a CmnasError if it cannot be
LIMIT_S = 120.0     # compiling a large graph, or four batches of 1,024 crops, take half of it on a slow processor
_CALLS = 3      # timed in a row, after one that fetches weights into the caches again


class Contestant(Protocol):
    """What a race asks. Anything may be raised; whoever raises is out."""

    def open(self, modality: Modality) -> None:
        """Make its graph of a modality runnable."""

    def agreement(self, modality: Modality, batch: int) -> float:
        """Least cosine with a golden embedding, at so many crops at once.

        Raises:
            BundleError: It is beyond what the bundle allows.
        """

    def resident_mb(self) -> float:
        """Memory of the process it runs in, in 1e6 bytes; NaN where the system does not say."""

    def seconds(self, batch: int) -> list[float]:
        """How long some calls in a row take, with so many visible crops each."""

    def shut(self, modality: Modality) -> None:
        """Free a graph again; harmless if it is none."""

    def close(self) -> None:
        """Free everything; again is harmless."""


class Here:
    """A contestant in this process.

    Args:
        bundle: What it runs.
        open_: How.
        clock: Seconds.
    """

    def __init__(self, bundle: Bundle, open_: Open, clock: Callable[[], float] = time.perf_counter) -> None:
        self._bundle = bundle
        self._open = open_
        self._clock = clock
        self._engines: dict[Modality, Engine] = {}

    def open(self, modality: Modality) -> None:
        """See `Contestant`."""
        self._engines[modality] = self._open(modality)

    def agreement(self, modality: Modality, batch: int) -> float:
        """See `Contestant`."""
        engine = self._engines[modality]
        check_golden(engine, self._bundle, modality, batch)
        crops, expected = self._bundle.golden(modality)
        index = np.arange(batch) % len(crops)
        return float((engine.embed(crops[index]).astype(np.float64) * expected[index]).sum(1).min())

    def resident_mb(self) -> float:
        """See `Contestant`."""
        try:
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        except OSError:
            return math.nan
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def seconds(self, batch: int) -> list[float]:
        """See `Contestant`."""
        crops, _ = self._bundle.golden("visible")
        rows = crops[np.arange(batch) % len(crops)]
        engine = self._engines["visible"]
        engine.embed(rows)
        took = []
        for _ in range(_CALLS):
            began = self._clock()
            engine.embed(rows)
            took.append(self._clock() - began)
        return took

    def shut(self, modality: Modality) -> None:
        """See `Contestant`."""
        if engine := self._engines.pop(modality, None):
            engine.close()

    def close(self) -> None:
        """See `Contestant`."""
        for modality in tuple(self._engines):
            self.shut(modality)


class _Ask(msgspec.Struct, array_like=True):
    what: str
    modality: Modality = "visible"
    batch: int = 0


class _Answer(msgspec.Struct, array_like=True):
    figures: list[float | None] = []    # None: not a number
    failed: str | None = None


class Apart:
    """A contestant in a process of its own; closed, or with this process, it ends.

    Args:
        words: Start a process that calls `serve`; the number of its end of the pipe is added.
        limit_s: Longest it may take for one answer, its start included.

    Raises:
        DeviceError: From any method: it gave no answer in time, died, or said that it failed.
    """

    def __init__(self, words: Sequence[str], limit_s: float = LIMIT_S) -> None:
        self.process = Process(words, limit_s, "cmnas-edge engine race --limit-s")

    @classmethod
    def of(cls, bundle: Bundle, entrant: Entrant, *, threads: int, max_batch: int, limit_s: float = LIMIT_S) -> Apart:
        """One of ours, running a bundle."""
        return cls(command("cmnas_edge.engine.contestant", "serve_engine", str(bundle.path), *entrant, str(threads),
                           str(max_batch)), limit_s)

    def open(self, modality: Modality) -> None:
        """See `Contestant`."""
        self._ask(_Ask("open", modality), f"opening its {modality} graph")

    def agreement(self, modality: Modality, batch: int) -> float:
        """See `Contestant`."""
        (cosine,) = self._ask(_Ask("agreement", modality, batch), f"embedding {batch} {modality} crops at once")
        return cosine

    def resident_mb(self) -> float:
        """See `Contestant`."""
        (mb,) = self._ask(_Ask("resident_mb"), "counting its memory")
        return mb

    def seconds(self, batch: int) -> list[float]:
        """See `Contestant`."""
        return self._ask(_Ask("seconds", batch=batch), f"being timed, {batch} crops at once")

    def shut(self, modality: Modality) -> None:
        """See `Contestant`."""
        self._ask(_Ask("shut", modality), f"closing its {modality} graph")

    def close(self) -> None:
        """See `Contestant`."""
        self.process.close()

    def _ask(self, ask: _Ask, doing: str) -> list[float]:
        self.process.send(msgspec.json.encode(ask), doing)
        answer = msgspec.json.decode(self.process.receive(doing), type=_Answer)
        if answer.failed is not None:
            raise DeviceError(answer.failed)
        return [math.nan if figure is None else figure for figure in answer.figures]


def serve(contestant: Contestant, pipe: Connection) -> None:
    """Do what an `Apart` in another process asks, until that process closes its end, or ends."""
    end_with_parent()
    with contextlib.suppress(EOFError, ConnectionError), pipe:
        while True:
            ask = msgspec.json.decode(pipe.recv_bytes(), type=_Ask)
            try:
                answer = _Answer(_done(contestant, ask))
            except Exception as error:  # whatever a library raises, the race goes on without it
                answer = _Answer(failed=told(error))
            pipe.send_bytes(msgspec.json.encode(answer))


def _done(contestant: Contestant, ask: _Ask) -> list[float | None]:
    if ask.what == "open":
        contestant.open(ask.modality)
    elif ask.what == "agreement":
        return [contestant.agreement(ask.modality, ask.batch)]
    elif ask.what == "resident_mb":
        return [contestant.resident_mb()]
    elif ask.what == "seconds":
        return [*contestant.seconds(ask.batch)]
    elif ask.what == "shut":
        contestant.shut(ask.modality)
    else:
        raise ValueError(f"expected what a contestant does, found {ask.what!r}")
    return []


def serve_engine(path: str, engine: str, precision: str, threads: str, max_batch: str, pipe: str) -> None:
    """Serve one of our engines; what `Apart.of` starts, with the words it adds."""
    try:
        bundle = Bundle.open(Path(path))
    except CmnasError as error:     # it was whole a moment ago
        sys.exit(str(error))
    entrant = msgspec.convert((engine, precision), Entrant)

    def open_(modality: Modality) -> Engine:
        return open_engine(bundle, modality, name=entrant.engine, precision=entrant.precision, threads=int(threads),
                           max_batch=int(max_batch))

    serve(Here(bundle, open_), Connection(int(pipe)))


def told(error: Exception) -> str:
    """An error as a row of the race says it."""
    said = str(error) or "no reason given"
    return said if isinstance(error, CmnasError) else f"broke: {type(error).__name__}: {said}"
