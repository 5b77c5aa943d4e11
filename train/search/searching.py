"""From a search recipe to an architecture, through any number of interruptions.

::

    RUN/recipe.toml  run.json  log.jsonl  state.pt  tensorboard/    as a training's (`train.fit.run`)
    RUN/arch.json            what was decided, how surely, and what it costs; ``recipe.arch`` takes it
    RUN/decisions.png        the same along the depth of the network
    RUN/bytes.png            worth against bytes, of other decisions the same preference allows
    RUN/last.safetensors     the decided network with the supernet's weights: a start, not a result

A run that is stopped or killed and started again ends, on a CPU, with the very bits of one that
was left alone. Of several processes that torchrun started, each finds the same; one writes.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import torch

from cmnas_edge.errors import ConfigError
from cmnas_edge.progress import Progress
from train.data.crops import Crops
from train.data.drawn import Drawn
from train.evaluate import embed, score
from train.fit import lessons, sources
from train.fit.devices import Device, choose
from train.fit.distributed import World, world
from train.fit.loop import commit, interruptible, worth
from train.fit.run import Run
from train.networks import checkpoint
from train.networks.space import Arch, Choice
from train.search import report
from train.search.bilevel import Searcher
from train.search.derive import decide, probabilities, recalibrate
from train.search.recipe import SearchRecipe
from train.search.supernet import Supernet

__all__ = ["SearchResult", "search"]

Scores = dict[str, dict[str, float]]
_CURVE = 6  # decisions between sharing everything and nothing


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        arch: What was decided.
        probabilities: Of each choice, for every site.
        scores: On the validation people, as `train.evaluate.score` has them: ``supernet`` (all choices
            mixed), ``path`` (the decided architecture with the statistics met in training) and
            ``derived`` (with its own). Without ``supernet`` where the weights settled on the path:
            they learnt a few last steps for the path alone, and their mix is no longer what was searched.
        bytes: Distinct bytes of the decided architecture's folded graphs.
        steps: Taken by the weights.
        supernet: The supernet, with averaged weights.
        searcher: Which can go on to give training batches.
        validation: The people scored on.
    """

    arch: Arch
    probabilities: Mapping[str, Mapping[Choice, float]]
    scores: Mapping[str, Scores]
    bytes: int
    steps: int
    supernet: Supernet
    searcher: Searcher
    validation: Crops

    @property
    def gap(self) -> float | None:
        """By how much mAP across modalities falls from the supernet to the derived network, in points.

        None where the weights settled on the path: mix and path would not be of the same weights.
        """
        if "supernet" not in self.scores:
            return None
        return worth(self.scores["supernet"]) - worth(self.scores["derived"])


def search(recipe: SearchRecipe, folder: Path, *, root: Path | None = None, cache: Path | None = None,
           device: Device = "auto", out: TextIO | None = None, stop_at: int | None = None) -> SearchResult | None:
    """Search, or go on searching.

    Args:
        recipe: What to do.
        folder: Of the run; a state found there is picked up.
        root: Where a photographed dataset lies.
        cache: Where its decoded crops are kept; beside the run unless said otherwise.
        device: What computes.
        out: Where progress is told, standard error unless said otherwise.
        stop_at: Save and return once this step is done.

    Returns:
        What was found, or None when interrupted (Ctrl-C, ``stop_at``) with the state saved.

    Raises:
        ConfigError: The recipe cannot be carried out, the folder holds another one, or a loss left
            the numbers; the message names the step and the suspect.
        BundleError: The checkpoint to start from cannot be read.
        DeviceError: A GPU is asked for where there is none.
        DiskFull: No room for the next state; the last one is whole.
    """
    if sources.overlap(recipe.train, recipe.validation):
        raise ConfigError("recipe: expected other people in [validation] than in [train], found some in both; "
                          "change first_identity, or the part of one")
    where = choose(device)
    with world(where) as processes:
        return _search(recipe, folder, root, cache or folder.parent / "crops", where, processes, out, stop_at)


def _search(recipe: SearchRecipe, folder: Path, root: Path | None, cache: Path, device: torch.device, processes: World,
            out: TextIO | None, stop_at: int | None) -> SearchResult | None:
    if not processes.leads:
        out = io.StringIO()  # one voice is enough
        processes.wait()  # the first one makes the folder, and decodes photographs
    run = Run(folder, recipe, writes=processes.leads)
    before = lessons.before(recipe.start if recipe.start_format == "checkpoint" else None)
    try:
        with Progress("people drawn" if isinstance(recipe.train, Drawn) else "crops decoded", out) as progress:
            learnt = sources.read(recipe.train, recipe.height, recipe.width, root=root, cache=cache, progress=progress)
        others = sources.judges(recipe.validation, recipe.train, learnt, recipe.height, recipe.width, root=root,
                                cache=cache)
        if processes.leads:
            processes.wait()
        searcher = Searcher(recipe, learnt, device=device, world=processes)
    except ValueError as error:
        raise ConfigError(f"recipe: {error}") from error
    taught = lessons.lesson(recipe.train, learnt, sources.world(recipe.train, root))
    meta = checkpoint.Checkpoint(height=recipe.height, width=recipe.width, seed=recipe.seed, commit=commit(),
                                 data=learnt.fingerprint(), learnt=(*before, taught))
    state = run.resume()
    run.sign({"seed": recipe.seed, "commit": meta.commit, "data": meta.data, "crops": len(learnt),
              "device": str(device), "processes": processes.count, "torch": str(torch.__version__)})
    if state is not None:
        searcher.load_state(state)
    elif recipe.start is not None:
        searcher.start_from_file()
    processes.wait()  # nobody reads a state while the first one replaces it
    with run:
        if not _take_steps(searcher, recipe, run, processes, others, out, stop_at):
            return None
        found = _conclude(searcher, recipe, others)
        run.keep(lambda: _write(found, run, meta))
    return found


def _take_steps(searcher: Searcher, recipe: SearchRecipe, run: Run, processes: World, others: Crops,
                out: TextIO | None, stop_at: int | None) -> bool:
    """Whether the last step was taken."""
    end = recipe.steps if stop_at is None else min(stop_at, recipe.steps)
    began, saved_at = time.monotonic(), searcher.step
    guide: dict[str, float] = {}

    def save() -> None:
        nonlocal saved_at
        if saved_at != searcher.step:
            searcher.require_finite()
            run.save(searcher.state())
            saved_at = searcher.step

    with Progress("steps", out, first=searcher.step) as progress, interruptible() as interrupted:
        if searcher.odd:
            progress.say(searcher.odd)
        while searcher.step < end and not processes.any(interrupted()):
            figures = searcher.advance()
            guide = figures.pop("guide", guide)
            progress(searcher.step, recipe.steps, f"loss {figures['loss']:.3g}")
            last = searcher.step == recipe.steps
            minutes = round((time.monotonic() - began) / 60, 2)
            if (last or searcher.step % recipe.evaluate_every == 0) and processes.leads:
                of, scored = _score_now(searcher, others)
                run.note({"step": searcher.step, "minutes": minutes, "scored": of, "validation": scored})
                decided = searcher.decided()
                progress.say(f"step {searcher.step}, mAP across modalities of the {of} {worth(scored):.1f}, "
                             f"{_apart(decided)} of {len(decided.choices)} sites not shared, "
                             f"{searcher.bytes.of(decided) / 1e6:.3f} MB")
            if last or searcher.step % recipe.checkpoint_every == 0:
                table = searcher.supernet.probabilities().detach().cpu().double()
                run.note({"step": searcher.step, "minutes": minutes, **figures,
                          "guide": guide, "temperature": searcher.temperature, "apart": {
                              group: round(1 - float(p), 6)
                              for group, p in zip(searcher.supernet.groups, table[:, 0], strict=True)}})
                save()
        save()
    return searcher.step == recipe.steps


def _apart(arch: Arch) -> int:
    return sum(choice != "shared" for _, choice in arch.choices)


def _score_now(searcher: Searcher, others: Crops) -> tuple[Literal["supernet", "path"], Scores]:
    """What the weights were last trained as, all choices mixed or the decided path, and what it is worth."""
    supernet = searcher.kept
    if searcher.settled:
        supernet.follow(searcher.decided())
    else:
        with torch.no_grad():
            supernet.spread(searcher.temperature)
    return "path" if searcher.settled else "supernet", score(embed(supernet.network, others), others)


def _conclude(searcher: Searcher, recipe: SearchRecipe, others: Crops) -> SearchResult:
    supernet, arch = searcher.kept, searcher.decided()
    of, scored = _score_now(searcher, others)
    scores: dict[str, Scores] = {of: scored}
    if of == "supernet":
        scores["path"] = score(embed(supernet.extract(arch).eval(), others), others)
    scores["derived"] = _worth_of(searcher, recipe, arch, others)
    return SearchResult(arch, probabilities(supernet), scores, searcher.bytes.of(arch), searcher.step, supernet,
                        searcher, others)


def _worth_of(searcher: Searcher, recipe: SearchRecipe, arch: Arch, others: Crops) -> Scores:
    network = recalibrate(searcher.kept.extract(arch), searcher.batches(recipe.recalibrate))
    return score(embed(network, others), others)


def _curve(found: SearchResult, recipe: SearchRecipe) -> list[report.Point]:
    """The decided architecture, then others along the order in which sites would rather not share.

    Where the weights settled, they did so on the decided one, which the others are then at a disadvantage to.
    """
    searcher = found.searcher
    surest = sorted((1 - rows["shared"] for rows in found.probabilities.values()), reverse=True)
    cuts = [surest[round(i * (len(surest) - 1) / _CURVE)] for i in range(1, _CURVE)]
    archs = {f"P > {cut:.2f}": decide(searcher.supernet, searcher.bytes, least=cut) for cut in cuts}
    archs |= {"all shared": decide(searcher.supernet, searcher.bytes, least=2.0),
              "none shared": decide(searcher.supernet, searcher.bytes, least=0.0)}
    points = [report.Point("", found.arch, found.bytes, worth(found.scores["derived"]))]
    for name, arch in archs.items():
        if arch not in [point.arch for point in points]:
            points.append(report.Point(name, arch, searcher.bytes.of(arch),
                                       worth(_worth_of(searcher, recipe, arch, found.validation))))
    return points


def _write(found: SearchResult, run: Run, meta: checkpoint.Checkpoint) -> None:
    searcher, recipe = found.searcher, found.searcher.recipe
    points = _curve(found, recipe)
    about: dict[str, Any] = {
        "space": recipe.space, "by": recipe.by, "steps": found.steps, "seed": recipe.seed, "commit": meta.commit,
        "data": meta.data, "scores": found.scores, "gap": None if found.gap is None else round(found.gap, 2),
        "settled": recipe.preference.settle,
        "curve": [{"name": point.name or "decided", "bytes": point.bytes, "mean_ap": round(point.mean_ap, 2)}
                  for point in points]}
    text = report.arch_json(found.arch, found.probabilities, searcher.bytes, about)
    report.draw_decisions(run.folder / "decisions.png", found.arch, found.probabilities)
    report.draw_bytes(run.folder / "bytes.png", points, searcher.bytes,
                      worth(found.scores["supernet"]) if "supernet" in found.scores else None)
    derived = recalibrate(found.supernet.extract(found.arch), searcher.batches(recipe.recalibrate))
    checkpoint.save(run.checkpoint_path, derived, meta)
    part = run.folder / "arch.json.part"
    part.write_text(text, "utf-8")
    part.replace(run.folder / "arch.json")


