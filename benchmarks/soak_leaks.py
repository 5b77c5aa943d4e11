"""Leaks to plant in a soak, so that it is seen to find them: memory, files, threads, spool, lag."""

from __future__ import annotations

import os
import threading
from typing import Any

from cmnas_edge.camera.tally import Tally

__all__ = ["LEAKS", "plant"]

LEAKS = ("memory", "file", "thread", "spool", "lag")


def plant(leak: str | None, spool: Any, transport: Any, tally: Tally) -> None:
    """Spoil it on purpose, a little with every request."""
    kept: list[object] = []
    post, settle, lag = transport.post, spool.settle, tally.lag

    def leaking_post(body: bytes) -> Any:
        if leak == "memory":
            kept.append(os.urandom(100_000))
        elif leak == "file":
            kept.append(os.fdopen(os.open("/dev/null", os.O_RDONLY)))
        elif leak == "thread":
            thread = threading.Thread(target=threading.Event().wait, daemon=True)
            thread.start()
            kept.append(thread)
        elif leak == "lag":
            kept.append(None)
        return post(body)

    def leaking_settle(sequences: Any, name: str | None = None) -> Any:
        return settle([number for number in sequences if number % 8], name)

    transport.post = leaking_post
    if leak == "spool":
        spool.settle = leaking_settle
    elif leak == "lag":
        tally.lag = lambda seconds: lag(seconds + 1e-4 * len(kept))  # type: ignore[method-assign]
