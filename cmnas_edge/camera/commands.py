"""``cmnas-edge camera``: watch, or check the settings."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import cv2
from msgspec.structs import replace

from cmnas_edge import bundle, config, log
from cmnas_edge.camera import settings as camera_settings
from cmnas_edge.camera.daemon import Daemon
from cmnas_edge.camera.embedder import Embedder
from cmnas_edge.camera.engines import open_engines
from cmnas_edge.camera.frames.source import source_name
from cmnas_edge.camera.overlap import Overlap, is_over
from cmnas_edge.camera.override import Orders
from cmnas_edge.camera.people.select import Cut
from cmnas_edge.camera.running.metrics import exposition
from cmnas_edge.camera.running.settled import settled
from cmnas_edge.camera.running.vitals import Vitals
from cmnas_edge.camera.sending.memory_first import MemoryFirst
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.ways import open_transport
from cmnas_edge.camera.settings import DeviceSettings, SpoolSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.camera.watch import check_camera
from cmnas_edge.errors import CmnasError, ConfigError
from cmnas_edge.notify import Notifier
from cmnas_edge.sealing import Sealer
from cmnas_edge.sighting import key_id
from cmnas_edge.site_key import Rotation, SiteKey

__all__ = ["add_arguments", "open_spool", "run"]

_log = logging.getLogger("cmnas.camera")
_UNSIGNED = "nobody signed this bundle; it is used since allow_unsigned_bundle = true"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="settings of this device and its cameras")
    parser.add_argument("--check", action="store_true",
                        help="check settings, bundle and sources, print what is in effect, and end")


def run(args: argparse.Namespace) -> int:
    """Run what the command line asks for.

    Raises:
        CmnasError: It cannot be done; see `cmnas_edge.errors`.
    """
    settings = camera_settings.load(args.config)
    cv2.setNumThreads(1)  # each camera has a thread of its own; more would only fight for the cores
    if args.check:
        return _check(settings, args.config)
    log.configure(as_json=settings.log == "json")
    before = set(threading.enumerate())
    try:
        _watch(settings, args.config)
    except CmnasError as error:
        if _left_behind(before):
            sys.stderr.write(f"cmnas-edge camera: {log.scrub(str(error))}\n")
            _leave(error.exit_code)
        raise
    if _left_behind(before):
        _leave(0)
    return 0


def _watch(settings: DeviceSettings, path: Path) -> None:
    notifier = Notifier()
    with _Signals() as signals, ExitStack() as opened:
        tally = Tally()
        orders = Orders([camera.name for camera in settings.cameras])
        reopen = partial(open_transport, tally=tally, tell=orders.tell)
        transport = reopen(settings)
        opened.callback(transport.close)
        spool = opened.enter_context(open_spool(settings.spool))
        model = bundle.open_trusted(settings.bundle, settings.trust)
        engines = open_engines(opened, model, settings)
        also = _overlap(opened, model, settings, tally)
        daemon = Daemon(settings, engines, fingerprint=model.fingerprint, crop_size=(model.height, model.width),
                        preprocessing=model.manifest.preprocessing,
                        spool=spool, transport=transport, tally=tally, rotation=_rotation(model, settings), also=also,
                        notifier=notifier, orders=orders,
                        reread=lambda: (camera_settings.load(path), reopen))
        if bundle.voucher(model, settings.trust) == "nobody":
            _log.warning("%s: %s", model.path, _UNSIGNED)
        signals.stop, signals.reload = daemon.stop, daemon.keeper.reload
        for _ in range(signals.early_count):
            daemon.stop()
        with settled():
            daemon.run()


def open_spool(settings: SpoolSettings) -> Spool:
    """Open the spool that the settings name.

    Raises:
        CmnasError: See `Spool`.
    """
    if settings.mode == "memory-first":
        return MemoryFirst(settings.path, settings.mib << 20, window_s=settings.window_s, most=settings.memory_count)
    return Spool(settings.path, settings.mib << 20)


def _left_behind(before: set[threading.Thread]) -> bool:
    """Say whether a thread still reads a camera, as OpenCV does from one that is silent."""
    return any(thread.name.startswith(("camera ", "watch ")) for thread in set(threading.enumerate()) - before)


def _leave(code: int) -> NoReturn:
    """End without Python's last steps: a thread inside a library would be cut down in them, which aborts."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _check(settings: DeviceSettings, config_path: Path) -> int:
    with _told_where(config_path, "collector"):
        open_transport(settings, Tally()).close()
    if settings.link.seal_to:
        Sealer(bytes.fromhex(settings.link.seal_to))
    model = bundle.open_trusted(settings.bundle, settings.trust)
    with ExitStack() as opened:
        engines = [f"{modality} on {engine.name} {engine.precision}"
                   for modality, engine in open_engines(opened, model, settings).items()]
        also = _overlap(opened, model, settings, Tally())
    for row, camera in enumerate(settings.cameras):
        with _told_where(config_path, "cameras", row, "source", "location"):
            source_name(camera.source)
        check_camera(camera)
    if settings.health is not None:
        exposition(lambda: Vitals(cameras=()))
    rotation = _rotation(model, settings)
    _writable(settings.spool.path, "[spool] path", makes_folders=True)
    for path, key in ((settings.trace, "trace"), (settings.report, "report"),
                      (settings.link.sent_log, "[link] sent_log"),
                      (settings.link.sent_log_tls_keys, "[link] sent_log_tls_keys")):
        if path is not None:
            _writable(path, key, makes_folders=False)
    sys.stdout.write(config.show(_without_secrets(settings)))
    sys.stdout.write(f"# bundle {model.fingerprint_hex[:16]}, {model.dimension} dimensions; engines agree with its "
                     f"golden embeddings: {', '.join(engines)}\n")
    if also is not None:
        running = ", ".join(f"{modality} on {engine}" for modality, engine in also.engines.items())
        sys.stdout.write(f"# until {settings.also_until} also bundle {also.fingerprint.hex()[:16]}, at the same cost "
                         f"once more; engines agree with its golden embeddings: {running}\n")
    elif settings.also is not None:
        sys.stdout.write(f"# bundle {settings.also} is used no more since {settings.also_until}: take also and "
                         "also_until out\n")
    sys.stdout.write(f"# vectors sealed to {settings.link.seal_to[:16]}\n" if settings.link.seal_to else
                     "# vectors not sealed: they lie readable in the spool (seal_to in [link])\n")
    sys.stdout.write(f"# site key {key_id(rotation.transform if rotation else 0)}\n")
    if bundle.voucher(model, settings.trust) == "nobody":
        sys.stdout.write(f"# {_UNSIGNED}\n")
    return 0


@contextmanager
def _told_where(path: Path, *steps: str | int) -> Iterator[None]:
    """Say of a setting that cannot be used where it stands; of a file that it names, the file's own name is enough."""
    try:
        yield
    except ConfigError as error:
        if not str(error).startswith((f"{steps[-1]}:", "source")):
            raise
        raise ConfigError(f"{config.place(path, *steps)}: {error}") from error


def _overlap(opened: ExitStack, model: bundle.Bundle, settings: DeviceSettings, tally: Tally) -> Overlap | None:
    """Open the second bundle, if the settings name one and its time is not over.

    Raises:
        ConfigError: It is of the same fingerprint as the first.
        CmnasError: It cannot be used; see `cmnas_edge.bundle.open_trusted` and `open_engines`.
    """
    if settings.also is None or settings.also_until is None:
        return None
    if is_over(settings.also_until, time.time()):
        _log.warning("the overlap with bundle %s ended at %s: take also and also_until out", settings.also,
                     settings.also_until)
        return None
    second = bundle.open_trusted(settings.also, settings.trust)
    if second.fingerprint == model.fingerprint:
        raise ConfigError(f"also: expected a bundle of another fingerprint than {model.path}, found the same in "
                          f"{second.path}; leave it out: their vectors compare as they are")
    if bundle.voucher(second, settings.trust) == "nobody":
        _log.warning("%s: %s", second.path, _UNSIGNED)
    own = opened.enter_context(ExitStack())
    engines = open_engines(own, second, settings)
    cut = Cut(second.height, second.width, second.manifest.preprocessing)
    embedder = Embedder(settings.device, second.fingerprint, engines, settings.engine.packing, tally,
                        _rotation(second, settings), second=True,
                        sealer=Sealer(bytes.fromhex(settings.link.seal_to)) if settings.link.seal_to else None)
    _log.info("until %s everybody is told of by bundle %s, too", settings.also_until, second.fingerprint_hex[:16])
    return Overlap(embedder, fingerprint=second.fingerprint, until=settings.also_until, close=own.close,
                   engines={modality: f"{engine.name} {engine.precision}" for modality, engine in engines.items()},
                   cut=None if cut == (model.height, model.width, model.manifest.preprocessing) else cut)


def _writable(path: Path, key: str, *, makes_folders: bool) -> None:
    """See whether a file could be written, without touching it: it may be a running daemon's.

    Raises:
        ConfigError: It could not.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: expected '{key}' to name a file, found a folder; name a file in it")
        folder = path.parent
        while makes_folders and not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise ConfigError(f"{path}: expected '{key}' in a folder, found none; make {folder}")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(f"{path}: expected '{key}' to name a file this user may write, found none "
                          f"({error.strerror}); name another") from None


def _without_secrets(settings: DeviceSettings) -> DeviceSettings:
    """Leave of a camera's URL what `source_name` says: makers put passwords in its path and query too."""
    return replace(settings, cameras=tuple(
        replace(camera, source=replace(camera.source, location=source_name(camera.source)))
        for camera in settings.cameras))


def _rotation(model: bundle.Bundle, settings: DeviceSettings) -> Rotation | None:
    """Read the site's key, if there is one.

    Raises:
        ConfigError: Its file is none, or others may read it.
    """
    return None if settings.site_key is None else SiteKey.load(settings.site_key).rotation(model.dimension)


class _Signals:
    """SIGTERM and Ctrl-C ask the daemon to end in good order; again, not to wait for the collector.

    SIGHUP asks it to read its settings again; while it starts it has just done so.

    They are only noted while it starts: an interrupt inside a library's own start-up would come
    out as that library's failure.
    """

    def __init__(self) -> None:
        self.early_count = 0
        self.stop: Callable[[], None] = self._note
        self.reload: Callable[[], None] = lambda: None
        self._before: dict[signal.Signals, Any] = {}

    def _note(self) -> None:
        self.early_count += 1

    def __enter__(self) -> _Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, lambda *_: self.stop())
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: self.reload())
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
