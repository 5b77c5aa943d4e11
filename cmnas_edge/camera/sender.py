"""The thread that sends: it wakes when there may be something to do, and at the end there is only so much time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.outbox import Outbox
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.errors import Transient
from cmnas_edge.log import Repeats

__all__ = ["Sender"]

_log = logging.getLogger("cmnas.camera")
_POLL_S = 0.01


class Sender:
    """Drives a link. `run` is a thread's work; the rest is for others."""

    def __init__(self, spool: Spool, link: Link, outbox: Outbox) -> None:
        self._spool = spool
        self._link = link
        self._outbox = outbox
        self._wake = threading.Event()
        self._ended = threading.Event()

    @property
    def waiting_count(self) -> int:
        """Records on disk that the collector has not answered for."""
        return max(0, len(self._spool) - self._link.answered_count)

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._wake.set()

    def run(self) -> None:
        """Send until `drain` has ended."""
        repeats = Repeats(600.0)
        while not self._ended.is_set():
            try:
                wait_s = self._link.step()
            except Transient as error:
                if repeats.admit(str(error)) is not None:
                    _log.warning("%s", error)
                wait_s = 1.0
            if wait_s > 0:
                self._wake.wait(min(wait_s, 1.0))
                self._wake.clear()

    def drain(self, sending: threading.Thread, at_most_s: float, *, hurried: Callable[[], bool],
              told: Callable[[], None], stuck_s: float) -> int:
        """Send what is held while there is time; return how many records are lost for want of disk.

        Args:
            sending: The thread that runs `run`; it ends.
            at_most_s: How long to wait for the collector.
            hurried: Whether to wait no longer.
            told: Called now and then.
            stuck_s: How long to wait for the thread.
        """
        deadline = time.monotonic() + at_most_s
        self._outbox.flush()
        self._link.hurry()
        self._wake.set()
        while (self.waiting_count or self._spool.has_gaps() or len(self._outbox)) and sending.is_alive():
            if time.monotonic() > deadline or hurried():
                break
            time.sleep(_POLL_S)
            told()
            if len(self._outbox):
                self._outbox.flush()
        self._ended.set()
        self._wake.set()
        sending.join(stuck_s)
        if lost_count := self._outbox.abandon():
            _log.error("%d records could not be put on disk and are lost", lost_count)
        if (waiting_count := self.waiting_count) and not self._spool.in_memory:     # else closing it says what is lost
            _log.warning("%d records wait on disk for the next run", waiting_count)
        return lost_count
