"""``cmnas-edge key make|show FILE``: a site's key, and the number it goes by."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cmnas_edge.sighting import key_id
from cmnas_edge.site_key import SiteKey

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.epilog = "How to back up, change and lose a key is in docs/keys.md."
    parser.add_argument("action", choices=("make", "show"),
                        help="make: draw a key into a new file, mode 0600; show: print the number of one")
    parser.add_argument("file", type=Path, metavar="FILE", help="the key's file")


def run(args: argparse.Namespace) -> int:
    """Make a key, or read one, and print what settings say of it; never the key itself.

    Raises:
        ConfigError: It cannot be written or read.
    """
    key = SiteKey.make(args.file) if args.action == "make" else SiteKey.load(args.file)
    sys.stdout.write(f'every camera      site_key = "{args.file}"    # a copy of this file, mode 0600\n'
                     f'the collector     site_key_id = "{key_id(key.transform)}"\n')
    return 0
