"""``python -m train search RECIPE --out RUN``: find where two modalities should share a norm."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cmnas_edge import config
from cmnas_edge.errors import ConfigError

__all__ = ["add_arguments", "other_verb", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, folder, and what the machine decides."""
    parser.add_argument("recipe", type=Path, help="a TOML file, such as train/recipes/search_drawn_osnet_x0_25.toml")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN",
                        help="folder of the run; the same command picks an interrupted one up")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of a photographed dataset")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where its decoded crops are kept (beside the run)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto",
                        help="auto takes a GPU where there is one; torchrun gives each process its own")


def run(args: argparse.Namespace) -> int:
    """Search; exit code 0 when it ended, 130 when it was interrupted."""
    from train.fit.loop import worth  # noqa: PLC0415 - torch takes seconds, --help should not
    from train.fit.recipe import Recipe  # noqa: PLC0415
    from train.search.recipe import SearchRecipe  # noqa: PLC0415
    from train.search.searching import search  # noqa: PLC0415

    with other_verb(args.recipe, Recipe, "a search", "fit"):
        recipe = config.load(args.recipe, SearchRecipe)
    found = search(recipe, args.out, root=args.data, cache=args.cache,
                   device=args.device)
    if os.environ.get("RANK", "0") != "0":  # of the processes that torchrun starts, one speaks
        return 130 if found is None else 0
    if found is None:
        sys.stderr.write(f"stopped; go on with: {args.again}\n")
        return 130
    apart = sum(choice != "shared" for _, choice in found.arch.choices)
    told = ", ".join(f"{of} {worth(found.scores[of]):.1f}" for of in ("supernet", "derived") if of in found.scores)
    sys.stdout.write(f"{apart} of {len(found.arch.choices)} sites not shared, {found.bytes / 1e6:.3f} MB; mAP across "
                     f"modalities: {told}\ndone: {args.out / 'arch.json'}\n")
    return 0


@contextmanager
def other_verb(path: Path, kind: type[msgspec.Struct], wanted: str, verb: str) -> Iterator[None]:
    """Inside, a recipe that another verb takes is refused with the name of that verb.

    Args:
        path: Of the recipe.
        kind: What the other verb takes.
        wanted: What is read instead, in words.
        verb: The other one.
    """
    try:
        yield
    except ConfigError as error:
        try:
            config.load(path, kind)
        except ConfigError:
            raise error from None
        raise ConfigError(f"{path}: expected a recipe of {wanted}, found one for python -m train {verb}; give it to "
                          "that, or name another recipe") from None
