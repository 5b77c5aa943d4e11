"""``python -m train evaluate CHECKPOINT``: on drawn people, or by a dataset's own protocols."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cmnas_edge.errors import ConfigError
from train.protocols.report import KINDS
from train.protocols.rows import Row

if TYPE_CHECKING:
    from train.networks.build import Network

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("checkpoint", type=Path, help="a .safetensors file")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="what embeds (auto)")
    parser.add_argument("--flip", action="store_true", help="average each embedding with its mirror image's")
    parser.add_argument("--protocol", nargs="+", choices=KINDS, default=["dataset"], help="the dataset's own "
                        "(default); one gallery of both modalities; whether two pictures show one person")
    parser.add_argument("--rerank", action="store_true", help="the dataset's own re-ranked, too, on lines apart")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there, too")
    photographed = parser.add_argument_group("a dataset's test people")
    photographed.add_argument("--data", type=Path, metavar="ROOT", help="folder of the dataset, which tells its name")
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
    from train.fit.devices import choose  # noqa: PLC0415
    from train.networks import checkpoint  # noqa: PLC0415 - torch takes seconds, --help should not
    from train.protocols.published import beside  # noqa: PLC0415
    from train.protocols.table import markdown  # noqa: PLC0415

    if args.rerank and "dataset" not in args.protocol:
        raise ConfigError(f"--rerank: expected dataset, whose searches it refines, in --protocol, found "
                          f"{' '.join(args.protocol)}; add dataset, or leave --rerank out")
    device = choose(args.device)
    network, meta = checkpoint.load(args.checkpoint)
    score = _drawn if args.data is None else _photographed
    whom, rows = score(args, network.to(device), (meta.height, meta.width))
    mirrored = ", mirror images averaged" if args.flip else ""
    sys.stdout.write(f"{args.checkpoint}: {whom}{mirrored}\n\n{markdown(beside(rows))}")
    _keep(args.json, rows)
    return 0


def _photographed(args: argparse.Namespace, network: Network, size: tuple[int, int]) -> tuple[str, list[Row]]:
    """Who was asked for, and what came of it."""
    from cmnas_edge.progress import Progress  # noqa: PLC0415
    from train.data import datasets  # noqa: PLC0415
    from train.evaluate import extract, standings, strangers  # noqa: PLC0415

    people = strangers(args.data, trial=args.trial, kinds=args.protocol)
    cache = args.cache or args.checkpoint.parent.parent / "crops"
    with Progress("crops decoded") as decoding, Progress("crops embedded") as embedding:
        seen = extract(network, people, size, cache, flip=args.flip, decoding=decoding, embedding=embedding)
    with Progress("lines") as progress:
        rows = standings(seen, kinds=args.protocol, reranked=args.rerank, progress=progress,
                         system=args.checkpoint.parent.name or str(args.checkpoint))
    sets = [pictures for pictures in (people.test, people.query) if pictures is not None]
    who = np.unique(np.concatenate([pictures.identity for pictures in sets]))
    whom = f"{sum(map(len, sets)):,} pictures of {(who > 0).sum()} people in {args.data}"
    if datasets.drawn(args.data):
        whom += f", drawn in the layout of {datasets.DATASETS[people.dataset].title}"
    return whom, rows


def _drawn(args: argparse.Namespace, network: Network, size: tuple[int, int]) -> tuple[str, list[Row]]:
    from train.data.augment import Augmentation, loosen  # noqa: PLC0415
    from train.data.drawn import Drawn, draw  # noqa: PLC0415
    from train.evaluate import embed  # noqa: PLC0415
    from train.protocols.embeddings import Embeddings  # noqa: PLC0415
    from train.protocols.report import report  # noqa: PLC0415

    people = Drawn(identities=args.identities, first_identity=args.first, cameras=tuple(args.cameras),
                   per_camera=args.per_camera, seed=args.seed)
    try:
        crops = draw(people, *size)
        if args.loosen:
            how = Augmentation(flip=0, shift=args.loosen / 4, zoom_out=args.loosen, zoom_in=0, stretch=0.1)
            crops = dataclasses.replace(crops, images=loosen(crops.images, how, np.random.default_rng(args.seed)))
        rows = report("drawn", Embeddings.of(embed(network, crops, flip=args.flip), crops), kinds=args.protocol,
                      reranked=args.rerank, system=args.checkpoint.parent.name or str(args.checkpoint))
    except (ValueError, OverflowError, MemoryError) as error:
        raise ConfigError(f"evaluate: {error}; change --cameras, --identities or --per-camera") from error
    return (f"{args.identities} people from {args.first}, world {args.seed}, cameras "
            f"{' '.join(map(str, args.cameras))}, boxes loosened by {args.loosen:g}, single shot"), rows


def _keep(path: Path | None, rows: Sequence[Row]) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(msgspec.json.format(msgspec.json.encode([row.to_json() for row in rows]), indent=1) + b"\n")
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: expected a file to write, {error.strerror}; choose another --json") from error
