"""From the spool to the collector: batches, patience, and an answer for every record.

A record leaves the spool only on the collector's word for that very record: stored, stored
before, or refused with a reason. Every other outcome (no answer, a wrong token, a proxy's
page) frees nothing and is tried again, ever more slowly, for as long as it takes. What the
collector leaves for now, of another key or of a time to come, does not hold up what is behind it.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable

from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.sending.left import Left
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.transport import Reply, StandsBy, Transport
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.errors import DiskFull, LinkDown
from cmnas_edge.log import Repeats
from cmnas_edge.wire import MAX_REASON, Outcome, WireError, address, decode_answer, encode_batch

__all__ = ["Link"]

_log = logging.getLogger("cmnas.camera")
_REPEAT_S = 600.0
_IDLE_S = 1.0


class Link:
    """Sends what the spool holds, oldest first. One thread calls `step`; nothing here blocks but the transport."""

    def __init__(self, spool: Spool, transport: Transport, settings: LinkSettings, tally: Tally, *,
                 clock: Callable[[], float] = time.monotonic,
                 draw: Callable[[], float] = random.random) -> None:
        """Start with a link that is believed to be up.

        Args:
            spool: What to send, and what to forget once answered for.
            transport: The way to the collector.
            settings: Batch size and patience.
            tally: Where answers and time are counted.
            clock: Monotonic seconds.
            draw: A number in 0..1, for the back-off's jitter.
        """
        self._spool = spool
        self._transport = transport
        self._settings = settings
        self._tally = tally
        self._clock = clock
        self._wanted: deque[tuple[LinkSettings, Transport]] = deque()
        self._draw = draw
        self._repeats = Repeats(_REPEAT_S, clock)
        self._refusals = Repeats(_REPEAT_S, clock)  # in the collector's words, which may differ each time
        self._backoff = Backoff(settings.backoff_s, max(settings.backoff_s, settings.max_backoff_s), clock=clock,
                                draw=draw)
        self._batch = settings.batch
        self._left = Left(clock, settings.max_backoff_s)
        self._waiting_since: float | None = None
        self._not_before = clock()
        self._down_since: float | None = None
        self._hurried = False
        self._why_down = self._why_left = ""
        self._answered: set[int] = set()    # and not settled yet, since a full disk cannot even forget
        self._name = spool.name             # of the spool they were sent from; a damaged one is replaced

    @property
    def answered_count(self) -> int:
        """Records and gaps that the collector answered for and that are still on disk."""
        return len(self._answered)

    @property
    def down_s(self) -> float | None:
        """For how long the collector has not answered; None while it does."""
        return None if self._down_since is None else self._clock() - self._down_since

    @property
    def trouble(self) -> str:
        """Why what waits has not been taken, in a sentence that says what to do; empty if time was short."""
        return self._why_down or (self._why_left if self._left.last else "")

    def adjust(self, settings: LinkSettings, transport: Transport) -> None:
        """Go another way from the next batch on, with other patience; any thread may say so."""
        self._wanted.append((settings, transport))

    def close(self) -> None:
        """Let every way go, at the very end."""
        for transport in (self._transport, *(transport for _, transport in self._wanted)):
            transport.close()

    def hurry(self) -> None:
        """From now on wait for no company, and try at once, as when the daemon is about to end."""
        self._hurried = True
        self._not_before = self._clock()

    def step(self) -> float:
        """Send one batch if one is due.

        Returns:
            Seconds in which there is nothing to do, 0 when there may be more at once.

        Raises:
            Transient: The spool cannot be read or written for now. With a full disk sending goes on.
        """
        while self._wanted:
            self._turn(*self._wanted.popleft())
        now = self._clock()
        if now < self._not_before:
            return self._not_before - now
        if self._name != self._spool.name:
            self._name = self._spool.name
            self._answered.clear()
            self._left.clear()
        self._settle()
        waiting_count = len(self._spool) - len(self._answered)
        if waiting_count < self._batch and not self._hurried:
            if waiting_count == 0 and not self._spool.has_gaps():
                self._waiting_since = None
                if isinstance(self._transport, StandsBy):
                    self._transport.stand_by()
                return _IDLE_S
            if self._waiting_since is None:
                self._waiting_since = now
            left_s = self._waiting_since + self._settings.wait_s - now
            if left_s > 0:
                return left_s
        self._waiting_since = None
        records = self._left.next(self._spool, self._batch, self._answered)
        try:
            gaps = [gap for gap in self._spool.gaps() if gap.last not in self._answered]
        except DiskFull:  # a gap is marked on disk before it is told
            gaps = []
        if self._name != self._spool.name:  # replaced meanwhile: these are the old one's or the new one's
            return 0.0
        if not records and not gaps:
            return min(_IDLE_S, self._left.wait_s())
        body = encode_batch([address(data, self._name, sequence) for sequence, data in records], gaps)
        self._tally.add("requests")
        try:
            with self._tally.timed("send"):
                reply = self._transport.post(body)
        except LinkDown as error:
            return self._failed("down", str(error))
        return self._took(reply, {sequence for sequence, _ in records}, {gap.last for gap in gaps})

    def _turn(self, settings: LinkSettings, transport: Transport) -> None:
        self._transport.close()
        self._transport, self._settings, self._batch = transport, settings, settings.batch
        self._left = Left(self._clock, settings.max_backoff_s)
        self._backoff = Backoff(settings.backoff_s, max(settings.backoff_s, settings.max_backoff_s),
                                clock=self._clock, draw=self._draw)
        self._not_before = self._clock()

    def _took(self, reply: Reply, records: set[int], gaps: set[int]) -> float:
        if reply.status == 413 and len(records) > 1:
            self._batch = max(1, len(records) // 2)
            _log.info("the collector takes fewer records at once: %d from now on", self._batch)
            return 0.0
        if reply.status == 409 and records:
            was_asking = self._left.is_asking
            self._left.leave(max(records))
            self._why_left = _meaning(reply)
            if was_asking:  # as expected, and no reason for those behind to wait
                self._say_failed("status 409", self._why_left)
                return 0.0
        if reply.status != 200:
            return self._failed(f"status {reply.status}", _meaning(reply), reply.retry_after_s)
        try:
            outcomes = decode_answer(reply.body)
        except WireError as error:
            return self._failed("no answer", f"{error}; is [collector] the collector's own address?")
        # An answer frees what was asked about, nothing else.
        mine = [o for o in outcomes if o.spool == self._name and o.sequence in records | gaps]
        if not mine:
            return self._failed("no progress", "the collector answered for none of the records sent; nothing was "
                                               "freed")
        self._answered.update(outcome.sequence for outcome in mine)
        self._count([outcome for outcome in mine if outcome.sequence in records])
        if self._down_since is not None:
            _log.info("the collector answers again after %.0f s; %d records wait", self.down_s,
                      len(self._spool) - len(self._answered))
            self._down_since = None
        self._why_down = ""
        self._backoff.worked()
        self._settle()
        return 0.0

    def _settle(self) -> None:
        """Forget what was answered for; what the disk cannot forget for now is not sent again meanwhile."""
        if not self._answered:
            return
        try:
            self._spool.settle(self._answered, self._name)
        except DiskFull as error:
            if (held := self._repeats.admit("disk")) is not None:
                _log.warning("%s%s; sending goes on", error, _more(held))
        else:
            self._answered.clear()

    def _count(self, outcomes: list[Outcome]) -> None:
        """Count answers, and show refusals."""
        for outcome in outcomes:
            self._tally.add(outcome.result)
            if outcome.result != "refused":
                continue
            held = self._refusals.admit(outcome.reason)
            if held is not None:
                _log.warning("the collector refused record %d for good: %s%s", outcome.sequence,
                             outcome.reason or "it gave no reason", _more(held))

    def _failed(self, key: str, sentence: str, retry_after_s: float = 0.0) -> float:
        now = self._clock()
        if self._down_since is None:
            self._down_since = now
        self._why_down = sentence
        self._say_failed(key, sentence)
        wait_s = max(self._backoff.failed(), min(retry_after_s, self._settings.max_backoff_s))
        self._not_before = now + wait_s
        return wait_s

    def _say_failed(self, key: str, sentence: str) -> None:
        self._tally.add("link_failures")
        held = self._repeats.admit(key)
        if held is not None:
            _log.warning("%s%s; %d records wait", sentence, _more(held), len(self._spool))


def _meaning(reply: Reply) -> str:
    """One sentence for the operator of the camera."""
    status = reply.status
    said = "".join(c if c.isprintable() else " " for c in reply.body.decode("utf-8", "replace")[:MAX_REASON]).strip()
    return {
        400: "the collector cannot read what this version sends (400); give both the same release",
        401: "the collector does not know this device's token (401); enrol the device and write its token file anew",
        403: "the collector does not let this device in (403); enrol the device and write its token file anew",
        404: "expected the collector, found a server without one (404); correct 'collector'",
        409: f"the collector takes none of these records for now (409: {said}); correct that on either side",
        413: "the collector finds even one record too large (413); give both the same release",
        429: "the collector asks for patience (429)",
        503: "the collector cannot store for now (503); look at its disk",
    }.get(status, f"expected the collector's answer, found HTTP status {status}; look at the collector's log")


def _more(held: int) -> str:
    return f" (and {held} times since last said)" if held else ""
