"""The camera daemon: threads that watch, one that embeds, one that sends, and an end in good order.

::

    watch (a thread per live camera) -> backlog -> embed -> outbox -> spool -> link -> collector

All cameras share one engine for each modality, and its calls. A live camera never waits for it: what the engine
cannot take in time is shed by choice (`backlog`), and frames that nobody came to look at give way to newer ones;
both are counted. Recorded footage waits instead. Asked to stop, it ends the tracklets in view, embeds and spools what
is held, and tries to send for a bounded time; what is left on disk is sent by the next run.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

from cmnas_edge import log
from cmnas_edge.camera.backlog import Backlog, Untold
from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.checkup import Checkup
from cmnas_edge.camera.embedder import Embedder
from cmnas_edge.camera.frames.frame import Source
from cmnas_edge.camera.frames.source import open_source
from cmnas_edge.camera.overlap import Overlap
from cmnas_edge.camera.override import Orders
from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.pipeline import Pipeline, Trace
from cmnas_edge.camera.running.keeper import Keeper
from cmnas_edge.camera.running.reload import LIVE, compare
from cmnas_edge.camera.sender import Sender
from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.outbox import Outbox
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.transport import Transport
from cmnas_edge.camera.settings import DeviceSettings, SourceSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.camera.watch import Camera, check_camera, watch, watch_together
from cmnas_edge.embedding import Modality
from cmnas_edge.engine import Engine
from cmnas_edge.errors import CmnasError, ConfigError, DiskFull, LinkDown
from cmnas_edge.notify import Notifier
from cmnas_edge.sealing import Sealer
from cmnas_edge.site_key import Rotation

__all__ = ["Daemon"]

_log = logging.getLogger("cmnas.camera")
_POLL_S = 0.1
_STUCK_S = 5.0          # a thread that has not ended this long after being asked is left behind


class Daemon:
    """One device at work. Make it, `run` it once; `stop` may be called from anywhere, a signal handler too.

    Attributes:
        keeper: Says of it how it is; its `reload` may be called from a signal handler, too.
    """

    def __init__(self, settings: DeviceSettings, engines: Mapping[Modality, Engine], *, fingerprint: bytes,
                 crop_size: tuple[int, int], preprocessing: str, spool: Spool, transport: Transport, tally: Tally,
                 rotation: Rotation | None = None, also: Overlap | None = None, notifier: Notifier | None = None,
                 orders: Orders | None = None,
                 reread: Callable[[], tuple[DeviceSettings, Callable[[DeviceSettings], Transport]]] | None = None,
                 open_from: Callable[[SourceSettings], Source] = open_source,
                 backoff: Callable[[], Backoff] = Backoff) -> None:
        """Open every camera's detector and look at every source, before any frame is read.

        Args:
            settings: What the operator wrote.
            engines: One per modality that these cameras can have.
            fingerprint: Of the bundle behind the engines.
            crop_size: Rows and columns of a crop: the bundle's.
            preprocessing: How crops are made: the bundle's.
            spool: Where records wait.
            transport: The way to the collector.
            tally: What the transport counts into, too.
            rotation: Turns vectors with the site's key; None leaves them as they are.
            also: Tells of everybody by a second bundle, too, for a while; None: nothing does.
            notifier: The way to systemd; None: nobody is told.
            orders: What others say by message of a camera's modality; None: nobody does.
            reread: Reads the settings again, and gives what opens the way to the collector; None: nothing can.
            open_from: Opens sources.
            backoff: Makes the patience of one camera's reading.

        Raises:
            ConfigError: A detector's or a recording's file is missing or not what it should be.
        """
        self._settings = settings
        self._spool = spool
        self._tally = tally
        self._backoff = backoff
        self._link = Link(spool, transport, settings.link, tally)
        self._embedder = Embedder(settings.device, fingerprint, engines, settings.engine.packing, tally, rotation,
                                  Sealer(bytes.fromhex(settings.link.seal_to)) if settings.link.seal_to else None)
        self._also = also
        self._outbox = Outbox(spool, settings.spool.memory_count, tally)
        self._sender = Sender(spool, self._link, self._outbox)
        detectors = [check_camera(camera, open_from) for camera in settings.cameras]
        self._trace = None if settings.trace is None else Trace(settings.trace)
        # Numbers of one run never meet another's; they stay exact in JSON for two million runs.
        first_tracklet = (spool.run << 32) + 1
        self._cameras = [
            Camera(camera, Pipeline(camera, detector, tally, height=crop_size[0], width=crop_size[1],
                                    definition=preprocessing, also=None if also is None else also.cut,
                                    first_tracklet=first_tracklet, trace=self._trace, orders=orders),
                   partial(open_from, camera.source))
            for camera, detector in zip(settings.cameras, detectors, strict=True)]
        self._backlog = Backlog(settings.engine, tally)
        self._reread = reread
        self._checkup = Checkup(self._cameras, self._backlog, engines, fingerprint, spool, self._link, tally, also=also)
        if also is not None:
            also.on_end = self._cut_once
        self.keeper = Keeper(self._checkup, self._checkup.line, notifier or Notifier({}),
                             reread=self._adjust if reread else None)
        self._asked_count = 0
        self._stop = threading.Event()      # read no more frames
        self._crash: BaseException | None = None
        self._failures: list[CmnasError] = []

    def stop(self) -> None:
        """Ask it to end in good order; asked twice, it does not wait for the collector."""
        self._asked_count += 1  # no more than this: a signal handler may hold no lock

    def run(self) -> None:
        """Work until every recording has ended or `stop` was called, then drain.

        Raises:
            DiskFull: Records were lost, since the disk never took them.
            ConfigError: The collector refused records for good.
            LinkDown: All recordings ended, and the collector did not take everything in time.
            CmnasError: A camera could not go on although the others did; or the spool is unusable.
        """
        began = time.monotonic()
        with self._trace or nullcontext(), self.keeper.health(self._settings.health):
            embedding = self._start(self._embed, "embed")
            sending = self._start(self._sender.run, "send")
            watching = self._watch_all()
            self.keeper.began()
            try:
                self._wait_for(watching, began)
            finally:
                self._stop_reading(watching)
            self._backlog.close()
            embedding.join()
            lost_count = self._sender.drain(sending, self._settings.drain_s, hurried=lambda: self._asked_count > 1,
                                            told=self.keeper.draining, stuck_s=_STUCK_S)
            self._link.close()
        self._report(began)
        if self._crash is not None:
            raise self._crash
        if self._failures:
            raise self._failures[0]
        if lost_count:
            raise DiskFull(f"{self._settings.spool.path}: expected room for every record, found none; {lost_count} "
                           "records are lost: free disk space, then start again")
        if refused_count := self._tally["refused"]:
            raise ConfigError(f"{self._settings.collector}: expected every record stored, found {refused_count} "
                              "refused for good; the log says why, so correct that before the next run")
        if not self._asked_count and (left := self._sender.waiting_count):
            then = ("they were in memory only and are lost: see to the disk, and to the collector, then start again"
                    if self._spool.in_memory else f"{trouble}; then start again: they are on disk"
                    if (trouble := self._link.trouble) else "start again, or give it longer: they are on disk")
            raise LinkDown(f"{self._settings.spool.path}: expected everything delivered within drain_s = "
                           f"{self._settings.drain_s:g} s, found {left} records waiting; {then}")

    def _watch_all(self) -> list[threading.Thread]:
        """Start reading: recordings at full speed together, every other camera on its own."""
        fast = [camera for camera in self._cameras if camera.settings.source.pace == "fast" and _is_recorded(camera)]
        threads = [self._start(self._watch_one, f"watch {camera.settings.name}", camera)
                   for camera in self._cameras if camera not in fast]
        return [*threads, self._start(self._watch_fast, "watch", fast)] if fast else threads

    def _watch_one(self, camera: Camera) -> None:
        try:
            watch(camera, self._emit, self._stop, self._tally, backoff=self._backoff())
        except CmnasError as error:
            self._failed(camera, error)

    def _watch_fast(self, cameras: Sequence[Camera]) -> None:
        watch_together(cameras, self._emit, self._stop, self._tally, self._failed)

    def _failed(self, camera: Camera, error: CmnasError) -> None:
        self._failures.append(error)
        _log.error("camera %s: %s; the others go on", camera.settings.name, error)

    def _emit(self, camera: Camera, picks: Sequence[Pick], arrived_at: float) -> list[Untold]:
        name = camera.settings.name
        while picks and self._crash is None and not self._backlog.put(name, picks, arrived_at,
                                                                      recorded=camera.recorded):
            pass    # crashed, nobody may be left to take them
        self._backlog.forget(name, camera.pipeline.in_view)
        return self._backlog.untold(name)

    def _embed(self) -> None:
        """Embed what has come together, from all cameras, until told that there will be no more."""
        while self._crash is None and (turn := self._backlog.take(1.0)) is not None:
            if not turn:
                if self._also is not None:
                    self._also.look()
                self._outbox.flush()
                continue
            began = time.monotonic()
            self._outbox.put(self._told([(waiting.camera, waiting.pick) for waiting in turn]))
            self._backlog.done(turn, time.monotonic() - began)
            self._sender.wake()

    def _told(self, picks: Sequence[tuple[str, Pick]]) -> list[bytes]:
        """What is told of picks: first by the bundle that goes, as everybody who is known is known by it."""
        return [*(() if self._also is None else self._also.records(picks)), *self._embedder.records(picks)]

    def _cut_once(self) -> None:
        for camera in self._cameras:
            camera.pipeline.cut_once()

    def _wait_for(self, watching: Sequence[threading.Thread], began: float) -> None:
        """Wait for the cameras to end, or to be asked to; say how it goes from time to time."""
        said_at = began
        while any(thread.is_alive() for thread in watching) and not self._asked_count and self._crash is None:
            time.sleep(_POLL_S)
            self.keeper.step()
            if time.monotonic() - said_at >= self._settings.status_s:
                said_at = time.monotonic()
                _log.info("so far: %s", self._checkup.status(said_at - began))

    def _stop_reading(self, watching: Sequence[threading.Thread]) -> None:
        self._stop.set()
        self.keeper.ending()
        self._backlog.keep_all()
        for camera in self._cameras:
            if (source := camera.source) is not None:
                source.close()
        deadline = time.monotonic() + _STUCK_S
        for thread in watching:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                _log.warning("%s did not end in time and is left behind", thread.name)

    def _adjust(self) -> str:
        """Read the settings again; go by what of them can change now, and say what that is.

        Raises:
            CmnasError: They cannot be used; nothing was changed.
        """
        assert self._reread is not None
        wanted, open_way = self._reread()
        lasts = self._also is not None and not self._also.over
        change = compare(self._settings, wanted, LIVE if lasts else LIVE - {"also_until"})
        # In any case, since files of the same name may hold another token or certificate.
        self._link.adjust(change.settings.link, open_way(change.settings))
        for camera, settings in zip(self._cameras, change.settings.cameras, strict=True):
            camera.settings = settings
            camera.pipeline.adjust(settings)
        if self._also is not None:
            self._also.adjust(change.settings.also_until)
        if change.settings.log != self._settings.log:
            log.configure(as_json=change.settings.log == "json")
        self._settings = change.settings
        return str(change)

    def _start(self, work: Callable[..., None], name: str, *args: object) -> threading.Thread:
        def guarded() -> None:
            try:
                work(*args)
            except BaseException as error:  # carried to run(), which ends with it
                if self._crash is None:
                    self._crash = error
                self._stop.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def _report(self, began: float) -> None:
        """Log the last status; write the report if one was asked for."""
        passed_s = time.monotonic() - began
        _log.info("ended: %s", self._checkup.status(passed_s))
        if (path := self._settings.report) is None:
            return
        content = self._checkup.report(self._settings.device, passed_s)
        try:
            path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        except OSError as error:
            _log.error("%s: the report cannot be written (%s)", path, error.strerror)


def _is_recorded(camera: Camera) -> bool:
    source = camera.open()
    source.close()
    return source.recorded
