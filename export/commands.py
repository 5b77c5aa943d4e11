"""``pack CHECKPOINT --out BUNDLE``: from a trained network to what a camera carries.

``quantize BUNDLE --out BUNDLE`` does the last part again: graphs of lower precision, which ``pack``
tries too once the float32 bundle is whole.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmnas_edge.bundle import Bundle
from cmnas_edge.bundle.pictures import draw, of_modality
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.engine import open_engine
from cmnas_edge.errors import BundleError, ConfigError
from cmnas_edge.preprocess import DEFINITIONS
from export.calibrate import FALSE_MATCH_RATE, drawn_people, thresholds
from export.card import write_card
from export.fold import fold
from export.pack import Contents, check_free, write_bundle
from export.parity import F32, U8, Step, by_folded, by_network, by_onnx, compare, enforce
from export.quantize import MOST_PEOPLE, asked_for, quantize
from export.to_onnx import to_onnx
from train.networks import checkpoint

__all__ = ["pack", "work"]

# Golden crops are stored as they are; more would weigh more than they tell.
_GOLDEN_BYTES = 300_000
_PARITY_PEOPLE = 4
_MOST_VALIDATION = 5_000    # more make a manifest larger than a device reads


def work(args: argparse.Namespace) -> None:
    """Pack or quantize.

    Args:
        args: What `export.words` read.

    Raises:
        CmnasError: It cannot be done; see `cmnas_edge.errors`.
    """
    asked = asked_for(args.precisions, args.gate_people)
    if args.command == "pack":
        bundle = pack(args.checkpoint, args.out, name=args.name or args.checkpoint.stem,
                      drawn_identities=args.drawn_identities, validation_identities=args.validation_identities,
                      replace=args.replace)
    signed = args.command == "quantize" and Bundle.open(args.bundle).signers
    if args.command == "quantize" or asked:
        bundle = quantize(args.bundle if args.command == "quantize" else args.out, args.out, asked,
                          crops=args.crops, method=args.method, person_count=args.gate_people,
                          replace=args.replace or args.command == "pack")
    _say(f"packed    {bundle.path}, fingerprint {bundle.fingerprint_hex}")
    if signed:
        _say("unsigned  the signature was of the files before; sign it again: python -m export sign")


def pack(source: Path, out: Path, *, name: str, drawn_identities: int = 96, validation_identities: int = 32,
         replace: bool = False) -> Bundle:
    """Make a bundle from a checkpoint, and print the parity chain.

    Args:
        source: The checkpoint.
        out: The folder to become a bundle.
        name: What it calls itself.
        drawn_identities: People the thresholds are found on.
        validation_identities: People whose drawn crops go along; 0 for none.
        replace: Replace a bundle that is there.

    Raises:
        ConfigError: No checkpoint there, something else at ``out``, no folder to write to, or too few
            people or too many.
        DiskFull: There is no room for the bundle.
        BundleError: The checkpoint is damaged or of another preprocessing, or a link of the
            parity chain is broken.
    """
    for what, found_count, least, most in (("--drawn-identities", drawn_identities, 2, MOST_PEOPLE),
                                           ("--validation-identities", validation_identities, 0, _MOST_VALIDATION)):
        if not least <= found_count <= most:
            raise ConfigError(f"{what}: expected {least} to {most}, found {found_count}; correct it")
    check_free(out, replace=replace)
    network, meta = checkpoint.load(source)
    if meta.preprocessing not in DEFINITIONS:
        raise BundleError(f"{source}: expected training on crops made by {DEFINITIONS[-1]!r} or an earlier definition, "
                          f"found {meta.preprocessing!r}; train again, or export with the version that trained it")
    _say(f"network   {network.arch.backbone}, crops {meta.height}x{meta.width}, {network.dimension} dimensions")
    folded = {modality: fold(network, modality) for modality in MODALITIES}
    models = {modality: to_onnx(folded[modality], meta.height, meta.width, network.dimension)
              for modality in MODALITIES}

    def embed(crops: U8, modality: Modality) -> F32:
        return by_network(network, crops, modality)

    steps: list[Step] = []
    for modality in MODALITIES:
        crops = _parity_crops(modality, meta.height, meta.width)
        trained, plain = embed(crops, modality), by_folded(folded[modality], crops)
        written = by_onnx(models[modality], crops)
        steps += [compare(modality, "training network = folded", trained, plain),
                  compare(modality, "folded = ONNX Runtime", plain, written),
                  compare(modality, "training network = ONNX Runtime", trained, written)]
    _print(steps)
    enforce(steps)
    _say(f"calibrate {drawn_identities} drawn people at a false match rate of {FALSE_MATCH_RATE:g}")
    found = thresholds(drawn_people(drawn_identities, 2), meta.height, meta.width, embed)
    golden_identities = max(1, min(4, _GOLDEN_BYTES // (2 * meta.height * meta.width * 3)))
    bundle = write_bundle(out, Contents(
        name=name, backbone=network.arch.backbone, models=models, height=meta.height, width=meta.width,
        dimension=network.dimension, preprocessing=meta.preprocessing,
        golden=drawn_people(golden_identities, 1, cameras=(2, 3)),
        validation=drawn_people(validation_identities, 1), thresholds=found.thresholds, scales=found.scales,
        prior=found.prior, card=write_card(name, network, meta, steps, found.thresholds)), embed, replace=replace)
    _print(last := [_serving(bundle, modality) for modality in MODALITIES])
    enforce(last)
    return bundle


def _parity_crops(modality: Modality, height: int, width: int) -> U8:
    """Drawn people, and what is harder: noise, all black, all white."""
    people = of_modality(draw(drawn_people(_PARITY_PEOPLE, 1), height, width), modality)
    noise = np.random.default_rng(0).integers(0, 256, (6, height, width, 3), dtype=np.uint8)
    noise[-2:] = np.array([0, 255], np.uint8)[:, None, None, None]
    return np.concatenate([people, noise])


def _serving(bundle: Bundle, modality: Modality) -> Step:
    """The last link: the golden embeddings by the engine that a camera opens."""
    crops, embeddings = bundle.golden(modality)
    with open_engine(bundle, modality) as engine:
        return compare(modality, f"training network = {engine.name} engine", embeddings, engine.embed(crops))


def _print(steps: Sequence[Step]) -> None:
    for step in steps:
        _say(f"parity    {step}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
