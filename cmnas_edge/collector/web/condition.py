"""Whether a collector does its work: in a word for anybody, in sentences for who asks on its own machine.

A load balancer or a watcher asks ``/healthz`` where cameras and people do, and needs no log-in: it is answered ``ok``
or ``degraded``, from anywhere, and told nothing else. However often it asks, this looks once a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from cmnas_edge.collector import views
from cmnas_edge.errors import CmnasError
from cmnas_edge.monitoring.health import Verdict

__all__ = ["BEHIND_S", "PATH", "Condition", "troubles"]

PATH = "/healthz"
BEHIND_S = 60.0     # sightings that wait for longer to be matched are a trouble
_AGAIN_S = 1.0


def troubles(now: views.Health) -> dict[str, str]:
    """What is in trouble, part by part, and why. ``retention`` is: it keeps nobody from storing and finding."""
    found = {"storing": now.message if now.status == "full" else "",
             "devices": now.message if now.status == "refusing" else "",
             "matching": f"sightings wait for {now.behind_s:.0f} s to be matched" if now.behind_s > BEHIND_S else "",
             "broker": now.broker, "index": now.index, "retention": now.retention.trouble}
    return {part: why for part, why in found.items() if why}


class Condition:
    """Says whether it does its work; any thread may ask.

    Args:
        health: How it is now.
        runs: Whether the thread that stores sightings does.
        clock: Seconds that never go back.
    """

    def __init__(self, health: Callable[[], views.Health], runs: Callable[[], bool], *,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._runs = runs
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[float, Verdict] = (float("-inf"), Verdict(True))

    def alive(self) -> Verdict:
        """Whether a new start is not what it needs."""
        return Verdict(True) if self._runs() else Verdict(False, ("nothing is stored since an error; it ends",))

    def ready(self) -> Verdict:
        """Whether sightings are stored, matched and found again, and why not; as of a second ago at most.

        One at a time looks. Whoever asks meanwhile hears what was so before, and waits for nothing: a disk that hangs
        holds up one thread, not all.
        """
        if self._clock() - self._known[0] >= _AGAIN_S and self._lock.acquire(blocking=False):
            try:
                self._known = (self._clock(), self._look())
            finally:
                self._lock.release()
        return self._known[1]

    async def serve(self, request: Request) -> Response:
        """Answer anybody: ``ok``, or with 503 ``degraded``."""
        del request
        well = (await run_in_threadpool(self.ready)).well
        return Response("ok\n" if well else "degraded\n", 200 if well else 503, {"Cache-Control": "no-store"},
                        media_type="text/plain")

    def _look(self) -> Verdict:
        try:
            found = {part: why for part, why in troubles(self._health()).items() if part != "retention"}
        except CmnasError as error:
            found = {"storing": str(error)}
        if not (alive := self.alive()).well:
            return alive
        return Verdict(not found, tuple(f"{part}: {why}" for part, why in found.items()))
