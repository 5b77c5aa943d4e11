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
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import ENGINES
from cmnas_edge.engine.contestant import LIMIT_S, Apart, Contestant, told
from cmnas_edge.engine.results import Entrant, Machine, Race, Row, bundle_digest
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["TIE", "Candidate", "candidates", "choose", "race", "run_race"]

TIE = 1.03
_log = logging.getLogger("cmnas.race")
_PRECISE_FIRST: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8_fp16", "int8")
_MODULES: dict[EngineName, str] = {"onnxruntime": "onnx_runtime", "openvino": "openvino", "tensorrt": "tensorrt"}


@dataclass(frozen=True)
class Candidate:
    """A way to run a bundle.

    Attributes:
        entrant: Engine and precision.
        start: Brings it to the race.
        excluded: Why it may not or cannot run; None if it can.
    """

    entrant: Entrant
    start: Callable[[], Contestant]
    excluded: str | None = None


@dataclass
class _Runner:
    """A candidate in the race: started, and held against the golden embeddings."""

    candidate: Candidate
    contestant: Contestant | None
    row: Row
    seconds: dict[int, list[float]]


def candidates(bundle: Bundle, *, threads: int, max_batch: int, limit_s: float = LIMIT_S) -> list[Candidate]:
    """Every engine and precision there is, with the reason where this device or this bundle lacks it.

    Args:
        bundle: What they are to run, each in a process of its own.
        threads: Of each engine.
        max_batch: Most crops at once.
        limit_s: Longest that one may be silent: starting and opened, checked, or timed at one number of crops.
    """
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
            entrant = Entrant(name, precision)
            found.append(Candidate(entrant, partial(Apart.of, bundle, entrant, threads=threads, max_batch=max_batch,
                                                    limit_s=limit_s), excluded))
    return found


def race(bundle: Bundle, entrants: Sequence[Candidate], *, batches: Sequence[int], rounds: int,
         previous: Entrant | None = None, say: Callable[[str], None] = _log.info
         ) -> tuple[list[Row], Entrant | None]:
    """Hold candidates against the golden embeddings, time those that agree, and choose.

    Args:
        bundle: What they run.
        entrants: See `candidates`.
        batches: Numbers of crops at once, each at least 1.
        rounds: Times each is measured; medians count.
        previous: Winner of the race that was kept before.
        say: Told of progress, a line at a time.

    Returns:
        A row for each candidate, in their order, and the winner; None if none may serve.
    """
    with ExitStack() as stack:
        runners = [_opened(bundle, candidate, batches, stack, say) for candidate in entrants]
        for number in range(rounds):
            # Whoever comes first in one round comes last in another: nobody always follows the slowest.
            turn = number % max(1, len(runners))
            for batch in batches:
                for runner in runners[turn:] + runners[:turn]:
                    _timed(runner, batch)
        for runner in runners:
            _held(runner, batches)
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
        runner.contestant = it = stack.enter_context(closing(candidate.start()))
        it.open("visible")
        worst = [it.agreement("visible", batch) for batch in batches]   # an engine may be wrong at one of them alone
        before = it.resident_mb()   # the library is loaded by now, and nothing was given back that could be used again
        it.open("infrared")
        worst += [it.agreement("infrared", batch) for batch in batches]
        row.mb = it.resident_mb() - before
        row.cosine = min(worst)
        it.shut("infrared")
    except Exception as error:  # whatever a library raises, the race goes on without it
        _out(runner, error)
    return runner


def _timed(runner: _Runner, batch: int) -> None:
    if runner.contestant is not None:
        try:
            runner.seconds[batch] += runner.contestant.seconds(batch)
        except Exception as error:
            _out(runner, error)


def _held(runner: _Runner, batches: Iterable[int]) -> None:
    """See whether an engine still gives the golden embeddings after all that."""
    if runner.contestant is not None:
        try:
            for batch in batches:
                runner.contestant.agreement("visible", batch)
        except Exception as error:
            _out(runner, error)


def _out(runner: _Runner, error: Exception) -> None:
    """Take a runner out of the race; its row says why."""
    runner.row.verdict = told(error)
    if runner.contestant is not None:
        runner.contestant.close()
        runner.contestant = None


def _judged(runners: Sequence[_Runner], batches: Sequence[int], previous: Entrant | None
            ) -> tuple[list[Row], Entrant | None]:
    cost = {}
    for runner in runners:
        if runner.contestant is not None:
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
