"""A frame, and what gives frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.frames.times import TimeSource

__all__ = ["Frame", "Source"]

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of one camera.

    Attributes:
        image: BGR, shape ``(h, w, 3)``.
        index: Position in the footage, from 0; frames that were dropped or left out count.
        seen_at: When it shows the world, epoch seconds that never run backwards within a run:
            the footage's time, or the time of `frames.times`.
        arrived_at: When it reached this process, monotonic seconds: lag is measured from here.
        shift_s: What to add to `seen_at` for what the wall clock said then; 0 unless it was set.
        time_source: Whose word `seen_at` is: the footage's, the moment of arrival, or the
            sender's own clock.
    """

    image: U8
    index: int
    seen_at: float
    arrived_at: float
    shift_s: float = 0.0
    time_source: TimeSource = "footage"


class Source(Protocol):
    """Frames in the order they were taken; a context manager that can be closed from any thread.

    Iterating ends where recorded footage ends, or after `close`; a live source raises
    ``SourceLost`` instead of ending.

    Attributes:
        recorded: It has its own clock and loses no frame.
        fps: Frames per second at which it gives them by what it says itself; None: as they come.
        dropped_count: Frames that arrived and were replaced by newer ones before they were taken.
    """

    @property
    def recorded(self) -> bool: ...  # noqa: D102 (described above)

    @property
    def fps(self) -> float | None: ...  # noqa: D102 (described above)

    @property
    def dropped_count(self) -> int: ...  # noqa: D102 (described above)

    def __enter__(self) -> Source: ...

    def __exit__(self, *exc: object) -> None: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def __next__(self) -> Frame: ...

    def close(self) -> None:
        """Make the iteration end; safe at any time and more than once."""
