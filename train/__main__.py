"""``python -m train VERB``: learn from a recipe, or score what was learnt."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmnas_edge import config, log
from cmnas_edge.errors import CmnasError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    parser = argparse.ArgumentParser("python -m train", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    fit = verbs.add_parser("fit", help="train by a recipe; the same command picks an interrupted run up")
    fit.add_argument("recipe", type=Path, help="a TOML file, such as train/recipes/drawn_osnet_x0_25.toml")
    fit.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    evaluate = verbs.add_parser("evaluate", help="score a checkpoint on drawn people nobody trained on")
    evaluate.add_argument("checkpoint", type=Path, help="a .safetensors file")
    evaluate.add_argument("--identities", type=int, default=96, help="how many people (96)")
    evaluate.add_argument("--first", type=int, default=100_000, help="number of the first (100000)")
    evaluate.add_argument("--seed", type=int, default=0, help="of their world (0, the one of the recipes)")
    evaluate.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6],
                          help="their numbers (1 to 6); 3, 6, 9 ... are infrared")
    evaluate.add_argument("--per-camera", type=int, default=4, help="crops of each under each camera (4)")
    evaluate.add_argument("--loosen", type=float, default=0.0, metavar="SHARE",
                          help="boxes up to this share higher and wider, and shifted by up to a quarter of it (0)")
    args = parser.parse_args(argv)
    try:
        return _fit(args) if args.verb == "fit" else _evaluate(args)
    except CmnasError as error:
        print(f"python -m train {args.verb}: {log.scrub(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"python -m train {args.verb}: stopped", file=sys.stderr)
        return 130


def _fit(args: argparse.Namespace) -> int:
    from train.fit import fit  # noqa: PLC0415 - torch takes seconds, --help should not
    from train.recipe import Recipe  # noqa: PLC0415

    recipe = config.load(args.recipe, Recipe)
    if fit(recipe, args.out):
        print(f"done: {args.out / 'last.safetensors'}")
        return 0
    print(f"stopped; go on with: python -m train fit {args.recipe} --out {args.out}", file=sys.stderr)
    return 130


def _evaluate(args: argparse.Namespace) -> int:
    from cmnas_edge.errors import ConfigError  # noqa: PLC0415
    from train import checkpoint  # noqa: PLC0415 - as above
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
    print(f"{args.checkpoint}: {args.identities} people from {args.first}, world {args.seed}, "
          f"cameras {' '.join(map(str, args.cameras))}, boxes loosened by {args.loosen:g}, single shot, "
          "mean of 10 galleries")
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
