"""``cmnas-edge synth crops|site``: draw people into a folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from cmnas_edge.errors import ConfigError, unwritable
from cmnas_edge.progress import Progress
from cmnas_edge.synthetic.files import Asked, begin
from cmnas_edge.synthetic.film import write_site
from cmnas_edge.synthetic.llcm import write_llcm
from cmnas_edge.synthetic.market import write_market
from cmnas_edge.synthetic.regdb import write_regdb
from cmnas_edge.synthetic.site import KINDS, STARTS_AT, Site
from cmnas_edge.synthetic.sysu import write_sysu

__all__ = ["add_arguments", "run"]


LAYOUTS: Final = {"sysu": "SYSU-MM01", "regdb": "RegDB", "llcm": "LLCM", "market": "Market-1501"}
_WRITERS: Final = {"regdb": write_regdb, "llcm": write_llcm, "market": write_market}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare both commands."""
    verbs = parser.add_subparsers(dest="what", required=True, metavar="crops|site")
    crops = verbs.add_parser(
        "crops", help="labelled crops", description="Draw crops in the layout of a published benchmark."
    )
    crops.add_argument(
        "--layout", choices=LAYOUTS, default="sysu",
        help="of which benchmark; only sysu keeps people to validate on apart (default %(default)s)",
    )  # fmt: skip
    crops.add_argument(
        "--permutations", action="store_true", help="sysu: write exp/rand_perm_cam.mat, which draws galleries, too"
    )
    crops.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER",
        help="empty or new; the same command goes on with one that was stopped",
    )  # fmt: skip
    crops.add_argument("--train", type=int, default=296, metavar="N", help="identities (default %(default)s)")
    crops.add_argument(
        "--validation", type=int, metavar="N",
        help="identities (default 99 for sysu, else 0; the other layouts count them to those of --train)",
    )  # fmt: skip
    crops.add_argument("--test", type=int, default=96, metavar="N", help="identities (default %(default)s)")
    crops.add_argument(
        "--per-camera", type=int, default=10, metavar="N",
        help="pictures of each identity under each camera, in each band it sees (default %(default)s)",
    )
    crops.add_argument("--height", type=int, default=256, metavar="PX", help="(default %(default)s)")
    crops.add_argument("--width", type=int, default=128, metavar="PX", help="(default %(default)s)")
    crops.add_argument("--seed", type=int, default=0, help="of the world (default %(default)s)")
    site = verbs.add_parser(
        "site", help="a walk through several cameras", description="Film a site, with the truth beside the footage."
    )
    site.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER",
        help="empty or new; one that was stopped is begun again (the default takes under a minute of one core)",
    )  # fmt: skip
    site.add_argument(
        "--cameras", nargs="+", default=list(KINDS), metavar="KIND",
        help="visible, infrared, or dual: visible until dusk (default: visible visible infrared dual)",
    )  # fmt: skip
    site.add_argument("--people", type=int, default=12, metavar="N", help="(default %(default)s)")
    site.add_argument("--duration-s", type=float, default=120.0, metavar="S", help="(default %(default)s)")
    site.add_argument("--fps", type=float, default=10.0, help="frames per second (default %(default)s)")
    site.add_argument("--dusk-s", type=float, metavar="S", help="when dual cameras change (default: halfway)")
    site.add_argument(
        "--starts-at", type=float, default=STARTS_AT, metavar="S", help="epoch seconds (default: an afternoon)"
    )
    site.add_argument("--codec", choices=("auto", "h264", "mjpg"), default="auto", help="(default %(default)s)")
    site.add_argument("--seed", type=int, default=7, help="of the world (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Draw what is asked.

    Raises:
        ConfigError: It cannot be drawn, or not there.
        DiskFull: The folder's disk is.
    """
    command = {"crops": _crops, "site": _site}[args.what]
    try:
        sys.stdout.write(command(args))
    except ValueError as error:
        raise ConfigError(f"{error}; see cmnas-edge synth {args.what} --help") from error
    except OSError as error:
        raise unwritable(args.out, "what is drawn", error, "choose another") from error
    return 0


def _crops(args: argparse.Namespace) -> str:
    validation = args.validation
    if validation is None:
        validation = 99 if args.layout == "sysu" else 0
    asked = Asked(args.train, validation, args.test, args.per_camera, args.height, args.width, args.seed)
    if args.permutations and args.layout != "sysu":
        raise ValueError(f"crops: expected --permutations with --layout sysu, found {args.layout}")
    asked.check()
    begin(args.out, args.layout, asked, permutations=args.permutations)
    with Progress("crops") as progress:
        if args.layout == "sysu":
            count = write_sysu(args.out, **asked._asdict(), permutations=args.permutations, progress=progress)
        else:
            count = _WRITERS[args.layout](args.out, asked, progress=progress)
    return f"{args.out}: {count} crops of {asked.people_count} people, in the layout of {LAYOUTS[args.layout]}\n"


def _site(args: argparse.Namespace) -> str:
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise ConfigError(f"{args.out}: expected an empty or new folder, found something there; choose another, or "
                          "delete it if a film was stopped there")
    site = Site.draw(
        args.seed,
        args.people,
        args.cameras,
        args.duration_s,
        args.fps,
        starts_at=args.starts_at,
        dusk_s=args.dusk_s,
    )
    with Progress("frames") as progress:
        videos = write_site(site, args.out, progress, codec=args.codec)
    lines = [f"{args.out}: {args.people} people, {len(videos)} cameras, {site.frame_count} frames each"]
    lines += [f"  {camera.name:<12} {camera.kind:<9} {videos[camera.name].name}" for camera in site.cameras]
    return "\n".join(lines) + "\n"
