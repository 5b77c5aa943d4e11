"""The jobs of a plan carried out: each once, in a process of its own, one line of work per GPU at a time."""

from __future__ import annotations

import json
import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from cmnas_edge.errors import CmnasError, ConfigError, Transient, unwritable
from cmnas_edge.progress import Progress
from train.reproduce.plan import Job, Plan, Work

__all__ = ["Runner", "carry_out"]

Runner = Callable[[Sequence[str], Mapping[str, str], Path], int]


def carry_out(what: Plan, *, gpus: Sequence[int] = (), out: TextIO | None = None, runner: Runner | None = None) -> None:
    """Do whatever is not done yet.

    Args:
        what: To do.
        gpus: One line of work at a time on each; with none, one at a time.
        out: Where progress is told, standard error unless said otherwise.
        runner: Runs a command with additions to the environment and a file for what it says, and returns its
            exit code; in a process of its own unless told otherwise.

    Raises:
        Transient: A job met a full disk, or what else may pass.
        ConfigError: A job failed; the message says which, why, and where its log is. Jobs that are under way
            end first.
        KeyboardInterrupt: Somebody pressed Ctrl-C; jobs have saved where they are.
    """
    places: queue.Queue[int | None] = queue.Queue()
    for place in gpus or (None,):
        places.put(place)
    jobs = sum(len(work.jobs) for work in what.work)
    lock, stop = threading.Lock(), threading.Event()
    done = 0
    with Progress("jobs", out) as progress:
        def one(work: Work) -> None:
            nonlocal done
            place = places.get()
            # A fixed name for the GPU: within the job it is the only one there is.
            env = {} if place is None else {"CUDA_VISIBLE_DEVICES": str(place)}
            try:
                for job in work.jobs:
                    if stop.is_set():
                        return
                    _do(work, job, env, runner or _in_a_process)
                    with lock:
                        done += 1
                        progress(done, jobs, f"{work.folder.name} {job.name}")
            except BaseException:
                stop.set()
                raise
            finally:
                places.put(place)

        with ThreadPoolExecutor(max(1, len(gpus))) as pool:
            futures = [pool.submit(one, work) for work in what.work]
            try:
                for future in futures:
                    future.result()
            finally:
                stop.set()


def _do(work: Work, job: Job, env: Mapping[str, str], runner: Runner) -> None:
    """Run a job unless it is done."""
    note = work.folder / f"{job.name}.done"
    command = shlex.join(("python", "-m", "train", *job.words))
    try:
        if note.exists() and json.loads(note.read_text())["command"] == command:
            return
        log = work.folder / f"{job.name}.log"
        began = time.time()
        code = runner(job.words, env, log)
        if code == 130:
            raise KeyboardInterrupt
        if code:
            said = log.read_text("utf-8", "replace").strip().splitlines() if log.exists() else []
            failure: type[CmnasError] = Transient if code == Transient.exit_code else ConfigError
            raise failure(f"{command}: expected it to end well, found exit code {code}: "
                          f"{said[-1] if said else 'it said nothing'}; see {log}, then give the same command again")
        part = note.with_suffix(".part")
        part.write_text(json.dumps({"command": command, "seconds": round(time.time() - began)}) + "\n")
        part.replace(note)
    except OSError as error:
        raise unwritable(work.folder, "what a job leaves", error, "choose another --out") from error


def _in_a_process(words: Sequence[str], env: Mapping[str, str], log: Path) -> int:
    # Ctrl-C reaches the job, too: it saves its state and ends, and so does the wait for it.
    with log.open("ab") as file:
        return subprocess.run([sys.executable, "-m", "train", *words], env={**os.environ, **env}, stdout=file,
                              stderr=file, cwd=Path(__file__).parents[2], check=False).returncode
