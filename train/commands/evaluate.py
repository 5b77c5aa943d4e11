"""``python -m train evaluate CHECKPOINT``."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

from cmnas_edge.errors import ConfigError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("checkpoint", type=Path, help="a .safetensors file")
    parser.add_argument("--identities", type=int, default=96, help="how many people (96)")
    parser.add_argument("--first", type=int, default=100_000, help="number of the first (100000)")
    parser.add_argument("--seed", type=int, default=0, help="of their world (0, the one of the recipes)")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6],
                        help="their numbers (1 to 6); 3, 6, 9 ... are infrared")
    parser.add_argument("--per-camera", type=int, default=4, help="crops of each under each camera (4)")
    parser.add_argument("--loosen", type=float, default=0.0, metavar="SHARE",
                        help="boxes up to this share higher and wider, and shifted by up to a quarter of it (0)")


def run(args: argparse.Namespace) -> int:
    """Score a checkpoint."""
    from train import checkpoint  # noqa: PLC0415 - torch takes seconds, --help should not
    from train.data.augment import Augmentation, loosen  # noqa: PLC0415
    from train.data.drawn import Drawn, draw  # noqa: PLC0415
    from train.evaluate import embed, score, table  # noqa: PLC0415

    network, meta = checkpoint.load(args.checkpoint)
    people = Drawn(identities=args.identities, first_identity=args.first, cameras=tuple(args.cameras),
                   per_camera=args.per_camera, seed=args.seed)
    try:
        crops = draw(people, meta.height, meta.width)
        if args.loosen:
            how = Augmentation(flip=0, shift=args.loosen / 4, zoom_out=args.loosen, zoom_in=0, stretch=0.1)
            crops = dataclasses.replace(crops, images=loosen(crops.images, how, np.random.default_rng(args.seed)))
        figures = score(embed(network, crops), crops)
        if not figures:
            raise ValueError(f"expected --cameras of which one can search another, found "
                             f"{' '.join(map(str, args.cameras))}; name at least two")
    except (ValueError, OverflowError, MemoryError) as error:
        raise ConfigError(f"evaluate: {error}") from error
    sys.stdout.write(f"{args.checkpoint}: {args.identities} people from {args.first}, world {args.seed}, "
                     f"cameras {' '.join(map(str, args.cameras))}, boxes loosened by {args.loosen:g}, single shot, "
                     f"mean of 10 galleries\n{table(figures)}\n")
    return 0
