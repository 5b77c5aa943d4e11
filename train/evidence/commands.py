"""``python -m train evidence``: make the runs that are left, then write ``docs/results.md`` from their records."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cmnas_edge.errors import ConfigError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("--only", nargs="+", default=[], metavar="WHAT",
                        help="questions, or names of runs (everything)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time, one thread each (1)")
    parser.add_argument("--folder", type=Path, default=Path("runs/evidence"), help="for networks (runs/evidence)")
    parser.add_argument("--records", type=Path, help="the tracked lines (docs/evidence.jsonl)")
    parser.add_argument("--list", action="store_true", help="say what is done and what is left, and end")
    parser.add_argument("--report", action="store_true", help="write docs/results.md from what is there, and end")


def run(args: argparse.Namespace) -> int:
    """Make what is left, tell what is there."""
    from train.evidence import crew, report  # noqa: PLC0415 - numpy and matplotlib; --help needs neither
    from train.evidence.plan import plan  # noqa: PLC0415
    from train.evidence.records import PATH, Records  # noqa: PLC0415

    if args.workers < 1:
        raise ConfigError(f"evidence: expected --workers from 1, found {args.workers}")
    works = plan()
    records = Records(args.records or PATH)
    try:
        left = crew.left(works, args.only, records)
    except ValueError as error:
        raise ConfigError(f"evidence: {error}") from error
    if args.list:
        for work in works:
            sys.stdout.write(f"{'done' if work.name in records else 'left':<6}{work.steps:>6} steps  {work.name}\n")
        return 0
    if not args.report and left:
        try:
            crew.do(left, args.folder, records, workers=args.workers)
        except KeyboardInterrupt:
            sys.stderr.write("evidence: stopped; what is finished is kept, the same command goes on\n")
            return 130
    for path in report.write(works, records):
        sys.stdout.write(f"{path}\n")
    return 0
