"""``cmnas-edge collector calibrate``: hold this site's scores against the calibration, and make one of the site's own.

The bundle stays as it is: what is written is a file that the settings may name. Which pairs are known to be one
person or two, and how: `cmnas_edge.collector.witnesses`. The journal is only read, a running collector's too.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from cmnas_edge.calibration import PAIRS, Calibration, Pair, Scale, Threshold, encode
from cmnas_edge.calibration.fit import Plan, Scores, fit, shortfall
from cmnas_edge.collector import settings as collector_settings
from cmnas_edge.collector.accepted import leading, read_stored
from cmnas_edge.collector.drifts import as_alike, held_against
from cmnas_edge.collector.keeping_commands import keys_of
from cmnas_edge.collector.person_commands import note
from cmnas_edge.collector.settings import CollectorSettings
from cmnas_edge.collector.store.keys import Keys
from cmnas_edge.collector.store.reading import Reading
from cmnas_edge.collector.store.schema import SCHEMA
from cmnas_edge.collector.witnesses import Witnessed, read, said, witnessed
from cmnas_edge.errors import ConfigError, WrongCommand, unwritable
from cmnas_edge.private import write_private

__all__ = ["Refined", "add_arguments", "calibrate", "refine"]

_TWICE = 0.01   # share of certain strangers as alike as one person, above which a camera may follow people twice


class Refined(NamedTuple):
    """A calibration of this site.

    Attributes:
        found: It.
        lacking: Pairs of modalities whose scale is the earlier one, and what they lack.
    """

    found: Calibration
    lacking: Mapping[Pair, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of the command."""
    parser.add_argument("--rate", type=float, help="calibrate: share of strangers that may match; default: as now")


def calibrate(words: list[str], args: argparse.Namespace) -> int:
    """Tell how this site's scores lie, and write a calibration where one is asked for.

    Raises:
        CmnasError: It cannot be done, or not be noted in the audit log; nothing was written.
    """
    if words or args.config is None:
        raise WrongCommand("calibrate: expected the settings file, as in: cmnas-edge collector calibrate --config "
                           "collector.toml --out site-calibration.json")
    settings = collector_settings.load(args.config)
    model = leading(settings)
    earlier = model.calibration
    plans = {name: _plan(threshold, args.rate, earlier) for name, threshold in earlier.thresholds.items()}
    if args.out is not None and args.out.exists():
        read_stored(args.out, model.fingerprint_hex)     # nothing else is replaced
    with _journal(settings) as journal:
        decided = said(journal.decisions())
        seen = read(journal, model.fingerprint, model.dimension, since=0.0, most=settings.hot_limit)
    known = witnessed(seen, decided)
    note(settings, "calibration", _noted(args, len(seen), known), args.reason)
    sys.stdout.write(f"{len(seen)} tracklets; {known.people} people confirmed to be seen more than once"
                     f"{_contradicted(known)}\n\n")
    sys.stdout.write("\n".join(_drifted(earlier, known)) + "\n")
    if args.out is None:
        sys.stdout.write("\nnothing written; --out FILE makes a calibration of this\n")
        return 0
    refined = refine(earlier, known.scores, plans)
    sys.stdout.write("\n" + "\n".join(_compared(earlier, refined)) + "\n")
    try:
        write_private(args.out, encode(refined.found))
        args.out.chmod(0o644)
    except OSError as error:
        raise unwritable(args.out, "a calibration", error, "name another --out", kind="a file") from None
    sys.stdout.write(f"\nwritten {args.out}; judge by it with: calibration = \"{args.out.name}\" in "
                     f"{args.config.name}, and start the collector again\n")
    return 0


def refine(earlier: Calibration, scores: Mapping[Pair, Scores], plans: Mapping[Pair, Plan]) -> Refined:
    """Make a site's calibration from pairs of which the truth is known.

    A pair of modalities of which too little was seen keeps its threshold and scale, and on whom they were found.

    Args:
        earlier: The one in effect.
        scores: What was witnessed.
        plans: What is asked, per pair.

    Raises:
        ConfigError: Too little was seen of every pair; or of one whose scale the earlier calibration lacks.
        BundleError: The network tells nobody apart here.
    """
    lacking = {name: short for name in PAIRS if (short := shortfall(scores[name], plans[name]))}
    if len(lacking) == len(PAIRS) or (lacking and not earlier.scales):
        sentences = "; ".join(f"{name}: {short}" for name, short in lacking.items())
        raise ConfigError(f"calibrate: {sentences}; confirm more links, wait for more people, or give a larger --rate"
                          + ("" if earlier.scales else "; or calibrate the bundle first, which has thresholds alone"))
    thresholds: dict[Pair, Threshold] = {}
    scales: dict[Pair, Scale] = {}
    for name in PAIRS:
        if name in lacking:
            thresholds[name] = earlier.thresholds[name]
            scales[name] = msgspec.structs.replace(earlier.scales[name], calibrated_on=earlier.origin(name))
        else:
            thresholds[name], scales[name] = fit(name, scores[name], "site", plans[name])
    prior = next(iter(plans.values())).prior
    return Refined(Calibration(2, earlier.fingerprint, "site", thresholds, scales, prior), lacking)


def _plan(threshold: Threshold, rate: float | None, earlier: Calibration) -> Plan:
    wanted = threshold.false_match_rate if rate is None else rate
    prior = Plan().prior if earlier.prior is None else earlier.prior
    try:
        return Plan(rate=wanted, unsure_rate=min(10 * wanted, 0.5), prior=prior, resamples=500)
    except ValueError as error:
        raise WrongCommand(f"calibrate: {error}; correct --rate") from None


@contextmanager
def _journal(settings: CollectorSettings) -> Iterator[Reading]:
    path = settings.data / "journal.sqlite"
    if not path.is_file():
        raise ConfigError(f"{path}: expected a collector's journal, found none; correct data, or run the collector")
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise ConfigError(f"{path}: expected a collector's journal, found a file that cannot be read ({error}); "
                              "correct data, or restore it from a backup") from None
        if version != SCHEMA:
            raise ConfigError(f"{path}: expected a journal of schema {SCHEMA}, found {version}; start this release's "
                              "collector once, which makes it one, or use the cmnas-edge that wrote it")
        yield Reading(path, db, Keys(keys_of(settings), master=settings.master_key, make=False))
    finally:
        db.close()


def _contradicted(known: Witnessed) -> str:
    if not known.contradicted:
        return ""
    return (f"; {known.contradicted} more left out: one camera saw two of their tracklets at one time, so the decision "
            "is wrong or the camera follows somebody twice")


def _noted(args: argparse.Namespace, tracklets: int, known: Witnessed) -> dict[str, Any]:
    """What the audit log keeps: what was asked for, and of how much."""
    pairs = {f"{name}, {of}": len(scores) for name in PAIRS for of, scores in (
        ("strangers", known.scores[name].impostor), ("one person", known.scores[name].genuine))}
    return {"do": "calibrate", "rate": args.rate, "out": None if args.out is None else str(args.out),
            "tracklets": tracklets, "people": known.people, "pairs": pairs}


def _drifted(earlier: Calibration, known: Witnessed) -> Iterator[str]:
    yield (f"{'pair':<18} {'of':<10} {'pairs':>9} {'people':>7} {'then':>9} {'median moved':>13} {'index':>7} "
           f"{'by chance':>10} {'gap':>6}  drift")
    for held in held_against(earlier, known.scores):
        line = (f"{held.pair:<18} {'strangers' if held.strangers else 'one person':<10} {len(held.now):>9} "
                f"{held.people:>7} ")
        yield line + ("none to compare" if (moved := held.drift) is None else
                      f"{moved.then_count:>9} {moved.shift:>+13.2f} {moved.index:>7.3f} {moved.by_chance:>10.3f} "
                      f"{moved.largest_gap:>6.3f}  {moved.word}")
        if (share := as_alike(earlier, held)) > _TWICE:
            yield (f"  {share:.1%} of these strangers are as alike as one person: does a camera follow somebody "
                   "twice at one time?")


def _compared(earlier: Calibration, refined: Refined) -> Iterator[str]:
    yield f"{'pair':<18} {'found on':<9} {'cosine from':>12} {'':<18} {'before':>8} {'strangers':>10} {'missed':>7}"
    for name in PAIRS:
        threshold, scale = refined.found.thresholds[name], refined.found.scales[name]
        point = next((p for p in scale.points if p.false_match_rate == threshold.false_match_rate), None)
        between = "" if point is None else f"({point.score_between[0]:.4f} to {point.score_between[1]:.4f})"
        yield (f"{name:<18} {scale.calibrated_on:<9} {threshold.score:>12.4f} {between:<18} "
               f"{earlier.thresholds[name].score:>8.4f} {threshold.false_match_rate:>10.2%} "
               f"{threshold.false_non_match_rate:>7.1%}")
        if short := refined.lacking.get(name, ""):
            yield f"  as before: {short}"
    yield "missed: of the links that people confirmed; one that was never suggested is in no figure"
    if refined.found.only_suggests("visible-infrared"):
        yield "links across visible and infrared stay suggestions"
