"""``python -m train adapt CHECKPOINT --crops DIR --out X.safetensors``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from cmnas_edge.errors import ConfigError, unwritable

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("checkpoint", type=Path, help="a .safetensors file")
    parser.add_argument("--out", type=Path, required=True, metavar="X.safetensors", help="the adapted checkpoint")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--crops", type=Path, metavar="DIR", help="unlabelled pictures below folders named visible and "
                       "infrared, such as the output of python -m train data from-video")
    where.add_argument("--drawn", type=int, metavar="PEOPLE", help="as many drawn people instead, to try it")
    parser.add_argument("--first", type=int, default=200_000, help="number of the first drawn one (200000)")
    parser.add_argument("--world", type=int, default=0, help="seed of their world (0)")
    parser.add_argument("--cameras", type=int, nargs="+", default=[31, 32, 33, 34, 35, 36],
                        help="numbers of the cameras that see them (31 to 36, which no recipe trains on)")
    parser.add_argument("--per-camera", type=int, default=4, help="crops of each under each camera (4)")
    parser.add_argument("--keep", type=float, default=0.5, metavar="SHARE",
                        help="share of the old statistics in the new ones (0.5; train/LOG.md says why)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of crops (0)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="what computes (auto)")


def run(args: argparse.Namespace) -> int:
    """Adapt a checkpoint."""
    from cmnas_edge.progress import Progress  # noqa: PLC0415 - torch takes seconds, --help should not
    from train.adapt import adapt, read  # noqa: PLC0415
    from train.data.drawn import Drawn, draw  # noqa: PLC0415
    from train.fit import lessons  # noqa: PLC0415
    from train.fit.devices import choose  # noqa: PLC0415
    from train.networks import checkpoint  # noqa: PLC0415

    if not 0 <= args.keep < 1 or args.seed < 0:
        raise ConfigError(f"adapt: expected --keep from 0 to below 1 and --seed from 0, found {args.keep:g} and "
                          f"{args.seed}; change them")
    if args.out.exists() and args.checkpoint.exists() and args.out.samefile(args.checkpoint):
        raise ConfigError(f"{args.out}: expected another file than the checkpoint that is read, found the same; choose "
                          "another --out, so that this one can be adapted again")
    device = choose(args.device)
    network, meta = checkpoint.load(args.checkpoint)
    with Progress("crops" if args.drawn is None else "people drawn") as progress:
        if args.drawn is None:
            crops = read(args.crops, meta.height, meta.width, progress=progress)
            taught = lessons.UNLABELLED
        else:
            people = Drawn(identities=args.drawn, first_identity=args.first, cameras=tuple(args.cameras),
                           per_camera=args.per_camera, seed=args.world)
            try:
                crops = draw(people, meta.height, meta.width, progress=progress)
            except (ValueError, OverflowError, MemoryError) as error:
                raise ConfigError(f"adapt: {error}") from error
            taught = lessons.lesson(people, crops)
    with Progress("batches") as progress:
        adapt(network.to(device), crops, seed=args.seed, kept=args.keep, progress=progress)
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(args.out, network, msgspec.structs.replace(meta, learnt=(*lessons.of(meta), taught)))
    except OSError as error:
        raise unwritable(args.out, "a checkpoint", error, "choose another --out", kind="a file") from error
    infrared = int(crops.infrared.sum())
    sys.stdout.write(f"adapted to {len(crops) - infrared} visible and {infrared} infrared crops: {args.out}\n")
    return 0
