"""Python's own memory while a daemon runs: what it began with is set aside, and what comes after is swept often.

Left to itself, Python looks through everything only when a quarter more is there than the last time, so ever more
rarely, and only then empties its lists of freed tuples, which grow to 2,000 of each length: blocks that nothing uses,
ever more of them (`benchmarks.soak` counts them). What is set aside is looked through no more, so that no camera waits
for a look at all that a daemon began with.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["settled"]

_OFTEN = (700, 2, 2)    # all that is new, whenever there are some 6,000 objects more than there were


@contextmanager
def settled() -> Iterator[None]:
    """Set aside what is there, and sweep what comes often, until the end."""
    before = gc.get_threshold()
    gc.freeze()
    gc.collect()    # finds nothing, and remembers that as the size to compare with
    gc.set_threshold(*_OFTEN)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
