"""What a daemon's main thread does while others work: watch them, tell who asks, read settings again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from cmnas_edge import config
from cmnas_edge.camera.running.metrics import exposition
from cmnas_edge.camera.running.pulse import Pulse
from cmnas_edge.camera.running.vitals import Vitals
from cmnas_edge.errors import CmnasError
from cmnas_edge.log import Repeats
from cmnas_edge.monitoring.health import Health, Verdict
from cmnas_edge.notify import Notifier

__all__ = ["Keeper"]

_log = logging.getLogger("cmnas.camera")
_LOOK_S = 1.0
_STATUS_S = 10.0
_LONGEST_CALL_S = 60.0  # of an engine; an hour's worth of crops take less


class Keeper:
    """Steps many times a second, and looks once a second. All but the verdicts belong to one thread.

    Attributes:
        stuck: What hangs, in words; while anything does, systemd's watchdog is not fed.
    """

    def __init__(self, look: Callable[[], Vitals], status: Callable[[], str], notifier: Notifier, *,
                 reread: Callable[[], str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is said before `began`.

        Args:
            look: Takes the vitals.
            status: How it goes, in one line.
            notifier: The way to systemd.
            reread: Reads the settings again and says what that changed; raises ``CmnasError`` and leaves all as it
                was. None: there is nothing to read.
            clock: Monotonic seconds.
        """
        self._look = look
        self._status = status
        self._notifier = notifier
        self._reread = reread
        self._clock = clock
        self._pulse = Pulse(clock)
        self._repeats = Repeats(60.0, clock)
        self._asked_count = self._done_count = 0
        self._look_at = self._tell_at = clock()
        # systemd asks for half the time it waits; a little more often costs nothing.
        self._every_s = min(_LOOK_S, (notifier.watchdog_s or _LOOK_S) / 4)
        self.stuck: tuple[str, ...] = ()

    def reload(self) -> None:
        """Have the settings read again at the next step."""
        self._asked_count += 1  # no more than this: a signal handler may hold no lock

    def health(self, address: str | None) -> AbstractContextManager[object]:
        """Answer who asks there, as long as the context lasts; None: nobody is listened to.

        Raises:
            Transient: The address is another's, or not this machine's yet.
            ConfigError: Nobody may listen there.
            DeviceError: The package that writes metrics is missing.
        """
        if address is None:
            return nullcontext()
        served = Health(config.address(address, "health"), metrics=exposition(self._look).page, alive=self.alive,
                        ready=self.ready)
        _log.info("health: /metrics, /healthz and /readyz at port %d", served.port)
        return served

    def began(self) -> None:
        """Everything has been opened and started."""
        self._notifier.ready(self._status())

    def step(self) -> None:
        """Do what is due."""
        if self._asked_count != self._done_count:
            self._done_count = self._asked_count
            self._read_again()
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + self._every_s
            self._watch(self._look())
        if now >= self._tell_at:
            self._tell_at = now + _STATUS_S
            self._notifier.status(self._status())

    def ending(self) -> None:
        """No more frames are read from now on."""
        self._notifier.stopping("stopping")

    def draining(self) -> None:
        """What is held is being sent, for a bounded time."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + self._every_s
            self._notifier.alive()

    def alive(self) -> Verdict:
        """Whether nothing hangs."""
        return Verdict(not self.stuck, self.stuck)

    def ready(self) -> Verdict:
        """Whether every camera gives frames (or its recording has ended), and the collector answers."""
        now = self._look()
        wrong = [f"camera {camera.name} is {camera.state}" for camera in now.cameras
                 if camera.state not in ("live", "ended")]
        if now.down_s is not None:
            wrong.append(f"the collector has been silent for {now.down_s:.0f} s")
        wrong += self.stuck
        return Verdict(not wrong, tuple(wrong))

    def _watch(self, now: Vitals) -> None:
        stuck = [f"camera {name} hangs" for name in self._pulse.stuck(now.cameras)]
        stuck += [f"a reader of {name} does not return" for name in now.hanging]
        if now.busy_s > _LONGEST_CALL_S:
            stuck.append(f"the engine has been at one call for {now.busy_s:.0f} s")
        self.stuck = tuple(stuck)
        if not stuck:
            self._notifier.alive()
        elif self._repeats.admit("stuck") is not None:
            if self._notifier.watchdog_s:
                _log.error("%s; systemd will start this daemon again", "; ".join(stuck))
            else:
                _log.error("%s; start this daemon again", "; ".join(stuck))

    def _read_again(self) -> None:
        if self._reread is None:
            return
        self._notifier.reloading()
        try:
            said = self._reread()
        except CmnasError as error:
            _log.error("%s; nothing was changed: everything stays as it was", error)
        except Exception as error:  # cameras that work are worth more than a new reading
            _log.error("the settings could not be read again, by a mistake of ours (%s): everything stays as it was; "
                       "report what follows", type(error).__name__, exc_info=True)
        else:
            _log.info("settings read again: %s", said)
        self._notifier.ready(self._status())
