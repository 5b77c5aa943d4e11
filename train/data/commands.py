"""``python -m train data check|from-video``: what lies on disk, and how footage becomes crops."""

from __future__ import annotations

import argparse
import importlib
from typing import Final

__all__ = ["add_arguments", "run"]

# verb: (module with add_arguments(parser) and run(args) -> int, what it does)
VERBS: Final = {
    "check": ("train.data.check", "say which dataset lies in a folder, and what is wrong with it"),
    "from-video": ("train.data.from_video", "turn recordings into crops per tracklet and modality"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare both verbs; what one of them takes is known, and imported, once it is chosen."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "verbs:\n" + "\n".join(f"  {verb:<11} {what}" for verb, (_, what) in VERBS.items())
    parser.add_argument("what", choices=VERBS, metavar="check|from-video", help="one of the verbs below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="see the verb's --help")


def run(args: argparse.Namespace) -> int:
    """Do what is asked and return the exit code.

    Raises:
        CmnasError: What the verb found, in one sentence.
    """
    module, what = VERBS[args.what]
    room = importlib.import_module(module)
    parser = argparse.ArgumentParser(f"python -m train data {args.what}", description=what)
    room.add_arguments(parser)
    return int(room.run(parser.parse_args(args.rest)))
