"""``python -m train evaluate CHECKPOINT``: on drawn people, or by a dataset's own protocols."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cmnas_edge.errors import ConfigError
from train.protocols.report import KINDS
from train.protocols.rows import Row

if TYPE_CHECKING:
    from train.networks.build import Network
    from train.networks.checkpoint import Checkpoint

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
    photographed.add_argument("--trial", type=int, help="which split of RegDB, 1 to 10 (the one "
                              "the checkpoint learnt from)")
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
    from train.fit import lessons  # noqa: PLC0415 - torch takes seconds, --help should not
    from train.fit.devices import choose  # noqa: PLC0415
    from train.networks import checkpoint  # noqa: PLC0415
    from train.protocols.table import markdown  # noqa: PLC0415

    _require_sense(args)
    device = choose(args.device)
    network, meta = checkpoint.load(args.checkpoint)
    score = _drawn if args.data is None else _photographed
    whom, rows, shown = score(args, network.to(device), meta)
    mirrored = ", mirror images averaged" if args.flip else ""
    said = "\n".join(filter(None, (f"{args.checkpoint}: {whom}{mirrored}", lessons.unsure(meta))))
    sys.stdout.write(f"{said}\n\n{markdown(shown)}")
    _keep(args.json, rows)
    return 0


def _require_sense(args: argparse.Namespace) -> None:
    """Refuse what cannot be done before anything is read."""
    if args.rerank and "dataset" not in args.protocol:
        raise ConfigError(f"--rerank: expected dataset, whose searches it refines, in --protocol, found "
                          f"{' '.join(args.protocol)}; add dataset, or leave --rerank out")
    for name in ("trial", "cache") if args.data is None else ():
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name}: expected a dataset beside it, found none; add --data ROOT, or leave "
                              f"--{name} out")
    for name, lowest in (("identities", 2), ("first", 0), ("seed", 0), ("per_camera", 1)):
        if not lowest <= getattr(args, name) < 1 << 32:
            raise ConfigError(f"--{name.replace('_', '-')}: expected {lowest} to {(1 << 32) - 1}, found "
                              f"{getattr(args, name)}; choose one in between")
    if not 0 <= args.loosen <= 1:
        raise ConfigError(f"--loosen: expected a share from 0 to 1, found {args.loosen:g}; choose one in between")
    if args.json is not None:
        with _writing(args.json):
            args.json.parent.mkdir(parents=True, exist_ok=True)
            if args.json.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _photographed(args: argparse.Namespace, network: Network, meta: Checkpoint) -> tuple[str, list[Row], list[Row]]:
    """Who was asked for, what came of it, and that beside what others published."""
    from cmnas_edge.progress import Progress  # noqa: PLC0415
    from train.data import datasets, shards  # noqa: PLC0415
    from train.evaluate import extract, lacking, standings, strangers  # noqa: PLC0415
    from train.fit import lessons  # noqa: PLC0415
    from train.fit.sources import Regdb  # noqa: PLC0415
    from train.protocols.published import beside  # noqa: PLC0415

    name = datasets.recognise(args.data)
    trial = args.trial if args.trial is not None else lessons.trial(meta) if name == "regdb" else 1
    people = strangers(args.data, trial=trial, kinds=args.protocol)
    if name == "regdb":
        lessons.require_strangers(args.checkpoint, meta, Regdb(trial=trial))
    world, asked = datasets.world(args.data), np.unique(people.test.identity)
    if world is not None:
        lessons.require_strangers(args.checkpoint, meta, lessons.Numbers(world, asked[asked > 0]))
    cache, size = args.cache or args.checkpoint.parent.parent / "crops", (meta.height, meta.width)
    with Progress("crops decoded") as decoding, Progress("crops embedded") as embedding:
        if name == "folder":
            crops = shards.decode(people.test, *size, cache, progress=decoding)
            lessons.require_new_pictures(args.checkpoint, meta, args.data, crops)
        seen = extract(network, people, size, cache, flip=args.flip, decoding=decoding, embedding=embedding)
    with Progress("lines") as progress:
        rows = standings(seen, kinds=args.protocol, reranked=args.rerank, progress=progress,
                         system=args.checkpoint.parent.name or str(args.checkpoint))
    sets = [pictures for pictures in (people.test, people.query) if pictures is not None]
    who = np.unique(np.concatenate([pictures.identity for pictures in sets]))
    nobody = datasets.DATASETS[name].nobody
    whom = f"{sum(map(len, sets)):,} pictures of {sum(int(one) not in nobody for one in who)} people in {args.data}"
    whom += f", trial {trial}" if name == "regdb" else ""
    if datasets.drawn(args.data):
        return f"{whom}, drawn in the layout of {datasets.DATASETS[name].title}", rows, rows
    without = lacking(args.data, name)
    if without:
        title = datasets.DATASETS[name].title
        return f"{whom}\n{title} is incomplete, and no published figures are beside: {without}", rows, rows
    return whom, rows, beside(rows, network.arch.backbone)


def _drawn(args: argparse.Namespace, network: Network, meta: Checkpoint) -> tuple[str, list[Row], list[Row]]:
    from train.data.augment import Augmentation, loosen  # noqa: PLC0415
    from train.data.drawn import Drawn, draw  # noqa: PLC0415
    from train.evaluate import embed  # noqa: PLC0415
    from train.fit import lessons  # noqa: PLC0415
    from train.protocols.embeddings import Embeddings  # noqa: PLC0415
    from train.protocols.report import report  # noqa: PLC0415

    people = Drawn(identities=args.identities, first_identity=args.first, cameras=tuple(args.cameras),
                   per_camera=args.per_camera, seed=args.seed)
    lessons.require_strangers(args.checkpoint, meta, people)
    try:
        crops = draw(people, meta.height, meta.width)
        if args.loosen:
            how = Augmentation(flip=0, shift=args.loosen / 4, zoom_out=args.loosen, zoom_in=0, stretch=0.1)
            crops = dataclasses.replace(crops, images=loosen(crops.images, how, np.random.default_rng(args.seed)))
        rows = report("drawn", Embeddings.of(embed(network, crops, flip=args.flip), crops), kinds=args.protocol,
                      reranked=args.rerank, system=args.checkpoint.parent.name or str(args.checkpoint))
    except (ValueError, OverflowError, MemoryError) as error:
        raise ConfigError(f"evaluate: {error}; change --cameras, --identities or --per-camera") from error
    return (f"{args.identities} people from {args.first}, world {args.seed}, cameras "
            f"{' '.join(map(str, args.cameras))}, boxes loosened by {args.loosen:g}, single shot"), rows, rows


def _keep(path: Path | None, rows: Sequence[Row]) -> None:
    if path is None:
        return
    part = path.with_name(path.name + ".part")
    with _writing(path):
        try:
            part.write_bytes(msgspec.json.format(msgspec.json.encode([row.to_json() for row in rows]), indent=1)
                             + b"\n")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in a sentence why figures cannot be kept."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path}: expected a file to write, {error.strerror}; choose another --json") from error
