"""``python -m train fit RECIPE --out RUN``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("recipe", type=Path, help="a TOML file, such as train/recipes/drawn_osnet_x0_25.toml")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="where the dataset lies that the recipe names")
    parser.add_argument("--cache", type=Path, help="where its decoded crops are kept (RUN/../crops)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto",
                        help="auto takes a GPU where there is one; torchrun gives each process its own")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument("--trial", type=int, help="instead of the recipe's: which split of RegDB, 1 to 10")
    parser.add_argument("--arch", type=Path, help="instead of the recipe's norms: a file that a search wrote")
    parser.add_argument("--start", type=Path, help="instead of the recipe's: the file of weights to begin with")
    parser.add_argument("--final", type=Path, metavar="RUN", help="learn from the validation people as well, up to the "
                        "step at which that finished run of this recipe was best on them")


def run(args: argparse.Namespace) -> int:
    """Train, or go on training."""
    from cmnas_edge import config  # noqa: PLC0415 - torch takes seconds, --help should not
    from train.fit.loop import final_recipe, fit  # noqa: PLC0415
    from train.fit.recipe import Recipe, varied  # noqa: PLC0415
    from train.search.commands import other_verb  # noqa: PLC0415
    from train.search.recipe import SearchRecipe  # noqa: PLC0415

    with other_verb(args.recipe, SearchRecipe, "a training", "search"):
        recipe = config.load(args.recipe, Recipe)
    recipe = varied(recipe, seed=args.seed, trial=args.trial, arch=args.arch, start=args.start)
    leads = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, one speaks
    if args.final is not None:
        recipe = final_recipe(recipe, args.final)
        sys.stderr.write("" if not leads else
                         f"final: {recipe.until} of {recipe.steps} steps, as validation in {args.final} chose\n")
    if fit(recipe, args.out, root=args.data, cache=args.cache, device=args.device):
        sys.stdout.write(f"done: {args.out / 'last.safetensors'}\n" if leads else "")
        return 0
    sys.stderr.write(f"stopped; go on with: {args.again}\n" if leads else "")
    return 130
