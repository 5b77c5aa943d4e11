"""``cmnas-edge collector person ...``, ``revoke`` and ``audit-log``: who may do what, and who did.

They change files that a running collector reads: what they change holds for its next request. Each change is
in the audit log, under the name of the user who gave the command.
"""

from __future__ import annotations

import argparse
import functools
import getpass
import os
import pwd
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmnas_edge import config, private
from cmnas_edge.collector import settings as collector_settings
from cmnas_edge.collector.access.audit_log import AuditLog, Kind
from cmnas_edge.collector.access.database import Database
from cmnas_edge.collector.access.passwords import Passwords
from cmnas_edge.collector.access.people import People
from cmnas_edge.collector.access.roles import ROLES
from cmnas_edge.collector.access.sessions import LINK_S, Sessions
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.settings import CollectorSettings
from cmnas_edge.collector.store import erasures
from cmnas_edge.errors import ConfigError, Unaccounted, WrongCommand

__all__ = ["add_arguments", "audit_log", "note", "person", "revoke", "user"]

_ACTIONS = ("add", "list", "remove", "password", "role", "link")
_NOTED = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of these commands."""
    parser.allow_abbrev = False     # or --password WORD would be taken for --password-file, and the word is out
    parser.add_argument("--role", help="person add, role: viewer, operator, admin or privacy")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="person add, password: read it from this "
                        "file (mode 0600) instead of asking on the terminal")
    parser.add_argument("--no-password", action="store_true", help="person add, password: none; they come in by "
                        "'person link' only")
    parser.add_argument("--reason", default="", help="person, enrol, revoke, erase, calibrate: goes into the audit log")
    parser.add_argument("--verify", action="store_true", help="audit-log: look whether entries were changed or removed")
    parser.add_argument("--noted", metavar="NUMBER:DIGEST", help="audit-log --verify: an entry as it stood before")


def person(words: list[str], args: argparse.Namespace) -> int:
    """Enrol, list, change or remove people, or make a link that lets somebody in once.

    Raises:
        CmnasError: It cannot be done; nothing was changed.
    """
    action, name = [*words, "", ""][:2]
    if action not in _ACTIONS or args.config is None or len(words) != (1 if action == "list" else 2):
        raise WrongCommand(f"person: expected {', '.join(_ACTIONS[:-1])} or {_ACTIONS[-1]}, a name (but for list), and "
                           "the settings file, as in: cmnas-edge collector person add anna --role operator "
                           "--config collector.toml")
    settings = collector_settings.load(args.config)
    database = Database(settings.data)
    try:
        people = People(database)
        if action == "list":
            for one in people.known():
                sys.stdout.write(f"{one.name}\t{one.role}\t{'password' if one.has_password else 'no password'}\n")
            return 0
        if action in ("add", "role") and args.role not in ROLES:
            raise WrongCommand(f"person {action}: expected --role viewer, operator, admin or privacy, found "
                               f"{'none' if args.role is None else repr(args.role[:80])}; give one of them")
        if action == "link":
            if people.find(name) is None:
                raise ConfigError(f"{name[:80]}: expected somebody enrolled, found nobody of this name; see "
                                  "'cmnas-edge collector person list'")
            note(settings, "people", {"do": action, "name": name}, args.reason)
            sys.stdout.write(f"{_url(settings)}/log-in/{Sessions(database).link(name)}\n")
            sys.stderr.write(f"# lets {name} in once, within {LINK_S / 60:.0f} minutes\n")
            host = config.address(settings.listen, "listen")[0]
            if host.is_unspecified:
                here = _here(host.version)
                sys.stderr.write(f"# on another machine, write the collector's name in place of {here}\n")
            return 0
        password = _password(args) if action in ("add", "password") else ""
        asked = {"do": action, "name": name, **({"role": args.role} if action in ("add", "role") else {})}
        first = functools.partial(note, settings, "people", asked, args.reason)     # what cannot be noted is not done
        if action == "add":
            people.add(name, args.role, password, first=first)
        elif action == "role":
            people.set_role(name, args.role, first=first)
        elif action == "password":
            people.set_password(name, password, first=first)
        else:
            people.remove(name, first=first)
    finally:
        database.close()
    return 0


def revoke(words: list[str], args: argparse.Namespace) -> int:
    """Take a device's token away, for a running collector too.

    Raises:
        ConfigError: No device of this name is enrolled.
    """
    if len(words) != 1 or args.config is None:
        raise WrongCommand("revoke: expected a device's name and the settings file, as in: "
                           "cmnas-edge collector revoke gate --config collector.toml")
    settings = collector_settings.load(args.config)
    Devices(settings.data).revoke(words[0], first=functools.partial(
        note, settings, "devices", {"do": "revoke", "name": words[0]}, args.reason))
    return 0


def audit_log(words: list[str], args: argparse.Namespace) -> int:
    """Print the audit log, or say whether it and the receipts of erasures are whole.

    Raises:
        Unaccounted: With ``--verify``: something was changed or removed.
    """
    if words or args.config is None:
        raise WrongCommand("audit-log: expected the settings file, as in: "
                           "cmnas-edge collector audit-log --config collector.toml [--verify]")
    settings = collector_settings.load(args.config)
    path = settings.data / "audit.log"
    log = AuditLog(settings.data)
    if args.noted and not args.verify:
        raise WrongCommand("audit-log: expected --verify beside --noted, found none; give both")
    if not args.verify:
        if not log.page(limit=1):
            raise ConfigError(f"{path}: expected an audit log, found none; correct data")
        for line in log.lines():
            sys.stdout.write(line.decode("utf-8", "backslashreplace"))
        return 0
    noted = _NOTED.fullmatch(args.noted or "")
    if args.noted and noted is None:
        raise WrongCommand(f"--noted: expected an entry's number and its 64 hexadecimal digits, as 17:3f…, found "
                           f"{args.noted[:80]!a}; copy what --verify printed")
    found = log.check((int(noted[1]), noted[2]) if noted else None)
    if found.faults:
        raise Unaccounted(f"{path}: expected every entry as it was written, found: {'; '.join(found.faults[:5])}"
                          + (f"; and {len(found.faults) - 5} more" if len(found.faults) > 5 else "")
                          + "; compare it with a backup, and ask who could write there")
    receipt_count = erasures.verified(settings.keys or settings.data / "keys")
    sys.stdout.write(f"{found.last - found.let_go} entries, none changed or removed; the last is "
                     f"{found.last}:{found.digest}\n")
    if found.let_go:
        sys.stdout.write(f"# the first {found.let_go} are kept no longer, as access.audit_days says\n")
    if found.torn:
        sys.stdout.write(f"# {found.torn} times a crash left half an entry, whose question was not answered\n")
    if receipt_count:
        sys.stdout.write(f"# {receipt_count} receipts of erasures, none changed or left out\n")
    return 0


def note(settings: CollectorSettings, kind: Kind, asked: Mapping[str, Any], reason: str) -> None:
    """Write into the audit log what a command did, and who gave it."""
    AuditLog(settings.data).add(kind, who=user(), asked=asked, reason=reason)


def user() -> str:
    """Name the user who gave a command, and whom they became for it."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} as {name}" if behind else name


def _password(args: argparse.Namespace) -> str:
    """Hash a password from a file or the terminal."""
    if args.no_password:
        return ""
    if args.password_file is not None:
        typed = private.read_secret(args.password_file)
    elif sys.stdin.isatty():
        typed = getpass.getpass("Password: ")
        if getpass.getpass("The same again: ") != typed:
            raise ConfigError("password: expected the same twice, found two; give the command again")
    else:
        raise ConfigError("password: expected a terminal to ask on, found none; give --password-file FILE (mode 0600) "
                          "or --no-password")
    passwords = Passwords()
    try:
        return passwords.hash(typed)
    finally:
        passwords.close()


def _url(settings: CollectorSettings) -> str:
    host, port = config.address(settings.listen, "listen")
    shown = _here(host.version) if host.is_unspecified else str(host)
    return f"{'https' if settings.tls_certificate else 'http'}://{f'[{shown}]' if ':' in shown else shown}:{port}"


def _here(version: int) -> str:
    """The address by which this machine reaches itself."""
    return "127.0.0.1" if version == 4 else "::1"
