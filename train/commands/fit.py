"""``python -m train fit RECIPE --out RUN``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("recipe", type=Path, help="a TOML file, such as train/recipes/drawn_osnet_x0_25.toml")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")


def run(args: argparse.Namespace) -> int:
    """Train, or go on training."""
    from cmnas_edge import config  # noqa: PLC0415 - torch takes seconds, --help should not
    from train.fit import fit  # noqa: PLC0415
    from train.recipe import Recipe  # noqa: PLC0415

    recipe = config.load(args.recipe, Recipe)
    if fit(recipe, args.out):
        sys.stdout.write(f"done: {args.out / 'last.safetensors'}\n")
        return 0
    sys.stderr.write(f"stopped; go on with: python -m train fit {args.recipe} --out {args.out}\n")
    return 130
