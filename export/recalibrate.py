"""``python -m export calibrate BUNDLE``: find its thresholds and what its scores are worth, and put them into it.

On drawn people unless ``--data`` names a dataset, or a folder of one's own people, as ``python -m train data check``
knows it. The graphs and the fingerprint stay as they are, so galleries do too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmnas_edge.bundle import CALIBRATION, Bundle, seal
from cmnas_edge.bundle.outside import check_outside
from cmnas_edge.bundle.pictures import draw
from cmnas_edge.calibration import CalibratedOn, Calibration, encode
from cmnas_edge.calibration.fit import LEAST_PEOPLE, Plan
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.engine import open_engine
from cmnas_edge.errors import ConfigError
from cmnas_edge.progress import Progress
from cmnas_edge.validation import F32, U8, Embed
from export.calibrate import CHECK_SEED, WORLD_SEED, calibration, drawn_people, embedded, scores
from export.calibration_figure import draw_figure
from export.calibration_report import report, with_calibration
from export.mixed_gallery import in_mixed_gallery
from export.replacement import replaced
from train.data import datasets, shards
from train.data.pictures import Pictures
from train.protocols.embeddings import Embeddings

__all__ = ["People", "found_in", "put", "work"]

_MOST = 2500            # crops of one modality; their pairs are counted in millions
_MOST_PEOPLE = 1000     # drawn ones: their crops are all in memory at once
_PARTS = {"market": "gallery", "folder": "validation"}  # elsewhere "test": whom nobody learnt from


class People(NamedTuple):
    """Whom a calibration is found on, and whom it is checked with: nobody is in both.

    Attributes:
        words: Who they are, for people to read.
        calibrated_on: The same for programs.
        found: Those it is found on.
        held: Those it is checked with.
        whole: Those it is found on in the end; of a dataset both.
    """

    words: str
    calibrated_on: CalibratedOn
    found: Embeddings
    held: Embeddings
    whole: Embeddings


def work(args: argparse.Namespace) -> None:
    """Calibrate a bundle.

    Args:
        args: What `export.words` read.

    Raises:
        CmnasError: It cannot be done; see `cmnas_edge.errors`.
    """
    plan = _plan(args)
    bundle = Bundle.open(args.bundle)
    check_outside(args.picture.absolute().parent, "--picture")
    with _embedding(bundle) as embed:
        people = _drawn(bundle, embed, args) if args.data is None else _photographed(bundle, embed, args)
    trial = calibration(bundle.fingerprint_hex, scores(people.found), people.calibrated_on, plan)
    found = trial if people.whole is people.found else calibration(
        bundle.fingerprint_hex, scores(people.whole), people.calibrated_on, plan)
    held = scores(people.held)
    sys.stdout.write(report(people.words, found, held, in_mixed_gallery(people.held, trial), trial))
    draw_figure(args.picture, found, scores(people.whole), f"{bundle.name}, on {people.words}")
    sys.stdout.write(f"\npicture   {args.picture}\n")
    if args.dry_run:
        sys.stdout.write(f"unchanged {bundle.path}\n")
        return
    put(args.bundle, found)
    sys.stdout.write(f"written   {bundle.path / CALIBRATION}, and the manifest and card beside it\n")
    if bundle.signers:
        sys.stdout.write("unsigned  the signature was of the files before; sign it again: python -m export sign\n")


def put(folder: Path, found: Calibration) -> Bundle:
    """Replace the calibration in a bundle, and what its manifest and card say of it.

    At every moment a whole bundle lies there. Nobody has signed the new one yet.

    Raises:
        BundleError: The folder holds no whole bundle, or one of another fingerprint.
        ConfigError: It is a link, or cannot be written to.
        DiskFull: There is no room.
    """
    manifest = Bundle.open(folder).manifest
    with replaced(folder) as copy:
        (copy / CALIBRATION).write_bytes(encode(found))
        card = copy / "MODEL.md"
        card.write_text(with_calibration(card.read_text("utf-8"), found), "utf-8")
        seal(copy, manifest)
    return Bundle.open(folder)


def found_in(pictures: Pictures, per_camera: int) -> Pictures:
    """So few pictures of each person under each camera and modality that their pairs stay countable, evenly chosen."""
    _, group = np.unique(np.stack([pictures.identity, pictures.camera, pictures.infrared]), axis=1,
                         return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    sizes = np.bincount(group.ravel())
    nth = np.empty(len(pictures), np.int64)
    nth[order] = np.arange(len(pictures)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    size = sizes[group.ravel()]
    for k in range(per_camera, 0, -1):
        # The first picture of each of k equal stretches.
        kept = (size <= k) | (nth * k // size != (nth - 1) * k // size) | (nth == 0)
        if k == 1 or max(int((kept & pictures.infrared).sum()), int((kept & ~pictures.infrared).sum())) <= _MOST:
            return pictures.take(kept)
    raise AssertionError


def _plan(args: argparse.Namespace) -> Plan:
    try:
        rates = tuple(float(word) for word in args.rates.split(",") if word.strip())
        plan = Plan(args.rate, args.unsure_rate, rates, args.prior, args.resamples)
    except ValueError as error:
        raise ConfigError(f"calibrate: {error}; correct --rate, --unsure-rate, --rates or --prior") from None
    for what, value, least, most in (("--identities", args.identities, LEAST_PEOPLE, _MOST_PEOPLE),
                                     ("--per-camera", args.per_camera, 1, 100),
                                     ("--resamples", args.resamples, 20, 100_000)):
        if not least <= value <= most:
            raise ConfigError(f"{what}: expected {least} to {most}, found {value}; correct it")
    return plan


@contextmanager
def _embedding(bundle: Bundle) -> Iterator[Embed]:
    with ExitStack() as stack:
        engines = {modality: stack.enter_context(open_engine(bundle, modality)) for modality in MODALITIES}

        def embed(crops: U8, modality: Modality) -> F32:
            return engines[modality].embed(crops)

        yield embed


def _drawn(bundle: Bundle, embed: Embed, args: argparse.Namespace) -> People:
    sets = []
    for seed in (WORLD_SEED, CHECK_SEED):
        crops = draw(drawn_people(args.identities, args.per_camera, seed=seed), bundle.height, bundle.width)
        with Progress("crops") as progress:
            sets.append(embedded(crops.images, crops, embed, progress))
    return People(f"{args.identities} drawn people", "drawn", sets[0], sets[1], sets[0])


def _photographed(bundle: Bundle, embed: Embed, args: argparse.Namespace) -> People:
    name = datasets.recognise(args.data)
    dataset = datasets.DATASETS[name]
    part = args.part or _PARTS.get(name, "test")
    read = datasets.read(args.data, part, name=name)
    pictures = found_in(read.take(~np.isin(read.identity, list(dataset.nobody))), args.per_camera)
    # Decoded crops of people are not left behind.
    with tempfile.TemporaryDirectory() as cache:
        with Progress("pictures") as progress:
            crops = shards.decode(pictures, bundle.height, bundle.width, Path(cache), progress=progress)
        with Progress("crops") as progress:
            whole = embedded(crops.images, crops, embed, progress)
    numbers = np.unique(whole.identity)
    if len(numbers) < 2 * LEAST_PEOPLE:
        raise ConfigError(f"{args.data}: expected at least {2 * LEAST_PEOPLE} people, half of them to check with, "
                          f"found {len(numbers)}; take another --part, or more people")
    half = np.isin(whole.identity, np.random.default_rng(0).permutation(numbers)[::2])
    kind: CalibratedOn = "drawn" if datasets.drawn(args.data) else "dataset"
    words = f"{len(numbers)} {'drawn ' if kind == 'drawn' else ''}people of {dataset.title} ({part})"
    return People(words, kind, whole.take(half), whole.take(~half), whole)
