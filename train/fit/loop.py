"""The training loop: from a recipe to a checkpoint, through any number of interruptions.

What a step does follows from the recipe, the step's number and the saved state. So a run
that is stopped or killed and started again ends, on a CPU, with the very bits of a run that
was left alone.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO

import msgspec
import numpy as np
import torch

from cmnas_edge.errors import ConfigError
from cmnas_edge.progress import Progress
from train.data.crops import Crops
from train.data.drawn import Drawn
from train.evaluate import embed, score
from train.fit import lessons, sources
from train.fit.devices import Device, choose
from train.fit.distributed import World, world
from train.fit.recipe import Recipe
from train.fit.run import Run
from train.fit.trainer import Trainer
from train.networks import checkpoint

__all__ = ["commit", "final_recipe", "fit", "interruptible", "worth"]


def fit(recipe: Recipe, folder: Path, *, root: Path | None = None, cache: Path | None = None,
        device: Device = "auto", out: TextIO | None = None, stop_at: int | None = None) -> bool:
    """Train, or go on training.

    Args:
        recipe: What to do.
        folder: Of the run; see ``train.fit.run``. A state found there is picked up.
        root: Where a photographed dataset lies.
        cache: Where its decoded crops are kept; beside the run unless said otherwise.
        device: What computes.
        out: Where progress is told, standard error unless said otherwise.
        stop_at: Save and return once this step is done.

    Returns:
        True when the schedule ended, False when it was interrupted (Ctrl-C, ``stop_at``)
        with its state saved.

    Raises:
        ConfigError: The recipe cannot be carried out, or the loss left the numbers; the
            message names the step.
        BundleError: The checkpoint to start from cannot be read.
        DeviceError: A GPU is asked for where there is none.
        DiskFull: No room for the next state; the last one is whole.
    """
    if recipe.validation is not None and sources.overlap(recipe.train, recipe.validation):
        raise ConfigError("recipe: expected other people in [validation] than in [train], found some in both; "
                          "change first_identity, or the part of one")
    where = choose(device)
    with world(where) as processes:
        return _fit(recipe, folder, root, cache or folder.parent / "crops", where, processes, out, stop_at)


def _fit(recipe: Recipe, folder: Path, root: Path | None, cache: Path, device: torch.device, processes: World,
         out: TextIO | None, stop_at: int | None) -> bool:
    if not processes.leads:
        out = io.StringIO()  # one voice is enough
        processes.wait()  # the first one makes the folder, and decodes photographs
    run = Run(folder, recipe, writes=processes.leads)
    before = lessons.before(recipe.start if recipe.start_format == "checkpoint" else None)
    try:
        learnt, others, taught = _people(recipe, root, cache, out)
        if processes.leads:
            processes.wait()
        # On a CPU a step leaves no core idle; a GPU would wait for its batches.
        workers = 0 if device.type == "cpu" else max(1, min(8, (os.cpu_count() or 1) // processes.count))
        trainer = Trainer(recipe, learnt, device=device, world=processes, workers=workers)
    except ValueError as error:
        raise ConfigError(f"recipe: {error}") from error
    meta = checkpoint.Checkpoint(height=recipe.height, width=recipe.width, seed=recipe.seed, commit=commit(),
                                 data=learnt.fingerprint(), learnt=(*before, *taught))
    state, adopted = run.resume(), ""
    run.sign({"seed": recipe.seed, "commit": meta.commit, "data": meta.data, "crops": len(learnt),
              "identities": trainer.network.identities, "device": str(device), "processes": processes.count,
              "torch": str(torch.__version__)})
    if state is not None:
        trainer.load_state(state)
    elif recipe.start is not None:
        adopted = trainer.start_from(recipe.start, meta.data)
    processes.wait()  # nobody reads a state while the first one replaces it
    schedule_end = recipe.until or recipe.steps
    end = schedule_end if stop_at is None else min(stop_at, schedule_end)
    began = time.monotonic()
    kept_at = -1

    def keep() -> None:
        nonlocal kept_at
        if kept_at == trainer.step:
            return
        trainer.require_finite()
        run.save(trainer.state())
        run.keep(lambda: checkpoint.save(run.checkpoint_path, trainer.kept, meta))
        kept_at = trainer.step

    with Progress("steps", out, first=trainer.step) as progress, interruptible() as interrupted, run, closing(trainer):
        for said in filter(None, (adopted, trainer.batches.odd)):
            progress.say(said)
        while trainer.step < end and not processes.any(interrupted()):
            figures = trainer.advance()
            progress(trainer.step, schedule_end, f"loss {figures['loss']:.3g}")
            last = trainer.step == schedule_end
            minutes = round((time.monotonic() - began) / 60, 2)
            if others is not None and (last or trainer.step % recipe.evaluate_every == 0) and processes.leads:
                found = score(embed(trainer.kept, others), others)
                run.note({"step": trainer.step, "minutes": minutes, "validation": found})
                progress.say(f"step {trainer.step}, rank-1/mAP: " + ", ".join(
                    f"{pair} {row['rank1']:.1f}/{row['mean_ap']:.1f}" for pair, row in found.items()))
            if last or trainer.step % recipe.checkpoint_every == 0:
                run.note({"step": trainer.step, "minutes": minutes, **figures})
                keep()
        keep()
    return trainer.step == schedule_end


def worth(found: Mapping[str, Mapping[str, float]]) -> float:
    """One number to choose a step by: mAP, averaged over the pairs that cross modalities where there are any."""
    crossing = [pair for pair in found if len(set(pair.split("-"))) == 2]
    return float(np.mean([found[pair]["mean_ap"] for pair in crossing or found]))


def final_recipe(recipe: Recipe, chosen_in: Path) -> Recipe:
    """The recipe that learns from everybody and ends where validation was best.

    Args:
        recipe: With people to validate on.
        chosen_in: Folder of a finished run by it.

    Returns:
        The same with ``final`` and ``until`` set; whoever was validated on is learnt from.

    Raises:
        ConfigError: The run is of another recipe, is not finished, or has scored nobody.
    """
    run = Run(chosen_in, recipe, writes=False)
    scored = {row["step"]: worth(row["validation"]) for row in run.rows() if row.get("validation")}
    if recipe.steps not in scored:
        raise ConfigError(f"{chosen_in}: expected a finished run with people validated on, found scores up to step "
                          f"{max(scored, default=0)} of {recipe.steps}; run the recipe without --final first")
    best = max(scored, key=lambda step: (scored[step], -step))
    return msgspec.structs.replace(recipe, final=True, until=best)


def _people(recipe: Recipe, root: Path | None, cache: Path,
            out: TextIO | None) -> tuple[Crops, Crops | None, tuple[checkpoint.Lesson, ...]]:
    """Whom to learn from, whom to score, and what the checkpoint says of it; nobody else's picture is opened."""
    wanted: tuple[sources.Source, ...] = (recipe.train,)
    if recipe.final:
        if recipe.validation is None:
            raise ConfigError("recipe: expected [validation] to learn from as well, found none; drop final")
        wanted = sources.everybody(recipe.train, recipe.validation)
    sets = []
    for source in wanted:
        with Progress("people drawn" if isinstance(source, Drawn) else "crops decoded", out) as progress:
            sets.append(sources.read(source, recipe.height, recipe.width, root=root, cache=cache, progress=progress))
    learnt = sources.together(tuple(sets))
    taught = tuple(lessons.lesson(source, crops, sources.world(source, root))
                   for source, crops in zip(wanted, sets, strict=True))
    if recipe.validation is None or recipe.final:
        return learnt, None, taught
    others = sources.judges(recipe.validation, recipe.train, learnt, recipe.height, recipe.width, root=root,
                            cache=cache)
    return learnt, others, taught


def commit() -> str:
    """The checkout's commit, marked when files differ from it; "unknown" without git."""
    here = Path(__file__).parent
    try:
        return subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], cwd=here,
                              capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C asks to stop after the step; the second one is Python's own."""
    asked = False
    before = signal.getsignal(signal.SIGINT)

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    try:
        signal.signal(signal.SIGINT, stop)
    except ValueError:  # not in the main thread: nobody presses Ctrl-C here
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
