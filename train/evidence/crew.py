"""Does the runs that are left, as many at once as there are hands, and keeps each line as it comes."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, TextIO

from cmnas_edge.progress import Progress
from train.evidence.plan import Work
from train.evidence.records import Records

__all__ = ["do", "left"]

Make = Callable[..., dict[str, Any]]

_done: Synchronized[float]


def left(works: Sequence[Work], only: Iterable[str], records: Records) -> list[Work]:
    """The runs that answer some questions and have no record yet, with what they need, in the plan's order.

    Args:
        works: The plan; what a run needs stands before it.
        only: Questions or names of runs; everything if empty.
        records: What is there.

    Raises:
        ValueError: No run has such a question or name.
    """
    asked = set(only)
    unknown = asked - {work.question for work in works} - {work.name for work in works}
    if unknown:
        raise ValueError(f"--only: expected a question ({', '.join(dict.fromkeys(w.question for w in works))}) or the "
                         f"name of a run, found {', '.join(sorted(unknown))}")
    wanted = {work.name for work in works if not asked or {work.question, work.name} & asked}
    for work in reversed(works):
        if work.name in wanted and work.name not in records:
            wanted.update(work.needs)
    return [work for work in works if work.name in wanted and work.name not in records]


def do(works: Sequence[Work], folder: Path, records: Records, *, workers: int = 1, make: Make | None = None,
       out: TextIO | None = None) -> None:
    """Make every run; a Ctrl-C or a kill loses the runs under way and nothing else.

    Args:
        works: What to do, in order; what a run needs comes first or is recorded.
        folder: For networks.
        records: Grows by a line for each.
        workers: Processes, one thread each.
        make: What makes a run, in the worker: ``train.evidence.work.make`` unless said otherwise.
        out: Where progress is told, standard error unless said otherwise.

    Raises:
        Exception: Whatever a run raised; the others under way are ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    counter = context.Value("d", 0.0)
    whole = sum(work.cost for work in works)
    waiting, running = list(works), dict[Future[dict[str, Any]], Work]()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(counter,))
    try:
        with Progress("steps", out) as progress:
            while waiting or running:
                for work in [w for w in waiting if all(name in records for name in w.needs)]:
                    if len(running) == workers:
                        break
                    waiting.remove(work)
                    needed = {name: records[name] for name in work.needs}
                    running[pool.submit(_make, make, work, folder, needed)] = work
                ready, _ = wait(running, timeout=5, return_when=FIRST_COMPLETED)
                for future in ready:
                    work = running.pop(future)
                    row = future.result()
                    records.keep(row)
                    progress.say(f"{work.name}: {row['summary']}, {row['seconds']} s")
                progress(round(counter.value), round(whole), ", ".join(work.name for work in running.values()))
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(counter: Synchronized[float]) -> None:
    global _done  # noqa: PLW0603 - a worker process has one counter, given before its first run
    _done = counter
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Compute no longer for somebody who was killed and can keep nothing any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make(make: Make | None, work: Work, folder: Path, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if make is None:
        from train.evidence import work as room  # noqa: PLC0415 - the process that only waits needs no torch

        make = room.make
    told, heard = 0.0, time.monotonic()

    def tell(done: int, all_: int) -> None:
        nonlocal told, heard
        if done == all_ or time.monotonic() - heard > 1:
            share = work.cost * done / all_
            with _done.get_lock():
                _done.value += share - told
            told, heard = share, time.monotonic()

    return make(work, folder, found, tell)
