"""A number on a benchmark's command line that is too small is one sentence, before anything is measured."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

__all__ = ["at_least"]


def at_least(parser: argparse.ArgumentParser, args: argparse.Namespace, least: float, *names: str) -> None:
    """End with a sentence where an option, or one of its numbers, is less than it may be.

    Args:
        parser: What read ``args``.
        args: What was asked for.
        least: What each of these may be at least.
        names: Of options, as attributes.
    """
    for name in names:
        given = getattr(args, name)
        for found in given if isinstance(given, Iterable) else [given]:
            if not found >= least:  # no number is no number that large
                parser.error(f"--{name.replace('_', '-')}: expected at least {least:g}, found {found:g}; give more")
