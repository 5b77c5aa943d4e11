"""Search, train and score, as often as it takes to say how sure a table is; beside the rows of others.

A line of work is one seed (and one split) of one scheme of norms: ``searched`` searches first, others take
the scheme by its name. Its jobs are commands of this project, each in a process of its own, one line per GPU at a
time. What a job makes lies in the line's folder with a note once it ended, so the same command goes on where
the last one stopped::

    OUT/<scheme>_<split>_<seed>/recipe.toml, search.toml    what the line starts from; never another once it began
    OUT/<scheme>_<split>_<seed>/search, choose, run     folders of `train.fit.run`
    OUT/<scheme>_<split>_<seed>/<job>.done, .log, figures.json
    OUT/table.md, table.tex

RegDB is searched anew on each split: people tested in one are trained on in another.
"""

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
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, TextIO

import msgspec
from msgspec.structs import replace as replaced

from cmnas_edge import config
from cmnas_edge.errors import CmnasError, ConfigError, Transient
from cmnas_edge.progress import Progress
from train.data.drawn import Drawn
from train.fit.recipe import Recipe, varied
from train.fit.run import by_content, kept, unwritable
from train.fit.sources import Regdb
from train.protocols.rows import Row, over_models
from train.search.recipe import SearchRecipe

__all__ = ["SCHEMES", "Job", "Plan", "Work", "carry_out", "figures", "plan"]

Scheme = Literal["searched", "shared", "split", "split_statistics"]
SCHEMES: tuple[Scheme, ...] = ("searched", "shared", "split", "split_statistics")
Runner = Callable[[Sequence[str], Mapping[str, str], Path], int]


class Job(NamedTuple):
    """A command of ``python -m train``, and what it is called."""

    name: str
    words: tuple[str, ...]


class Work(NamedTuple):
    """Jobs that follow each other.

    Attributes:
        scheme: Of the norms.
        split: Of RegDB; 0 elsewhere.
        seed: Of search and training.
        folder: What they leave.
        jobs: In their order; the last writes ``figures.json``.
    """

    scheme: Scheme
    split: int
    seed: int
    folder: Path
    jobs: tuple[Job, ...]


class Plan(NamedTuple):
    """Everything there is to do.

    Attributes:
        folder: Of all of it.
        work: In no order.
    """

    folder: Path
    work: tuple[Work, ...]


def plan(recipe: Recipe, search: SearchRecipe, folder: Path, *, seeds: int = 1,
         schemes: Sequence[Scheme] = ("searched",), root: Path | None = None, device: str = "auto",
         flags: Sequence[str] = ()) -> Plan:
    """Say what there is to do, and write down the recipes of it.

    Args:
        recipe: Of the training. One with validation people chooses its last step on them, and learns from all.
        search: Of the search; its people and start are replaced by those of ``recipe`` where these are of a dataset.
        folder: Of all of it.
        seeds: 0, 1, ... for each scheme and split.
        schemes: Which norms are compared.
        root: Where the dataset lies.
        device: What computes.
        flags: Further words for ``evaluate``.

    Raises:
        ConfigError: The folder cannot be written or began with other recipes, or recipes and folder do not belong
            together; nothing was written then.
        DiskFull: There is no room for the recipes.
    """
    drawn = isinstance(recipe.train, Drawn)
    if not drawn and root is None:
        raise ConfigError("reproduce: expected the folder of the dataset, found none; add --data ROOT")
    if "searched" in schemes and search.backbone != recipe.backbone:
        raise ConfigError(f"reproduce: expected a search on {recipe.backbone}, the backbone that is trained, found one "
                          f"on {search.backbone}; give recipes of one backbone")
    splits = range(1, 11) if isinstance(recipe.train, Regdb) else (0,)
    data = () if root is None else ("--data", str(root), "--cache", str(folder / "crops"))
    work = []
    texts: dict[Path, msgspec.Struct] = {}
    for split in splits:
        for seed in range(seeds):
            of = varied(recipe, seed=seed, trial=split or None)
            for scheme in schemes:
                where = folder / f"{scheme}_{split}_{seed}"
                jobs = []
                arch: tuple[str, ...] = ()
                mine = of
                if scheme == "searched":
                    path = where / "search.toml"
                    texts[path] = _searching(search, of)
                    jobs.append(Job("search", ("search", str(path), "--out", str(where / "search"), *data)))
                    arch = ("--arch", str(where / "search" / "arch.json"))
                else:
                    mine = replaced(of, norms=scheme, arch=None)
                path = where / "recipe.toml"
                texts[path] = mine
                fit = ("fit", str(path), *arch, *data)
                if mine.validation is None or drawn:
                    jobs.append(Job("fit", (*fit, "--out", str(where / "run"))))
                else:
                    jobs += [Job("choose", (*fit, "--out", str(where / "choose"))),
                             Job("fit", (*fit, "--out", str(where / "run"), "--final", str(where / "choose")))]
                test = ("--trial", str(split)) if split else ()
                jobs.append(Job("evaluate", (
                    "evaluate", str(where / "run" / "last.safetensors"), "--json", str(where / "figures.json"),
                    *data, *test, *flags)))
                work.append(Work(scheme, split, seed, where, tuple(
                    Job(job.name, (*job.words, "--device", device)) for job in jobs)))
    for path, text in texts.items():
        _allow(path, text)
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")  # half a recipe would be another one
            part.write_text(config.show(text), "utf-8")
            part.replace(path)
        except OSError as error:
            raise unwritable(path, "a recipe", error) from error
    return Plan(folder, tuple(work))


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


def figures(what: Plan) -> list[Row]:
    """What came of everything that is done: the lines of each scheme, over its splits, then over its seeds.

    Raises:
        ConfigError: Figures of a job cannot be read, or were made by other protocols than those of the rest.
    """
    found: list[Row] = []
    for scheme in dict.fromkeys(work.scheme for work in what.work):
        by_seed: dict[int, list[list[Row]]] = {}
        for work in what.work:
            if work.scheme == scheme and (work.folder / "figures.json").exists():
                by_seed.setdefault(work.seed, []).append(_figures(work.folder / "figures.json", scheme))
        if not by_seed:
            continue
        split = any(work.split for work in what.work)
        try:
            if split and len({len(reports) for reports in by_seed.values()}) == 1:
                seeds = [over_models(reports, "splits") for reports in by_seed.values()]
                found += over_models(seeds, "seeds")
            else:  # a seed that lacks splits would count as much as one that has all of them
                models = [report for reports in by_seed.values() for report in reports]
                found += over_models(models, "models" if split else "seeds")
        except ValueError as error:
            raise ConfigError(f"{what.folder}: {error}; delete the evaluate.done of those that differ, and give the "
                              "same command again") from error
    return found


def _figures(path: Path, scheme: Scheme) -> list[Row]:
    try:
        return [replace(Row.from_json(row), system=scheme) for row in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path}: expected figures as python -m train evaluate keeps them, found others; delete it "
                          "and the evaluate.done beside it, and give the same command again") from error


def _searching(search: SearchRecipe, recipe: Recipe) -> SearchRecipe:
    """The search with the seed of a training, and on its dataset, of whose validation people it learns nothing."""
    search = replaced(search, seed=recipe.seed)
    if isinstance(recipe.train, Drawn):
        return search
    of = {key: replaced(recipe.train, part=key) for key in ("train", "validation")}
    if recipe.start is not None:
        search = replaced(search, start=recipe.start, start_format=recipe.start_format)
    return replaced(search, **of)


def _allow(path: Path, recipe: msgspec.Struct) -> None:
    """Refuse a recipe where jobs of another one began: what they left would pass for what this one brings."""
    folder, kind = path.parent, type(recipe)
    jobs, runs = (("search", "choose", "fit", "evaluate"), ("search",)) if kind is SearchRecipe else (
        ("choose", "fit", "evaluate"), ("choose", "run"))
    begun = [run for name in runs if (run := folder / name / "recipe.toml").exists()
             and run.with_name("state.pt").exists()]
    if not begun and not any((folder / f"{name}.done").exists() for name in jobs):
        return
    was = kept(path, kind) if path.exists() else None
    same = was is not None and replaced(was, start=None) == replaced(recipe, start=None)
    if begun:  # their copies name the weights by content, so these may have moved
        known = {_start(by_content(recipe)), _start(recipe)}
        same = same and all(_start(kept(run, kind)) in known for run in begun)
    if not same or (not begun and _start(was) != _start(recipe)):
        raise ConfigError(f"{path}: expected the recipe that this line of work began with, found another one given "
                          f"now; choose another --out, or delete {folder} to start over")


def _start(recipe: msgspec.Struct | None) -> Path | None:
    return getattr(recipe, "start", None)


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
        raise unwritable(work.folder, "what a job leaves", error) from error


def _in_a_process(words: Sequence[str], env: Mapping[str, str], log: Path) -> int:
    # Ctrl-C reaches the job, too: it saves its state and ends, and so does the wait for it.
    with log.open("ab") as file:
        return subprocess.run([sys.executable, "-m", "train", *words], env={**os.environ, **env}, stdout=file,
                              stderr=file, cwd=Path(__file__).parents[1], check=False).returncode
