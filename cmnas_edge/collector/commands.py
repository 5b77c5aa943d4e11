"""``cmnas-edge collector``: run it, check its settings, enrol a device, make its keys."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import ssl
import sys
import time
from pathlib import Path
from types import FrameType

import uvicorn

from cmnas_edge import bundle, config, private, sealing
from cmnas_edge.collector import calibrating_commands, keeping_commands, person_commands
from cmnas_edge.collector import settings as collector_settings
from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.access.database import Database
from cmnas_edge.collector.access.passwords import Passwords
from cmnas_edge.collector.access.people import People
from cmnas_edge.collector.access.sessions import Sessions
from cmnas_edge.collector.gallery import rebuild
from cmnas_edge.collector.intake import Intake
from cmnas_edge.collector.receiving import mqtt
from cmnas_edge.collector.receiving.admission import Admission
from cmnas_edge.collector.receiving.connection import Connection
from cmnas_edge.collector.receiving.devices import Devices, new_token
from cmnas_edge.collector.receiving.rates import Rates
from cmnas_edge.collector.receiving.receive import Receiver
from cmnas_edge.collector.settings import CollectorSettings
from cmnas_edge.collector.store.elsewhere import elsewhere, server_of
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.collector.web.api import Api
from cmnas_edge.collector.web.app import build
from cmnas_edge.collector.web.log_in import LogIn
from cmnas_edge.errors import ConfigError, unheard
from cmnas_edge.log import Repeats
from cmnas_edge.notify import Notifier
from cmnas_edge.private import write_new_secret

__all__ = ["add_arguments", "run"]

_log = logging.getLogger("cmnas.collector")
_MORE = {"person": person_commands.person, "revoke": person_commands.revoke, "audit-log": person_commands.audit_log,
         "backup": keeping_commands.backup, "restore": keeping_commands.restore, "erase": keeping_commands.erase,
         "master-key": keeping_commands.master_key,
         "calibrate": calibrating_commands.calibrate}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.usage = ("cmnas-edge collector CONFIG.toml [--check]\n"
                    "       cmnas-edge collector enrol NAME --config CONFIG.toml [--out FILE] [--rotate]\n"
                    "       cmnas-edge collector revoke NAME --config CONFIG.toml\n"
                    "       cmnas-edge collector person add|password|role|remove|link NAME --config CONFIG.toml\n"
                    "       cmnas-edge collector person list --config CONFIG.toml\n"
                    "       cmnas-edge collector audit-log --config CONFIG.toml [--verify]\n"
                    "       cmnas-edge collector calibrate --config CONFIG.toml [--out FILE] [--rate RATE]\n"
                    "       cmnas-edge collector backup|restore FOLDER --config CONFIG.toml\n"
                    "       cmnas-edge collector erase [--identity NUMBER] [--device NAME [--camera NAME]]\n"
                    "                            [--from TIME] [--to TIME] --reason WHY --config CONFIG.toml\n"
                    "       cmnas-edge collector seal-key|master-key FILE\n"
                    "       cmnas-edge collector mqtt-acl --config CONFIG.toml")
    parser.add_argument("words", nargs="+", metavar="CONFIG.toml | enrol NAME | ...",
                        help="the settings file to run with; or enrol: give the device NAME a token; or revoke: take "
                             "it away; or person: who may log in; or audit-log: who asked what; or calibrate: hold "
                             "this site's scores against the thresholds; or backup: copy "
                             "what is kept; or restore: begin from a copy; or erase: end what is kept; or seal-key: "
                             "make the key that cameras seal vectors to (mode 0600), print its public half; or "
                             "master-key: make the one that wraps the keys of days; or "
                             "mqtt-acl: print what the broker needs to know")
    parser.add_argument("--check", action="store_true",
                        help="check settings, bundle and enrolled devices, print what is in effect, and end")
    parser.add_argument("--config", type=Path, help="all but seal-key: the collector's settings file")
    parser.add_argument("--out", type=Path, help="enrol: write the token to this file (mode 0600), print nothing; "
                        "calibrate: the file to write")
    parser.add_argument("--rotate", action="store_true", help="enrol: replace the token of an enrolled device")
    person_commands.add_arguments(parser)
    keeping_commands.add_arguments(parser)
    calibrating_commands.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run what the command line asks for.

    Raises:
        CmnasError: It cannot be done; see `cmnas_edge.errors`.
    """
    if args.words[0] in _MORE:
        return _MORE[args.words[0]](args.words[1:], args)
    if args.words[0] == "enrol":
        if len(args.words) != 2 or args.config is None:
            raise ConfigError("enrol: expected a device's name and the settings file, as in: "
                              "cmnas-edge collector enrol gate --config collector.toml")
        return _enrol(args.words[1], args.config, args.out, rotate=args.rotate, reason=args.reason)
    if args.words[0] == "seal-key":
        if len(args.words) != 2:
            raise ConfigError("seal-key: expected the file to write, as in: cmnas-edge collector seal-key seal.pem")
        return _seal_key(Path(args.words[1]))
    if args.words[0] == "mqtt-acl":
        if len(args.words) != 1 or args.config is None:
            raise ConfigError("mqtt-acl: expected the settings file, as in: "
                              "cmnas-edge collector mqtt-acl --config collector.toml")
        return _mqtt_acl(args.config)
    if len(args.words) != 1:
        raise ConfigError(f"expected one settings file, found {' '.join(args.words)!r}; "
                          "run cmnas-edge collector --help")
    settings = collector_settings.load(Path(args.words[0]))
    if args.check:
        model = calibrating_commands.model_of(settings)
        devices = Devices(settings.data).known()
        sealing.Opener.read(settings.seal_keys)
        if settings.mqtt is not None:
            mqtt.check(settings.mqtt)
        server_of(settings)
        sys.stdout.write(config.show(settings))
        sys.stdout.write(f"# bundle {model.fingerprint_hex[:16]}, thresholds calibrated on: {model.calibrated_on}\n"
                         f"# {len(devices)} enrolled: {', '.join(d.name for d in devices) or 'none yet'}\n")
        return 0
    return _serve(settings)


def _enrol(name: str, path: Path, out: Path | None, *, rotate: bool, reason: str = "") -> int:
    settings = collector_settings.load(path)
    if settings.mqtt is not None and name == mqtt.check(settings.mqtt):
        raise ConfigError(f"device name: {name!r} is the collector's own at the broker, and a certificate of that name "
                          "reads every device's batches; choose another")
    devices = Devices(settings.data)
    seal_to = sealing.public_key(settings.seal_keys[0]) if settings.seal_keys else ""
    if out is None:
        token = devices.enrol(name, rotate=rotate)
        person_commands.note(settings, "devices", {"do": "enrol", "name": name}, reason)
        sys.stdout.write(token + "\n")
        _tell(seal_to)
        return 0
    token = new_token()
    # First, and on the disk: from the moment it is enrolled, the old token is dead.
    write_new_secret(out, token.encode() + b"\n", "token", "it may be one that a device uses")
    try:
        devices.enrol(name, rotate=rotate, token=token)
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    person_commands.note(settings, "devices", {"do": "enrol", "name": name}, reason)
    _tell(seal_to)
    return 0


def _tell(seal_to: str) -> None:
    """Give the public key beside the token: on stderr, so that stdout stays the token alone."""
    if seal_to:
        sys.stderr.write(f'# and into [link] of this device\'s settings:\nseal_to = "{seal_to}"\n')


def _seal_key(path: Path) -> int:
    key = sealing.new_key()
    write_new_secret(path, key, "key", "a key that vectors are sealed to is not replaced")
    sys.stdout.write(f'# the collector\nseal_keys = ["{path.name}"]\n\n# every camera\n[link]\n'
                     f'seal_to = "{sealing.public_key(path)}"\n')
    return 0


def _mqtt_acl(path: Path) -> int:
    settings = collector_settings.load(path)
    if settings.mqtt is None:
        raise ConfigError(f"{path}: expected [mqtt] with the broker's address, found none; write it")
    sys.stdout.write(mqtt.acl(settings.mqtt))
    return 0


def _serve(settings: CollectorSettings) -> int:
    notifier = Notifier()
    model = calibrating_commands.model_of(settings)
    devices = Devices(settings.data)
    devices.known()
    opener = sealing.Opener.read(settings.seal_keys) if settings.seal_keys else None
    if settings.mqtt is not None:
        mqtt.check(settings.mqtt)
    listener = _listen(settings)
    journal = Journal(settings.data, keys=settings.keys, master_key=settings.master_key,
                      limit_mib=settings.journal_mib)
    if journal.keys.made_master:
        _log.warning("%s: made the key that wraps all keys of vectors; keep a copy of it, but not where backups are: "
                     "without it nobody can open them", journal.keys.master_path)
    upkeep = Upkeep(journal, retention_h=settings.retention_h, keys_copy=settings.keys_copy)
    upkeep.start()      # before anybody can see what is over
    index = elsewhere(settings, model)
    began = time.monotonic()
    gallery, unwritten = rebuild(journal, model, since=time.time() - settings.hot_window_h * 3600,
                                 limit=settings.hot_limit, elsewhere=index)
    hot, identities = gallery.counts()
    _log.info("%d sightings of the last %g h, %d identities read in %.1f s", hot, settings.hot_window_h, identities,
              time.monotonic() - began)
    if bundle.voucher(model, settings.trust) == "nobody":
        _log.warning("%s: nobody signed this bundle; it is used since allow_unsigned_bundle = true", model.path)
    if model.calibrated_on == "drawn":
        _log.warning("thresholds are calibrated on drawn people; expect them to be wrong for real ones until "
                     "calibrated on the site")
    if model.calibration.only_suggests("visible-infrared"):
        _log.warning("links across visible and infrared are suggestions: their threshold was found on drawn people; "
                     "confirm links, then run cmnas-edge collector calibrate")
    rates = Rates(settings.device_rate)
    intake = Intake(journal, gallery, hot_window_s=settings.hot_window_h * 3600, hot_limit=settings.hot_limit,
                    unwritten=unwritten, upkeep=upkeep, on_failure=lambda: setattr(server, "should_exit", True),
                    on_turn=notifier.alive)
    admission = Admission(settings.hot_window_h * 3600, gallery.heard())
    receiver = Receiver(devices, intake, model, admission, transform=int(settings.site_key_id or "0", 16),
                        opener=opener, only_sealed=settings.only_sealed, rates=rates,
                        only_certificates=settings.only_certificates)
    broker = mqtt.MqttReceiver(settings.mqtt, receiver, devices) if settings.mqtt is not None else None
    access = Database(settings.data)
    people, passwords = People(access), Passwords()
    sessions = Sessions(access, idle_s=settings.access.idle_h * 3600, longest_s=settings.access.longest_h * 3600)
    audit_log = AuditLog(settings.data)
    _tell_of_access(people, audit_log)
    log_in = LogIn(people, sessions, passwords, audit_log)
    api = Api(gallery, intake, devices, audit_log, people=people, sessions=sessions,
              hot_window_h=settings.hot_window_h, reasons=settings.access.reasons,
              broker=lambda: "" if broker is None else broker.trouble,
              index=lambda: "" if index is None else index.trouble)
    app = build(receiver, api, log_in, ending=lambda: server.should_exit)
    _log_through_ours("uvicorn", "asyncio")
    server = _Server(_server_config(settings, app))
    # uvicorn raises the signal again once it has ended in good order; this makes that exit 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    intake.start()
    if index is not None:
        index.start()
    try:
        if broker is not None:
            broker.start()
        scheme = "https" if settings.tls_certificate else "http"
        host, port = listener.getsockname()[:2]
        _log.info("listening on %s://%s:%d", scheme, f"[{host}]" if ":" in host else host, port)
        notifier.ready(f"devices enrolled: {len(devices.known())}")
        server.run(sockets=[listener])
    finally:
        notifier.stopping()
        intake.stop()
        if broker is not None:
            broker.stop()       # after it has told what is stored
        if index is not None:
            index.stop()
        journal.close()
        listener.close()
        passwords.close()
        access.close()
    if intake.failure is not None:
        raise intake.failure
    return 0


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


def _server_config(settings: CollectorSettings, app: object) -> uvicorn.Config:
    server = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, proxy_headers=False, lifespan="off",  # type: ignore[arg-type]
        http=Connection, ws="none", limit_concurrency=1000, timeout_keep_alive=75, timeout_graceful_shutdown=5,
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


def _listen(settings: CollectorSettings) -> socket.socket:
    host, port = config.address(settings.listen, "listen")
    listener = socket.socket(socket.AF_INET6 if host.version == 6 else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((str(host), port))
        listener.listen(1024)   # from here on a device that connects waits, it is not turned away
    except OSError as error:
        listener.close()
        raise unheard("listen", settings.listen, error) from None
    return listener
