"""``cmnas-edge collector``: run it, check its settings, enrol a device, make its keys."""

from __future__ import annotations

import argparse
import functools
import logging
import sys
from pathlib import Path

from cmnas_edge import config, sealing
from cmnas_edge.collector import accepted, calibrating_commands, keeping_commands, person_commands
from cmnas_edge.collector import settings as collector_settings
from cmnas_edge.collector.receiving import mqtt
from cmnas_edge.collector.receiving.devices import Devices, new_token
from cmnas_edge.collector.serving import serve, server_config
from cmnas_edge.collector.store import elsewhere, makeable
from cmnas_edge.collector.web import metrics
from cmnas_edge.errors import ConfigError, WrongCommand
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
            raise WrongCommand("enrol: expected a device's name and the settings file, as in: "
                               "cmnas-edge collector enrol gate --config collector.toml")
        return _enrol(args.words[1], args.config, args.out, rotate=args.rotate, reason=args.reason)
    if args.words[0] == "seal-key":
        if len(args.words) != 2:
            raise WrongCommand("seal-key: expected the file to write, as in: cmnas-edge collector seal-key seal.pem")
        return _seal_key(Path(args.words[1]))
    if args.words[0] == "mqtt-acl":
        if len(args.words) != 1 or args.config is None:
            raise WrongCommand("mqtt-acl: expected the settings file, as in: "
                               "cmnas-edge collector mqtt-acl --config collector.toml")
        return _mqtt_acl(args.config)
    if len(args.words) != 1:
        raise WrongCommand(f"expected one settings file, found {' '.join(args.words)!r}; "
                           "run cmnas-edge collector --help")
    settings = collector_settings.load(Path(args.words[0]))
    if args.check:
        model = accepted.leading(settings)
        models = [model, *accepted.others(settings, model)]
        makeable.check(settings.data, keeping_commands.keys_of(settings), settings.master_key)
        devices = Devices(settings.data).known()
        sealing.Opener.read(settings.seal_keys)
        if settings.mqtt is not None:
            mqtt.check(settings.mqtt)
        elsewhere.check(settings)
        server_config(settings, None)   # reads certificates and keys of TLS
        if settings.health is not None:
            metrics.check()
        sys.stdout.write(config.show(settings))
        sys.stdout.write("".join(f"# {line}\n" for line in accepted.words(models)))
        sys.stdout.write(f"# {len(devices)} enrolled: {', '.join(d.name for d in devices) or 'none yet'}\n")
        return 0
    return serve(settings)


def _enrol(name: str, path: Path, out: Path | None, *, rotate: bool, reason: str = "") -> int:
    settings = collector_settings.load(path)
    if settings.mqtt is not None and name == mqtt.check(settings.mqtt):
        raise ConfigError(f"device name: {name!r} is the collector's own at the broker, and a certificate of that name "
                          "reads every device's batches; choose another")
    devices = Devices(settings.data)
    first = functools.partial(person_commands.note, settings, "devices", {"do": "enrol", "name": name}, reason)
    seal_to = sealing.public_key(settings.seal_keys[0]) if settings.seal_keys else ""
    if out is None:
        token = devices.enrol(name, rotate=rotate, first=first)
        sys.stdout.write(token + "\n")
        _tell(seal_to)
        return 0
    token = new_token()
    # First, and on the disk: from the moment it is enrolled, the old token is dead.
    write_new_secret(out, token.encode() + b"\n", "token", "it may be one that a device uses")
    try:
        devices.enrol(name, rotate=rotate, token=token, first=first)
    except BaseException:
        out.unlink(missing_ok=True)
        raise
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
