"""What the next steps need, made by other threads while this step computes.

For anything that follows from a step's number alone, as batches and their augmentation do: who asks for step 17 gets
the same, whether it was made ahead or not. numpy, OpenCV and torch release Python's lock while they work.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """Makes steps before they are asked for; a context manager.

    Args:
        make: What a step needs, by its number; called from several threads at once.
        end: No step from this one on is made ahead.
        workers: Threads; with 0, nothing is made before it is asked for.
    """

    def __init__(self, make: Callable[[int], T], *, end: int, workers: int) -> None:
        self._make, self._end, self._workers = make, end, workers
        self._waiting: dict[int, Future[T]] = {}
        self._pool = ThreadPoolExecutor(workers, "ahead") if workers else None

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def at(self, step: int) -> T:
        """What a step needs. Steps are best asked for in order, but may be in any.

        Raises:
            Exception: What ``make`` raised for this step.
        """
        if self._pool is None:
            return self._make(step)
        # One more than there are threads, so that none waits for this one to ask.
        wanted = range(step, max(step + 1, min(step + 2 + self._workers, self._end)))
        for other in [other for other in self._waiting if other not in wanted]:
            self._waiting.pop(other).cancel()
        for each in wanted:
            if each not in self._waiting:
                self._waiting[each] = self._pool.submit(self._make, each)
        return self._waiting.pop(step).result()

    def close(self) -> None:
        """End the threads; what they were making is dropped."""
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
