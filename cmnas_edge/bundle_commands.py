"""``cmnas-edge bundle show|verify|install PATH``: what a bundle is, whether it is what it says, and into its place."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from cmnas_edge import config
from cmnas_edge.bundle import Bundle, Trust, default_path, voucher
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine import choice_fault
from cmnas_edge.errors import ConfigError, WrongCommand
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["add_arguments", "run"]

_DRAWN_ONLY = "found on drawn people; what they promise on real ones is unknown until calibrated on site"
_MOST_THREADS = 256


class Runs(Struct, frozen=True, kw_only=True):
    """Of ``[engine]``: which, unless the device's race decides, in which precision, and with how many threads."""

    name: Literal["auto", EngineName] = "auto"
    precision: Precision | None = None
    threads: Annotated[int, Meta(ge=1, le=_MOST_THREADS)] = 1


class Place(Struct, frozen=True, kw_only=True):
    """What the settings of a room, camera or collector, say of its bundle; the rest of them is not read here.

    Attributes:
        bundle: Where it is.
        trust: Whose bundles are used.
        engine: What runs it.
        cameras: How many there are; a collector has none, and runs no graphs.
    """

    bundle: Path | None = None
    trust: Trust = Trust()
    engine: Runs = Runs()
    cameras: tuple[Any, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.epilog = ("verify shows that a bundle agrees with itself, and who signed it. That its fingerprint is that "
                     "of its graphs stays the word of whoever packed it.")
    parser.add_argument("action", choices=("show", "verify", "install"),
                        help="show: what it is, after checking every byte; verify: also run its graphs against "
                             "the golden embeddings, and draw its pictures again; install: copy it to where --config "
                             "has its bundle, and switch to it if it is trusted and this device can run it")
    parser.add_argument("path", nargs="?", type=Path,
                        help="a bundle's folder; default: that of --config, or the one that ships")
    parser.add_argument("--config", type=Path, metavar="CONFIG.toml",
                        help="settings of a camera or collector: refuse a bundle that it would not use")
    parser.add_argument("--to", type=Path, metavar="LINK",
                        help="install: another place than that of 'bundle' in the settings, for a second bundle to "
                             "name there beside the one in use, which is not touched (also; docs/rollout.md)")
    parser.add_argument("--rollback", action="store_true", help="install: go back to the version before")
    parser.add_argument("--threads", type=int, default=1, help="processor threads for the graphs")


def run(args: argparse.Namespace) -> int:
    """Open a bundle and print what is asked.

    Raises:
        BundleError: It is not what it says, or not what the settings trust.
        CmnasError: It cannot be installed; see `cmnas_edge.install`.
        ConfigError: The number of threads is none.
        WrongCommand: Words are missing or do not go together.
    """
    place = None if args.config is None else _place(args.config)
    if args.action == "install" or args.rollback or args.to is not None:
        sys.stdout.write(_install(args, place))
        return 0
    if not 1 <= args.threads <= _MOST_THREADS:
        raise ConfigError(f"--threads: expected 1 to {_MOST_THREADS}, found {args.threads}; correct it")
    bundle = Bundle.open(args.path or (place and place.bundle) or default_path())
    if place is not None:
        voucher(bundle, place.trust)
    lines = _show(bundle) if args.action == "show" else _verify(bundle, args.threads)
    for line in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


def _place(path: Path) -> Place:
    place = config.load(path, Place)
    if fault := choice_fault(place.engine.name, place.engine.precision):
        raise ConfigError(f"{config.place(path, 'engine', 'precision')}: {fault}")
    return place


def _install(args: argparse.Namespace, place: Place | None) -> str:
    from cmnas_edge.install import check_health, install, race_here, roll_back  # noqa: PLC0415 - who looks runs nothing

    if args.action != "install" or (args.path is None) != args.rollback or place is None:
        raise WrongCommand("install: expected a bundle or --rollback, and the settings it is for, as in: "
                           "cmnas-edge bundle install new-bundle --config camera.toml")
    link = args.to or place.bundle
    if link is None:
        raise ConfigError(f"{args.config}: expected the key 'bundle' to say where to install, found none; write "
                          'bundle = "bundle", or say --to')

    def health(bundle: Bundle) -> None:
        name, threads = place.engine.name, place.engine.threads
        if name != "auto":
            check_health(bundle, name, place.engine.precision or "fp32", threads)
            return
        check_health(bundle, threads=threads)
        if place.cameras:
            sys.stdout.write(f"fastest here  {race_here(bundle, threads)}\n")

    if args.rollback:
        bundle, changed = roll_back(link, place.trust, health), True
    else:
        bundle, changed = install(args.path, link, place.trust, health)
    what = "back to      " if args.rollback else "installed    " if changed else "in its place "
    use = "settings that name it use it from their next start" if args.to else "start the daemon again to use it"
    then = f"healthy on this device; {use}" if changed else "whole; nothing was changed"
    return f"{what} {bundle.name} as {link} ({bundle.path.name}), {then}\n"


def _show(bundle: Bundle) -> list[str]:
    manifest = bundle.manifest
    pictures = [name for name in manifest.files if name.startswith("validation/")]
    drawn = sum(manifest.files[name].bytes for name in pictures)
    own = sum(record.bytes for record in manifest.files.values()) - drawn
    lines = [
        f"bundle        {bundle.path}",
        f"name          {manifest.name}, made by {manifest.made_by}",
        f"backbone      {manifest.backbone}, {manifest.precision}",
        f"crops         {bundle.height} x {bundle.width} (height x width), BGR",
        f"embeddings    {bundle.dimension} numbers of unit length",
        f"fingerprint   {bundle.fingerprint_hex}",
        *_origin(bundle),
        *_precisions(bundle),
        f"size          {own / 1e6:.2f} MB, and {drawn / 1e6:.2f} MB in {len(pictures)} files of validation crops",
        f"thresholds    calibrated on: {bundle.calibrated_on}",
    ]
    for name, threshold in bundle.thresholds.items():
        lines.append(f"  {name:<18} cosine {threshold.score:.4f}: {threshold.false_match_rate:.1e} of strangers match, "
                     f"{threshold.false_non_match_rate:.1%} of same do not "
                     f"({threshold.genuine_count} genuine, {threshold.impostor_count} impostor pairs)")
        if (scale := bundle.calibration.scales.get(name)) is not None:
            likely = bundle.calibration.judge(name, threshold.score).probability
            lines.append(f"  {'':<18} unsure from {scale.unsure_from:.4f}: {scale.unsure_rate:.1e} of strangers; "
                         f"at the threshold one person with probability {likely:.2f}, prior "
                         f"{bundle.calibration.prior:g}")
    if bundle.calibrated_on == "drawn":
        lines.append(f"  {_DRAWN_ONLY}")
    return lines


def _verify(bundle: Bundle, threads: int) -> list[str]:
    # Drawing and running graphs is for those who verify; `show` needs neither.
    from cmnas_edge.bundle.pictures import verify_pictures  # noqa: PLC0415
    from cmnas_edge.engine import check_golden, open_engine  # noqa: PLC0415
    from cmnas_edge.validation import check_retrieval  # noqa: PLC0415

    lines = [f"files         {len(bundle.manifest.files)} files, every byte as packed"]
    with ExitStack() as stack:
        engines = {modality: stack.enter_context(open_engine(bundle, modality, threads=threads))
                   for modality in MODALITIES}
        for modality, engine in engines.items():
            worst = check_golden(engine, bundle, modality)
            count = len(bundle.golden(modality)[0])
            lines.append(f"{modality:<13} {count} golden embeddings reproduced, worst difference {worst:.1e}")
        if bundle.manifest.retrieval is not None:
            found = check_retrieval(bundle, lambda crops, modality: engines[modality].embed(crops))
            lines.append(f"retrieval     infrared -> visible rank-1 {found.rank1:.1%}, mAP {found.mean_ap:.1%} "
                         f"({found.query_count} queries among the validation crops), as packed")
    lines += _variants(bundle, threads)
    report = verify_pictures(bundle)
    lines.append(f"pictures      {report.picture_count} drawn again from their seed, worst mean difference "
                 f"{report.worst:.2f} grey levels")
    lines.append(f"verified      {bundle.name}: files, embeddings and pictures are those that were packed")
    lines.append(f"fingerprint   {bundle.fingerprint_hex}, as claimed by whoever packed it: not computed again")
    return [*lines, *_origin(bundle)]


def _precisions(bundle: Bundle) -> list[str]:
    """What the gate let in beside float32 and at what cost, and what it refused, with its figures."""
    lines = ["precisions    fp32"]
    for precision, variant in bundle.manifest.variants.items():
        bound = max((loss.bound for loss in variant.gate.rank1.values()), default=None)
        cost = "measured nothing" if bound is None else f"at most {bound:.2f} points of rank-1 lost"
        lines.append(f"  {precision:<12}passed the gate: {cost}")
    return [*lines, *(f"  {precision:<12}refused: {reason}" for precision, reason in bundle.manifest.refused.items())]


def _variants(bundle: Bundle, threads: int) -> list[str]:
    """Hold graphs of lower precision against the golden embeddings, where a processor runs them."""
    from cmnas_edge.engine import check_golden, onnx_runtime, open_engine  # noqa: PLC0415

    lines = []
    for precision in bundle.precisions[1:]:
        if precision not in onnx_runtime.RUNS:
            lines.append(f"{precision:<13} not run: no engine that every device has computes it; see cmnas-edge engine "
                         "race")
            continue
        for modality in MODALITIES:
            with open_engine(bundle, modality, precision=precision, threads=threads) as engine:
                worst = check_golden(engine, bundle, modality)
            lines.append(f"{precision:<13} {modality}: golden embeddings reproduced, worst difference {worst:.1e}")
    return lines


def _origin(bundle: Bundle) -> list[str]:
    """Who has signed it; and whether it is the one of this package, which needs no signature."""
    lines = [f"signed by     {key}" for key in bundle.signers]
    shipped = not lines and voucher(bundle, Trust(allow_unsigned_bundle=True)) == "shipped"
    return lines or ["signed by     nobody; " + ("it is the bundle that ships with this package" if shipped else
                                                 "cameras refuse it unless allow_unsigned_bundle = true in [trust]")]
