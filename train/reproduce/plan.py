"""What there is to do for a table: lines of work, each of jobs that follow each other, and their recipes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace as replaced

from cmnas_edge import config
from cmnas_edge.errors import ConfigError, unwritable
from train.data.drawn import Drawn
from train.fit.recipe import Recipe, varied
from train.fit.run import by_content, kept
from train.fit.sources import Regdb
from train.search.recipe import SearchRecipe

__all__ = ["SCHEMES", "Job", "Plan", "Scheme", "Work", "plan"]

Scheme = Literal["searched", "shared", "split", "split_statistics"]
SCHEMES: tuple[Scheme, ...] = ("searched", "shared", "split", "split_statistics")


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
        ConfigError: The folder cannot be written or began with other recipes, recipes and folder do not belong
            together, or the weights to begin with are not there; nothing was written then.
        DiskFull: There is no room for the recipes.
    """
    drawn = isinstance(recipe.train, Drawn)
    if not drawn and root is None:
        raise ConfigError("reproduce: expected the folder of the dataset, found none; add --data ROOT")
    if recipe.start is not None and not recipe.start.is_file():
        raise ConfigError(f"{recipe.start}: expected the weights that the recipe begins with, found no such file; give "
                          "yours with --start")
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
            raise unwritable(path, "a recipe", error, "choose another --out", kind="a file") from error
    return Plan(folder, tuple(work))


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
