"""How far a run is, and when it will be done, as a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

__all__ = ["Progress"]


class Progress:
    """Reports at most every ``interval_s`` seconds.

    The remaining time follows from the pace of the steps taken by this process, so a
    resumed run does not believe in steps it never took.

    Args:
        step: Steps already behind the run.
        steps: Steps in all.
        report: Takes a line.
        interval_s: Seconds between two lines.
        clock: Seconds, from any origin.
    """

    def __init__(self, step: int, steps: int, report: Callable[[str], None], *, interval_s: float = 20.0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._first, self._steps, self._report, self._interval_s, self._clock = step, steps, report, interval_s, clock
        self._began = self._told = clock()

    @property
    def minutes(self) -> float:
        """Minutes since this process began to train."""
        return round((self._clock() - self._began) / 60, 2)

    def advance(self, step: int, figures: Mapping[str, float]) -> None:
        """Say that ``step`` steps are done."""
        now = self._clock()
        if now - self._told < self._interval_s:
            return
        self._told = now
        pace_s = (now - self._began) / max(1, step - self._first)
        left_min = pace_s * (self._steps - step) / 60
        terms = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
        self._report(f"step {step}/{self._steps}  {pace_s:.3f} s/step  {left_min:.0f} min left  {terms}")
