"""``cmnas-edge demo``: from weights to a match across day and night, in one command."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

import msgspec

from cmnas_edge import bundle
from cmnas_edge.demo.film import draw_site, own_videos
from cmnas_edge.demo.play import door, play
from cmnas_edge.demo.plots import draw
from cmnas_edge.demo.report import table
from cmnas_edge.demo.stage import Stage
from cmnas_edge.errors import ConfigError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("--once", action="store_true", help="end when the figures are known instead of staying open")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON "
                        "(schema: docs/demo-report.schema.json)")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), metavar="FOLDER",
                        help="footage, logs, plots (default: demo-out)")
    parser.add_argument("--video", type=Path, action="append", default=[], metavar="FILE",
                        help="your own footage instead of drawn people; again for each camera")
    parser.add_argument("--detector", type=Path, metavar="X.onnx",
                        help="a person detector of YOLOX's layout (default: motion, which needs no weights)")
    parser.add_argument("--bundle", type=Path, metavar="FOLDER", help="model bundle (default: the shipped one)")
    parser.add_argument("--pace", choices=("fast", "real"), default="fast",
                        help="as fast as it can be worked on, or as it was filmed (default: fast)")
    parser.add_argument("--seed", type=int, default=7, help="of the drawn site (default: 7)")
    parser.add_argument("--people", type=int, default=12, help="who walk through it (default: 12)")
    parser.add_argument("--seconds", type=float, default=120.0, help="of footage to draw (default: 120)")


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    Raises:
        CmnasError: A file is missing or a process ended with an error.
    """
    if args.people < 1 or not 10 <= args.seconds <= 3600:
        raise ConfigError(f"demo: expected at least 1 person and 10 to 3600 seconds, found {args.people} and "
                          f"{args.seconds:g}; change --people or --seconds")
    if args.detector is not None and not args.detector.is_file():
        raise ConfigError(f"{args.detector}: expected a detector's ONNX file, found none; correct --detector")
    if args.report is not None and (args.report.is_dir() or not args.report.resolve().parent.is_dir()):
        raise ConfigError(f"{args.report}: expected a file in a folder to write the report in, found "
                          f"{'a folder' if args.report.is_dir() else 'no such folder'}; correct --report")
    model = (args.bundle or bundle.default_path()).resolve()
    opened = bundle.Bundle.open(model)
    print(f"  bundle: {opened.fingerprint_hex[:16]}, {opened.dimension} dimensions, calibrated on "
          f"{opened.calibrated_on} people", file=sys.stderr)
    # Ended from outside, it still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if args.video:
        clips, truth = own_videos(args.video), None
        _claim(args.out)
    else:
        _claim(args.out)
        clips, truth = draw_site(args.out / "footage", seed=args.seed, people=args.people, seconds=args.seconds)
    with Stage(args.out / "logs") as stage:
        api, played = play(clips, args.out / "run", stage, truth=truth, detector=args.detector, bundle=model,
                           pace=args.pace)
        picture = args.out / "demo.png"
        draw(played, picture)
        if args.report is not None:
            args.report.write_bytes(msgspec.json.format(msgspec.json.encode(played.report), indent=2) + b"\n")
        print(table(played.report))
        print(f"\n  picture: {picture}")
        if not args.once:
            print(f"  page:    {api.url}{door(args.out / 'run')}   (lets you in once, within ten minutes; Ctrl-C ends)",
                  flush=True)
            try:
                while stage.alive("collector"):
                    time.sleep(0.5)
            except KeyboardInterrupt:
                print(file=sys.stderr)
    return 0


def _claim(folder: Path) -> None:
    """Take a folder for this run: a new one, an empty one, or one an earlier run took.

    Raises:
        ConfigError: It holds something else, or cannot be written.
    """
    mark = folder / ".cmnas-edge-demo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder}: expected a new folder or one of an earlier demo, found other files, which a "
                              "run would overwrite; name another with --out")
        mark.touch()
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder to write in ({error.strerror}); name another with --out"
                          ) from None
