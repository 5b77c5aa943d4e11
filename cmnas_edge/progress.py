"""How far a long job is, and how long it still takes: one line that changes, or now and then one in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

__all__ = ["Progress"]

_REDRAW_S: Final = 0.5  # on a terminal
_REPEAT_S: Final = 10.0  # in a log


class Progress:
    """A line on stderr that says how far, and how long still; nothing once its block ends early.

    Args:
        unit: What is counted.
        out: Where to write; a terminal gets one line that changes, a log one now and then.
        clock: Seconds.
        first: What an earlier process had done already; the pace is that of this one.
    """

    def __init__(self, unit: str, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic, *,
                 first: int = 0) -> None:
        self._unit = unit
        self._out = sys.stderr if out is None else out
        self._clock = clock
        self._first = first
        self._live = self._out.isatty()
        self._began = clock()
        self._shown = self._began
        self._open = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._open:
            self._out.write("\n")
            self._out.flush()

    def __call__(self, done: int, every: int, note: str = "") -> None:
        """Say so if it is time to, with a note on what came of it so far."""
        now = self._clock()
        if done < every and now - self._shown < (_REDRAW_S if self._live else _REPEAT_S):
            return
        self._shown = now
        spent = now - self._began
        fresh = done - self._first
        left = f"{spent / fresh * (every - done):.0f} s left" if fresh else "starting"
        text = f"{done} of {every} {self._unit}, {100 * done // every}%, {left if done < every else f'{spent:.0f} s'}"
        text += f", {note}" if note else ""
        self._out.write(f"\r{text:<60}" if self._live else f"{text}\n")
        self._open = self._live
        self._out.flush()

    def say(self, text: str) -> None:
        """Write a line that stays, above the one that changes."""
        self._out.write(f"\r{text:<60}\n" if self._open else f"{text}\n")
        self._open = False
        self._out.flush()
