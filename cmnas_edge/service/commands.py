"""``cmnas-edge service``: print the systemd unit that runs a settings file."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from cmnas_edge import service
from cmnas_edge.errors import ConfigError

__all__ = ["add_arguments", "run"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")    # of its user, too


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("what", choices=["print"], help="print the unit, to keep below /etc/systemd/system")
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="settings of the device or collector")
    parser.add_argument("--room", choices=["camera", "collector"], default="camera", help="whose settings these are")
    parser.add_argument("--name", help="of the unit and its folders; default: cmnas-edge, or cmnas-edge-collector")


def run(args: argparse.Namespace) -> int:
    """Print it.

    Raises:
        ConfigError: The settings cannot be used, or not by a service.
    """
    if args.name is not None and not _NAME.fullmatch(args.name):
        raise ConfigError("--name: expected a letter, and up to 30 more, digits, '-' and '_', since its user is called "
                          f"so, found {args.name!r}; choose another")
    sys.stdout.write(str(service.unit_of(args.config, args.room, args.name)))
    return 0
