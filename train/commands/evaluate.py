"""``python -m train evaluate CHECKPOINT``: on drawn people, or by a dataset's own protocols."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from cmnas_edge.errors import ConfigError
from train.published import Line

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("checkpoint", type=Path, help="a .safetensors file")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="what embeds (auto)")
    parser.add_argument("--flip", action="store_true", help="average each embedding with its mirror image's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there, too")
    photographed = parser.add_argument_group("a dataset's test people")
    photographed.add_argument("--data", type=Path, metavar="ROOT", help="folder of the dataset, which tells its name")
    photographed.add_argument("--protocol", nargs="+", choices=("dataset", "mixed", "verification"),
                              default=["dataset"], help="the dataset's own (default); one gallery of both modalities; "
                              "whether two pictures show one person")
    photographed.add_argument("--rerank", action="store_true", help="k-reciprocal re-ranking on lines of its own")
    photographed.add_argument("--trial", type=int, default=1, help="which split of RegDB, 1 to 10 (1)")
    photographed.add_argument("--cache", type=Path, help="where decoded crops are kept (beside the run's folder)")
    people = parser.add_argument_group("drawn people nobody trained on, without --data")
    people.add_argument("--identities", type=int, default=96, help="how many people (96)")
    people.add_argument("--first", type=int, default=100_000, help="number of the first (100000)")
    people.add_argument("--seed", type=int, default=0, help="of their world (0, the one of the recipes)")
    people.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6],
                        help="their numbers (1 to 6); 3, 6, 9 ... are infrared")
    people.add_argument("--per-camera", type=int, default=4, help="crops of each under each camera (4)")
    people.add_argument("--loosen", type=float, default=0.0, metavar="SHARE",
                        help="boxes up to this share higher and wider, and shifted by up to a quarter of it (0)")


def run(args: argparse.Namespace) -> int:
    """Score a checkpoint."""
    return _drawn(args) if args.data is None else _photographed(args)


def _photographed(args: argparse.Namespace) -> int:
    from cmnas_edge.progress import Progress  # noqa: PLC0415 - torch takes seconds, --help should not
    from train import checkpoint, standings  # noqa: PLC0415
    from train.devices import choose  # noqa: PLC0415

    device = choose(args.device)
    network, meta = checkpoint.load(args.checkpoint)
    cache = args.cache or args.checkpoint.parent.parent / "crops"
    with Progress("crops decoded") as progress:
        read = standings.embeddings(network.to(device), args.data, (meta.height, meta.width), cache, trial=args.trial,
                                    flip=args.flip, progress=progress)
    whom = f"{len(read.test):,} pictures of {len(np.unique(read.test.identity))} people in {args.data}"
    out = [f"{args.checkpoint}: {whom}{', mirror images averaged' if args.flip else ''}"]
    lines = standings.searched(read) if "dataset" in args.protocol else []
    if args.rerank:
        lines += standings.searched(read, reranked=True)
    if "mixed" in args.protocol:
        lines += standings.searched_mixed(read)
    if lines:
        out.append(standings.as_markdown(lines, who=args.checkpoint.parent.name or str(args.checkpoint)))
        _keep(args.json, lines)
    if "verification" in args.protocol:
        out.append("\n".join(standings.verified(read)))
    sys.stdout.write("\n\n".join(out) + "\n")
    return 0


def _drawn(args: argparse.Namespace) -> int:
    from train import checkpoint  # noqa: PLC0415 - torch takes seconds, --help should not
    from train.data.augment import Augmentation, loosen  # noqa: PLC0415
    from train.data.drawn import Drawn, draw  # noqa: PLC0415
    from train.devices import choose  # noqa: PLC0415
    from train.evaluate import embed, score, table  # noqa: PLC0415

    device = choose(args.device)
    network, meta = checkpoint.load(args.checkpoint)
    people = Drawn(identities=args.identities, first_identity=args.first, cameras=tuple(args.cameras),
                   per_camera=args.per_camera, seed=args.seed)
    try:
        crops = draw(people, meta.height, meta.width)
        if args.loosen:
            how = Augmentation(flip=0, shift=args.loosen / 4, zoom_out=args.loosen, zoom_in=0, stretch=0.1)
            crops = dataclasses.replace(crops, images=loosen(crops.images, how, np.random.default_rng(args.seed)))
        figures = score(embed(network.to(device), crops, flip=args.flip), crops)
        if not figures:
            raise ValueError(f"expected --cameras of which one can search another, found "
                             f"{' '.join(map(str, args.cameras))}; name at least two")
    except (ValueError, OverflowError, MemoryError) as error:
        raise ConfigError(f"evaluate: {error}") from error
    sys.stdout.write(f"{args.checkpoint}: {args.identities} people from {args.first}, world {args.seed}, "
                     f"cameras {' '.join(map(str, args.cameras))}, boxes loosened by {args.loosen:g}, single shot, "
                     f"mean of 10 galleries{', mirror images averaged' if args.flip else ''}\n{table(figures)}\n")
    _keep(args.json, [Line(f"drawn people, single-shot {pair}", row, {}, 10) for pair, row in figures.items()])
    return 0


def _keep(path: Path | None, lines: Sequence[Line]) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(msgspec.json.format(msgspec.json.encode([line._asdict() for line in lines]), indent=1) + b"\n")
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: expected a file to write, {error.strerror}; choose another --json") from error
