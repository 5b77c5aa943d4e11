"""``cmnas-edge collector backup``, ``restore``, ``erase``, ``master-key``: what is kept, twice, again, or no more."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path

import msgspec

from cmnas_edge.collector import settings as collector_settings
from cmnas_edge.collector.person_commands import note, user
from cmnas_edge.collector.settings import CollectorSettings
from cmnas_edge.collector.store import restoring
from cmnas_edge.collector.store.backup import back_up
from cmnas_edge.collector.store.elsewhere import told_later
from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.collector.store.keys import new_master
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.errors import ConfigError, WrongCommand
from cmnas_edge.private import write_new_secret
from cmnas_edge.progress import Progress

__all__ = ["add_arguments", "backup", "erase", "keys_of", "master_key", "restore"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of these commands."""
    parser.add_argument("--identity", type=int, metavar="NUMBER", help="erase: this probable person")
    parser.add_argument("--device", metavar="NAME", help="erase: what this device sent")
    parser.add_argument("--camera", metavar="NAME", help="erase: what this camera of the device saw")
    for name, words in (("from", "then or later"), ("to", "then or earlier")):
        parser.add_argument(f"--{name}", dest=f"seen_{name}", metavar="TIME",
                            help=f"erase: what was seen {words}; as 2026-11-21T14:30, of this machine's time zone")


def keys_of(settings: CollectorSettings) -> Path:
    """Where the days' keys are."""
    return settings.keys or settings.data / "keys"


def backup(words: list[str], args: argparse.Namespace) -> int:
    """Copy what a collector keeps, while it runs or not.

    Raises:
        CmnasError: It cannot be done, and there is no backup.
    """
    if len(words) != 1 or args.config is None:
        raise WrongCommand("backup: expected a folder to make and the settings file, as in: "
                           "cmnas-edge collector backup /mnt/backup/2026-11-21 --config collector.toml")
    settings = collector_settings.load(args.config)
    with Progress("pages") as shown:
        made = back_up(settings.data, Path(words[0]), keys_of(settings), master_key=settings.master_key,
                       progress=shown)
    sys.stdout.write(f"{made.sightings} sightings, {made.links} links, {made.decisions} decisions, and "
                     f"{len(made.files) - 1} files more; read again and whole\n")
    if settings.keys_copy is None:
        sys.stderr.write("# keys_copy is not set: without the keys of this machine nobody can open what was copied; "
                         "see docs/privacy.md\n")
    return 0


def restore(words: list[str], args: argparse.Namespace) -> int:
    """Begin a collector's data folder from a backup.

    Raises:
        CmnasError: It cannot be done, and nothing is there.
    """
    if len(words) != 1 or args.config is None:
        raise WrongCommand("restore: expected the folder of a backup and the settings file, as in: "
                           "cmnas-edge collector restore /mnt/backup/2026-11-21 --config collector.toml")
    settings = collector_settings.load(args.config)
    made = restoring.restore(Path(words[0]), settings.data, keys_of(settings), retention_h=settings.retention_h,
                             master_key=settings.master_key, keys_copy=settings.keys_copy)
    at = datetime.fromtimestamp(made.made_at).astimezone().isoformat(" ", "seconds")
    sys.stdout.write(f"{made.kept} of {made.sightings} sightings as of {at}; {made.ended} were erased or ended since, "
                     f"{made.over} are past retention\n")
    sys.stderr.write("# devices and people are as they were then: revoke again whom you have revoked since\n")
    return 0


def erase(words: list[str], args: argparse.Namespace) -> int:
    """Erase sightings of a collector that does not run; a running one is asked by its API.

    Raises:
        CmnasError: It cannot be done.
    """
    if words or args.config is None:
        raise WrongCommand("erase: expected what to erase and the settings file, as in: cmnas-edge collector erase "
                           "--identity 17 --reason 'letter of 3 May' --config collector.toml")
    settings = collector_settings.load(args.config)
    what = Selection(identity=args.identity, device=args.device, camera=args.camera,
                     seen_from=_time("--from", args.seen_from), seen_to=_time("--to", args.seen_to))
    if what.identity is not None and not 1 <= what.identity < 2**63:
        raise WrongCommand(f"erase: --identity: expected the number of a person, found {what.identity}; look it up")
    if fault := what.fault():
        raise WrongCommand(fault)
    if "erasure" in settings.access.reasons and not args.reason.strip():
        raise WrongCommand("erase: expected --reason, found none; say why, without naming anybody")
    if not (settings.data / "journal.sqlite").exists():
        raise ConfigError(f"{settings.data / 'journal.sqlite'}: expected a collector's journal, found none; "
                          "correct data, or run the collector")
    try:
        journal = Journal(settings.data, keys=settings.keys, master_key=settings.master_key)
    except ConfigError as error:
        if "in use by another collector" in str(error):
            raise ConfigError("erase: the collector runs; ask it, as somebody of the role privacy, by "
                              "POST /v1/erasures, or stop it") from None
        raise
    try:
        note(settings, "erasure", {"do": "erase", **msgspec.to_builtins(what)}, args.reason)
        upkeep = Upkeep(journal, retention_h=settings.retention_h, keys_copy=settings.keys_copy,
                        elsewhere=lambda: told_later(settings), clock=time.time)
        upkeep.start()
        upkeep.begin(what, user(), args.reason)
        receipt = upkeep.finish()[-1]
        upkeep.close()
    finally:
        journal.close()
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(receipt)) + b"\n")
    if not receipt.sightings:
        sys.stderr.write("erase: nothing that is stored fits; if you expected something, look at what you named\n")
    return 0


def master_key(words: list[str], args: argparse.Namespace) -> int:
    """Make the key that wraps the keys of days, for a collector that may not write where it is to be.

    Raises:
        ConfigError: Something is there, or it cannot be written.
        DiskFull: There is no room.
    """
    del args
    if len(words) != 1:
        raise WrongCommand("master-key: expected the file to write, as in: cmnas-edge collector master-key master.key")
    write_new_secret(Path(words[0]), new_master(), "key", "a key that opens vectors is not replaced")
    sys.stdout.write(f'# the collector\nmaster_key = "{words[0]}"\n')
    return 0


def _time(name: str, given: str | None) -> float | None:
    if given is None:
        return None
    try:
        return datetime.fromisoformat(given).timestamp()
    except (ValueError, OverflowError):
        raise WrongCommand(f"erase: {name}: expected a time as 2026-11-21T14:30, found {given[:80]!a}; correct it"
                           ) from None
