"""What waits for the engine, from all cameras: who is served first, how many at once, and who is not served at all.

More people than the engine can take are no accident but a choice. Served first are people whom this device has told
nobody of yet, then those untold for the longest; cameras take turns, so that a crowd before one does not silence the
others. What is left over are repeats, the freshest first: whatever of a live camera cannot be on disk within the
budget is shed and counted, and who is still in view is due again at once, with newer views. Recorded footage waits
instead and loses nothing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.settings import EngineSettings
from cmnas_edge.camera.tally import Tally

__all__ = ["Backlog", "Untold", "Waiting"]

_MOST_RECORDED = 64     # picks of recorded footage that may wait
_MOST_CROPS = 2048      # of live cameras: 50 MB of 128x64, 200 MB of 256x128
_FADES = 0.8            # how fast a slow turn is forgotten


class Waiting(NamedTuple):
    """A pick on its way to the engine.

    Attributes:
        camera: Whose.
        pick: What one sighting will be made of.
        arrived_at: When the frame that made it due reached this process, monotonic seconds.
    """

    camera: str
    pick: Pick
    arrived_at: float


class Untold(NamedTuple):
    """Somebody whose pick was shed.

    Attributes:
        tracklet: Who.
        seen_from: Since when nothing was told of them.
    """

    tracklet: int
    seen_from: float


class Backlog:
    """Cameras put picks in, one thread takes them in turns of a batch; any thread may read the counts."""

    def __init__(self, settings: EngineSettings, tally: Tally, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nobody waiting.

        Args:
            settings: ``max_batch``, ``batch_wait_s`` and ``budget_s`` of them.
            tally: Where sheddings and delays are noted.
            clock: Monotonic seconds.
        """
        self._settings = settings
        self._tally = tally
        self._clock = clock
        self._changed = threading.Condition()
        # All below is shared, under the condition's lock.
        self._live: list[Waiting] = []
        self._recorded: deque[Waiting] = deque()
        self._told_at: dict[str, dict[int, float]] = defaultdict(dict)
        self._shed: Counter[str] = Counter()
        self._untold: dict[str, dict[int, float]] = defaultdict(dict)
        self._crop_s = 0.0      # what a crop costs, from taken to on disk
        self._turn_s = 0.0      # what a turn has lately taken at most
        self._keeps_all = False
        self._closed = False

    def put(self, camera: str, picks: Sequence[Pick], arrived_at: float, *, recorded: bool,
            wait_s: float = 1.0) -> bool:
        """Add picks; those of recorded footage wait so long for room.

        Returns:
            Whether they were taken in; a live camera's always are, at the cost of others perhaps.
        """
        waiting = [Waiting(camera, pick, arrived_at) for pick in picks]
        with self._changed:
            if not recorded:
                untold = self._untold[camera]
                self._live += [w if (since := untold.pop(w.pick.tracklet, None)) is None else _since(w, since)
                               for w in waiting]
                self._shed_late()
                self._shed_most()
            elif self._changed.wait_for(lambda: len(self._recorded) < _MOST_RECORDED, wait_s):
                self._recorded += waiting
            else:
                return False
            self._changed.notify_all()
            return True

    def take(self, wait_s: float) -> list[Waiting] | None:
        """Take the next turn: a full batch, or what came together within ``batch_wait_s`` of the first.

        Args:
            wait_s: How long to wait for any.

        Returns:
            Empty if nobody came; None if nobody will.
        """
        end = self._clock() + wait_s
        with self._changed:
            while True:
                self._shed_late()
                now = self._clock()
                if self._crop_count() >= self._at_once() or self._closed or self._keeps_all:
                    break
                oldest = min((waiting.arrived_at for waiting in (*self._live, *self._recorded)), default=None)
                until = end if oldest is None else oldest + self._settings.batch_wait_s
                if now >= until:
                    break
                self._changed.wait(until - now)
            turn = self._next()
            if not turn and self._closed:
                return None
            self._changed.notify_all()
            return turn

    def done(self, turn: Sequence[Waiting], spent_s: float) -> None:
        """Learn from a turn whose sightings are on disk now.

        Args:
            turn: As taken, not empty.
            spent_s: Seconds since then.
        """
        crop_count = sum(waiting.pick.view_count for waiting in turn)
        now = self._clock()
        for waiting in turn:
            self._tally.delay(now - waiting.arrived_at)
        with self._changed:
            cost = spent_s / crop_count
            self._crop_s = cost if not self._crop_s else self._crop_s + (1 - _FADES) * (cost - self._crop_s)
            self._turn_s = max(spent_s, _FADES * self._turn_s)
            for camera, pick, arrived_at in turn:
                self._told_at[camera][pick.tracklet] = arrived_at

    def forget(self, camera: str, in_view: Collection[int]) -> None:
        """Remember of a camera's tracklets no longer when they were told of, but of those in view or that wait."""
        with self._changed:
            told = self._told_at[camera]
            if len(told) > len(in_view):
                waiting = {one.pick.tracklet for one in self._live if one.camera == camera}
                self._told_at[camera] = {tracklet: at for tracklet, at in told.items()
                                         if tracklet in in_view or tracklet in waiting}

    def keep_all(self) -> None:
        """Shed nothing from now on: what is held is the last that will come."""
        with self._changed:
            self._keeps_all = True
            self._changed.notify_all()

    def close(self) -> None:
        """Say that nobody will come any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def untold(self, camera: str) -> list[Untold]:
        """Whose picks were shed since this was last asked of a camera."""
        with self._changed:
            return [Untold(*one) for one in self._untold.pop(camera, {}).items()]

    @property
    def shed(self) -> Mapping[str, int]:
        """Picks shed so far, by camera."""
        with self._changed:
            return dict(self._shed)

    def __len__(self) -> int:
        """Picks that wait."""
        with self._changed:
            return len(self._live) + len(self._recorded)

    def _at_once(self) -> int:
        """Crops of one turn: a batch, or as many as a quarter of the budget is enough for."""
        if not self._crop_s:
            return self._settings.max_batch
        return max(1, min(self._settings.max_batch, int(self._settings.budget_s / 4 / self._crop_s)))

    def _crop_count(self) -> int:
        return sum(waiting.pick.view_count for waiting in (*self._live, *self._recorded))

    def _next(self) -> list[Waiting]:
        """Whose turn it is: live cameras' in the order of their claims, then recorded ones in that of time."""
        most, count = self._at_once(), 0
        turn: list[Waiting] = []
        if self._live:
            order = self._ranked()
            while order and (not turn or count + order[0].pick.view_count <= most):
                count += order[0].pick.view_count
                turn.append(order.pop(0))
            self._live = order
        while self._recorded and (not turn or count < most):
            count += self._recorded[0].pick.view_count
            turn.append(self._recorded.popleft())
        return turn

    def _ranked(self) -> list[Waiting]:
        """Live picks by claim: never told first, then the longest untold; within each, cameras take turns."""
        own: dict[tuple[bool, str], list[Waiting]] = defaultdict(list)
        for waiting in self._live:
            own[waiting.pick.tracklet in self._told_at[waiting.camera], waiting.camera].append(waiting)
        places = []
        for (told, camera), group in own.items():
            group.sort(key=lambda w: (self._told_at[w.camera].get(w.pick.tracklet, 0.0), w.arrived_at))
            places += [(told, place, camera) for place in range(len(group))]
        return [own[told, camera][place] for told, place, camera in sorted(places)]

    def _shed_late(self) -> None:
        """Let go what cannot be on disk within the budget, were it taken now."""
        if self._keeps_all:
            return
        # Twice what a turn lately took, since the next may take longer. Turns beyond a quarter of the budget cannot be
        # kept to it; then at least something is served.
        left_s = self._settings.budget_s - min(2 * self._turn_s, self._settings.budget_s / 2)
        oldest = self._clock() - left_s
        self._let_go([waiting for waiting in self._live if waiting.arrived_at >= oldest])

    def _shed_most(self) -> None:
        """Let go the least claims beyond what memory is meant for."""
        count = sum(waiting.pick.view_count for waiting in self._live)
        if count <= _MOST_CROPS:
            return
        order = self._ranked()
        while count > _MOST_CROPS and len(order) > 1:
            count -= order.pop().pick.view_count
        self._let_go(order)

    def _let_go(self, kept: list[Waiting]) -> None:
        if len(kept) == len(self._live):
            return
        staying = set(map(id, kept))
        untold: dict[tuple[str, int], float] = {}
        for waiting in self._live:
            if id(waiting) not in staying:
                self._shed[waiting.camera] += 1
                key = waiting.camera, waiting.pick.tracklet
                untold[key] = min(waiting.pick.seen_from, untold.get(key, waiting.pick.seen_from))
        self._tally.add("shed", len(self._live) - len(kept))
        # Whom another pick that waits is about, that one tells of for all the time.
        self._live = [w if (since := untold.pop((w.camera, w.pick.tracklet), None)) is None else _since(w, since)
                      for w in kept]
        for (camera, tracklet), since in untold.items():
            self._untold[camera][tracklet] = since


def _since(waiting: Waiting, seen_from: float) -> Waiting:
    pick = waiting.pick
    return waiting._replace(pick=pick._replace(seen_from=min(seen_from, pick.seen_from)))
