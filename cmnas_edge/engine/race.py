"""Which engine and precision are fastest on this device for this bundle, among those that may serve?

No fixed answer is right: it depends on the network, the processor, the number of crops at once and the libraries'
versions. So every combination this device has is held against the golden embeddings at each batch size, and those
that pass are timed in turns, so that a busy machine slows all of them alike.

What decides is the geometric mean of the median milliseconds per crop over the batch sizes. Who is within 3 % of the
fastest ties with it. Of a tie the most precise wins, then the engine named first in `ENGINES`; but a winner that was
kept stays one unless another is faster by more than ``1.03**2``. So as long as two races differ by less than 3 % in
how any two candidates compare, both have the same winner.
"""

from __future__ import annotations

import logging
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import Modality
from cmnas_edge.engine import ENGINES, Engine, check_golden, open_engine
from cmnas_edge.engine.results import Entrant, Machine, Race, Row, bundle_digest
from cmnas_edge.errors import CmnasError
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["TIE", "Candidate", "candidates", "choose", "race", "run_race"]

U8 = npt.NDArray[np.uint8]
TIE = 1.03
_log = logging.getLogger("cmnas.race")
_PRECISE_FIRST: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8_fp16", "int8")
_MODULES: dict[EngineName, str] = {"onnxruntime": "onnx_runtime", "openvino": "openvino", "tensorrt": "tensorrt"}
_CALLS = 3      # timed in a row, after one that fetches weights into the caches again


@dataclass(frozen=True)
class Candidate:
    """A way to run a bundle.

    Attributes:
        entrant: Engine and precision.
        open: Makes it runnable for a modality; raises a `CmnasError` if it cannot be.
        excluded: Why it may not or cannot run; None if it can.
    """

    entrant: Entrant
    open: Callable[[Modality], Engine]
    excluded: str | None = None


@dataclass
class _Runner:
    """A candidate in the race: opened and held against the golden embeddings."""

    candidate: Candidate
    engine: Engine | None
    row: Row
    seconds: dict[int, list[float]]


def candidates(bundle: Bundle, *, threads: int, max_batch: int) -> list[Candidate]:
    """Every engine and precision there is, with the reason where this device or this bundle lacks it."""
    found = []
    for name in ENGINES:
        module = import_module(f"cmnas_edge.engine.{_MODULES[name]}")
        lacks = module.missing()
        for precision in module.RUNS:
            excluded = None
            if precision not in bundle.precisions:
                reason = bundle.manifest.refused.get(precision)
                excluded = f"refused: {reason}" if reason else "the bundle has no such graph"
            elif lacks:
                excluded = f"needs {lacks}"
            found.append(Candidate(Entrant(name, precision), partial(
                open_engine, bundle, name=name, precision=precision, threads=threads, max_batch=max_batch), excluded))
    return found


def race(bundle: Bundle, entrants: Sequence[Candidate], *, batches: Sequence[int], rounds: int,
         previous: Entrant | None = None, clock: Callable[[], float] = time.perf_counter,
         say: Callable[[str], None] = _log.info) -> tuple[list[Row], Entrant | None]:
    """Hold candidates against the golden embeddings, time those that agree, and choose.

    Args:
        bundle: What they run.
        entrants: See `candidates`.
        batches: Numbers of crops at once, each at least 1.
        rounds: Times each is measured; medians count.
        previous: Winner of the race that was kept before.
        clock: Seconds.
        say: Told of progress, a line at a time.

    Returns:
        A row for each candidate, in their order, and the winner; None if none may serve.
    """
    with ExitStack() as stack:
        runners = [_opened(bundle, candidate, batches, stack, say) for candidate in entrants]
        crops, _ = bundle.golden("visible")
        for number in range(rounds):
            # Whoever comes first in one round comes last in another: nobody always follows the slowest.
            turn = number % max(1, len(runners))
            for batch in batches:
                rows = crops[np.arange(batch) % len(crops)]
                for runner in runners[turn:] + runners[:turn]:
                    _timed(runner, rows, clock)
        for runner in runners:
            _held(runner, bundle, batches)
    return _judged(runners, batches, previous)


def run_race(bundle: Bundle, entrants: Sequence[Candidate], here: Machine, *, batches: Sequence[int], threads: int,
             rounds: int, previous: Entrant | None = None, say: Callable[[str], None] = _log.info) -> Race:
    """As `race`, with what it was run on and when; to be kept if it has a winner."""
    rows, winner = race(bundle, entrants, batches=batches, rounds=rounds, previous=previous, say=say)
    return Race(date=time.strftime("%Y-%m-%d", time.gmtime()), name=bundle.name, bundle=bundle_digest(bundle),
                machine=here, threads=threads, rounds=rounds, batches=tuple(batches), rows=tuple(rows), winner=winner)


def choose(cost: dict[Entrant, float], previous: Entrant | None = None) -> Entrant:
    """The winner among those that may serve; the rule stands at the top of this file.

    Args:
        cost: Milliseconds per crop; at least one.
        previous: Winner of the race before.
    """
    fastest = min(cost.values())
    if previous in cost and cost[previous] <= TIE**2 * fastest:
        return previous
    tied = [entrant for entrant, ms in cost.items() if ms <= TIE * fastest]
    return min(tied, key=lambda it: (_PRECISE_FIRST.index(it.precision), ENGINES.index(it.engine)))


def _opened(bundle: Bundle, candidate: Candidate, batches: Sequence[int], stack: ExitStack,
            say: Callable[[str], None]) -> _Runner:
    entrant = candidate.entrant
    row = Row(entrant, candidate.excluded or "", drop=_drop(bundle, entrant.precision))
    runner = _Runner(candidate, None, row, {batch: [] for batch in batches})
    if candidate.excluded:
        return runner
    say(f"{entrant}: opened and held against the golden embeddings")
    try:
        runner.engine = stack.enter_context(candidate.open("visible"))
        worst = _worst_cosine(runner.engine, bundle, "visible", batches)
        before = _resident_mb()     # the library is loaded by now, and nothing was given back that could be used again
        with candidate.open("infrared") as other:
            worst = min(worst, _worst_cosine(other, bundle, "infrared", batches))
            row.mb = _resident_mb() - before
        row.cosine = worst
    except Exception as error:  # whatever a library raises, the race goes on without it
        _out(runner, error)
    return runner


def _worst_cosine(engine: Engine, bundle: Bundle, modality: Modality, batches: Iterable[int]) -> float:
    """Least cosine with a golden embedding, at every batch size: an engine may be wrong at one of them alone."""
    crops, expected = bundle.golden(modality)
    worst = 1.0
    for batch in batches:
        check_golden(engine, bundle, modality, batch)
        index = np.arange(batch) % len(crops)
        worst = min(worst, float((engine.embed(crops[index]).astype(np.float64) * expected[index]).sum(1).min()))
    return worst


def _timed(runner: _Runner, rows: U8, clock: Callable[[], float]) -> None:
    if runner.engine is None:
        return
    try:
        runner.engine.embed(rows)
        for _ in range(_CALLS):
            began = clock()
            runner.engine.embed(rows)
            runner.seconds[len(rows)].append(clock() - began)
    except Exception as error:
        _out(runner, error)


def _held(runner: _Runner, bundle: Bundle, batches: Iterable[int]) -> None:
    """See whether an engine still gives the golden embeddings after all that."""
    if runner.engine is not None:
        try:
            _worst_cosine(runner.engine, bundle, "visible", batches)
        except Exception as error:
            _out(runner, error)


def _out(runner: _Runner, error: Exception) -> None:
    """Take a runner out of the race; its row says why."""
    said = str(error) or "no reason given"
    runner.row.verdict = said if isinstance(error, CmnasError) else f"broke: {type(error).__name__}: {said}"
    if runner.engine is not None:
        runner.engine.close()
        runner.engine = None


def _judged(runners: Sequence[_Runner], batches: Sequence[int], previous: Entrant | None
            ) -> tuple[list[Row], Entrant | None]:
    cost = {}
    for runner in runners:
        if runner.engine is not None:
            runner.row.ms = {batch: 1000 * statistics.median(runner.seconds[batch]) for batch in batches}
            cost[runner.candidate.entrant] = runner.row.ms_per_crop
    winner = choose(cost, previous) if cost else None
    for entrant, ms in cost.items():
        row = next(runner.row for runner in runners if runner.candidate.entrant == entrant)
        ratio = ms / min(cost.values())
        if entrant == winner:
            row.verdict = "wins" + ("" if ratio == 1 else f" (within {ratio - 1:.1%} of the fastest, see the rule)")
        else:
            row.verdict = f"{ratio:.2f}x the time of the fastest" if ratio > 1 else "fastest, but ties with the winner"
    return [runner.row for runner in runners], winner


def _drop(bundle: Bundle, precision: Precision) -> float | None:
    """Points of rank-1 lost in the worst direction, as the gate measured."""
    if precision == "fp32":
        return 0.0
    variant = bundle.manifest.variants.get(precision)
    return max((loss.drop for loss in variant.gate.rank1.values()), default=math.nan) if variant else None


def _resident_mb() -> float:
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return math.nan
