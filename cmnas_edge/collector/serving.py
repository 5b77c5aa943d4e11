"""The collector at work: every part opened, joined, served, and ended in good order."""

from __future__ import annotations

import logging
import signal
import socket
import ssl
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from types import FrameType

import uvicorn

from cmnas_edge import bundle, config, private, sealing
from cmnas_edge.collector import accepted
from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.access.database import Database
from cmnas_edge.collector.access.passwords import Passwords
from cmnas_edge.collector.access.people import People
from cmnas_edge.collector.access.sessions import Sessions
from cmnas_edge.collector.gallery import rebuild
from cmnas_edge.collector.intake import Intake
from cmnas_edge.collector.left import Left
from cmnas_edge.collector.receiving import mqtt
from cmnas_edge.collector.receiving.admission import Admission
from cmnas_edge.collector.receiving.connection import Connection
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.receiving.listening import Listener, may_open
from cmnas_edge.collector.receiving.rates import Rates
from cmnas_edge.collector.receiving.receive import Receiver
from cmnas_edge.collector.settings import CollectorSettings
from cmnas_edge.collector.store.elsewhere import elsewhere, told_later
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.collector.views import Nothing
from cmnas_edge.collector.web.api import Api
from cmnas_edge.collector.web.app import build
from cmnas_edge.collector.web.log_in import LogIn
from cmnas_edge.collector.web.metrics import exposition
from cmnas_edge.errors import ConfigError, unheard
from cmnas_edge.log import Repeats
from cmnas_edge.monitoring.health import Health
from cmnas_edge.notify import Notifier

__all__ = ["listening", "serve", "server_config"]

_log = logging.getLogger("cmnas.collector")


def serve(settings: CollectorSettings) -> int:
    """Run a collector until it is told to end.

    Raises:
        CmnasError: It cannot begin, or what it writes to cannot be written.
    """
    notifier = Notifier()
    may_open()
    model = accepted.leading(settings)
    also = accepted.others(settings, model)
    dimensions = {one.fingerprint: one.dimension for one in (model, *also)}
    devices = Devices(settings.data)
    devices.known()
    opener = sealing.Opener.read(settings.seal_keys) if settings.seal_keys else None
    if settings.mqtt is not None:
        mqtt.check(settings.mqtt)
    listener = listening(settings)
    journal = Journal(settings.data, keys=settings.keys, master_key=settings.master_key,
                      limit_mib=settings.journal_mib)
    if journal.keys.made_master:
        _log.warning("%s: made the key that wraps all keys of vectors; keep a copy of it, but not where backups are: "
                     "without it nobody can open them", journal.keys.master_path)
    upkeep = Upkeep(journal, retention_h=settings.retention_h, keys_copy=settings.keys_copy,
                    elsewhere=lambda: told_later(settings))
    upkeep.start()      # before anybody can see what is over
    stores = elsewhere(settings, dimensions)
    began = time.monotonic()
    gallery, unwritten = rebuild(journal, model, since=time.time() - settings.hot_window_h * 3600,
                                 limit=settings.hot_limit, also=also, elsewhere=stores)
    hot, identities = gallery.counts()
    _log.info("%d sightings of the last %g h, %d identities read in %.1f s", hot, settings.hot_window_h, identities,
              time.monotonic() - began)
    for line in accepted.words([model, *also]):
        _log.info("takes what was made by %s", line)
    left = Left(journal, dimensions, settings.hot_window_h * 3600)
    if others := sum(one.sighting_count for one in left.known):
        _log.warning("%d stored sightings of the last %g h were made by bundles that are accepted no more, and are not "
                     "shown; put those bundles into also to have them back", others, settings.hot_window_h)
    for one in (model, *also):
        if bundle.voucher(one, settings.trust) == "nobody":
            _log.warning("%s: nobody signed this bundle; it is used since allow_unsigned_bundle = true", one.path)
    if model.calibrated_on == "drawn":
        _log.warning("thresholds are calibrated on drawn people; expect them to be wrong for real ones until "
                     "calibrated on the site")
    if model.calibration.only_suggests("visible-infrared"):
        _log.warning("links across visible and infrared are suggestions: their threshold was found on drawn people; "
                     "confirm links, then run cmnas-edge collector calibrate")
    audit_log = AuditLog(settings.data, keep_s=settings.access.audit_days * 86400 or None)

    def turn() -> None:
        notifier.alive()
        audit_log.turn()

    rates = Rates(settings.device_rate)
    intake = Intake(journal, gallery, hot_window_s=settings.hot_window_h * 3600, hot_limit=settings.hot_limit,
                    unwritten=unwritten, upkeep=upkeep, on_failure=lambda: setattr(server, "should_exit", True),
                    on_turn=turn)
    admission = Admission(settings.hot_window_h * 3600, gallery.heard())
    receiver = Receiver(devices, intake, dimensions, admission, transform=int(settings.site_key_id or "0", 16),
                        opener=opener, only_sealed=settings.only_sealed, rates=rates,
                        only_certificates=settings.only_certificates)
    broker = mqtt.MqttReceiver(settings.mqtt, receiver, devices) if settings.mqtt is not None else None
    access = Database(settings.data)
    people, passwords = People(access), Passwords()
    sessions = Sessions(access, idle_s=settings.access.idle_h * 3600, longest_s=settings.access.longest_h * 3600)
    _tell_of_access(people, audit_log)
    log_in = LogIn(people, sessions, passwords, audit_log)
    api = Api(gallery, intake, devices, audit_log, people=people, sessions=sessions,
              hot_window_h=settings.hot_window_h, reasons=settings.access.reasons,
              left=lambda: left.look(intake.ask), broker=lambda: "" if broker is None else broker.trouble,
              kept=receiver.kept, index=lambda: next((store.trouble for store in stores.values() if store.trouble), ""))
    watched = _watched(settings, api)
    app = build(receiver, api, log_in, ending=lambda: server.should_exit)
    _log_through_ours("uvicorn", "asyncio")
    server = _Server(server_config(settings, app))
    # uvicorn raises the signal again once it has ended in good order; this makes that exit 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    intake.start()
    for store in stores.values():
        store.start()
    try:
        if broker is not None:
            broker.start()
        scheme = "https" if settings.tls_certificate else "http"
        host, port = listener.getsockname()[:2]
        _log.info("listening on %s://%s:%d", scheme, f"[{host}]" if ":" in host else host, port)
        notifier.ready(f"devices enrolled: {len(devices.known())}")
        with watched:
            server.run(sockets=[listener])
    finally:
        notifier.stopping()
        intake.stop()
        if broker is not None:
            broker.stop()       # after it has told what is stored
        for store in stores.values():
            store.stop()
        journal.close()
        listener.close()
        passwords.close()
        access.close()
    if intake.failure is not None:
        raise intake.failure
    return 0


def _watched(settings: CollectorSettings, api: Api) -> AbstractContextManager[object]:
    """Answer who asks on this machine how it is, as long as the context lasts; nobody, where no place is set for it."""
    if settings.health is None:
        return nullcontext()
    page = exposition(lambda: api.health(Nothing()), lambda: api.cameras(Nothing())).page
    served = Health(config.address(settings.health, "health"), metrics=page, alive=api.condition.alive,
                    ready=api.condition.ready)
    _log.info("health: /metrics, /healthz and /readyz at port %d", served.port)
    return served


def _tell_of_access(people: People, audit_log: AuditLog) -> None:
    """Say who may come in, and where the audit log ends: whoever keeps this log can tell if that one was changed."""
    if not (count := len(people.known())):
        _log.info("nobody is enrolled to log in; pages and API answer on this machine only, and change nothing")
    else:
        _log.info("%d people are enrolled to log in", count)
    found = audit_log.check()
    _log.info("audit log: the last entry is %d:%s", found.last, found.digest)
    for fault in found.faults[:5]:
        _log.error("audit log: %s", fault)


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Say why it ends."""
        _log.info("%s: ending; what was received is stored", signal.Signals(sig).name)
        super().handle_exit(sig, frame)


class _Ours(logging.Handler):
    """Says in our form, and not over and over, what a library has to say."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._repeats = Repeats()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on, unless the same was said just now."""
        held = self._repeats.admit(str(record.msg))
        if held is not None:
            more = f" (said {held} more times)" if held else ""
            _log.log(record.levelno, "%s: %s%s", record.name, record.getMessage(), more, exc_info=record.exc_info)


def _log_through_ours(*names: str) -> None:
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [_Ours()], False


def server_config(settings: CollectorSettings, app: object) -> uvicorn.Config:
    """Say to uvicorn how to serve an app.

    Raises:
        ConfigError: The certificate or its key is none.
    """
    server = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, proxy_headers=False, lifespan="off",  # type: ignore[arg-type]
        # uvloop, where somebody has it, would accept connections without asking our listener.
        loop="asyncio", http=Connection, ws="none", limit_concurrency=1000, timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=None if settings.tls_key is None else private.handed(settings.tls_key),
        ssl_ca_certs=None if settings.device_authority is None else str(settings.device_authority),
        # Browsers and devices with tokens have none; whoever shows one must have it from that authority.
        ssl_cert_reqs=ssl.CERT_NONE if settings.device_authority is None else ssl.CERT_OPTIONAL)
    try:
        server.load()
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{settings.tls_certificate}: expected a PEM certificate and its key, found something "
                          f"else ({error}); correct tls_certificate and tls_key") from None
    return server


def listening(settings: CollectorSettings) -> socket.socket:
    """Open the socket that devices and people reach it by; who connects from here on waits, and is not turned away.

    Raises:
        ConfigError, Transient: Nobody can listen there.
    """
    host, port = config.address(settings.listen, "listen")
    listener = Listener(socket.AF_INET6 if host.version == 6 else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((str(host), port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise unheard("listen", settings.listen, error) from None
    return listener
