"""``cmnas-edge audit``: account for everything that left a device while its network was recorded."""

from __future__ import annotations

import argparse
import ipaddress
import sys
from pathlib import Path

import msgspec

from cmnas_edge.camera.audit.account import audited
from cmnas_edge.camera.audit.report import table
from cmnas_edge.camera.settings import load
from cmnas_edge.errors import ConfigError, Unaccounted

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="settings of the device: its cameras and log")
    parser.add_argument("capture", type=Path, metavar="CAPTURE.pcap", help="recording of its network, as by tcpdump -w")
    parser.add_argument("--log", type=Path, action="append", default=[], metavar="FILE",
                        help="its sent log (default: 'sent_log' in [link]); again for each daemon on the device")
    parser.add_argument("--keys", type=Path, metavar="FILE",
                        help="keys of its TLS sessions ('sent_log_tls_keys' in [link]): compare bytes, not lengths")
    parser.add_argument("--address", action="append", default=[], metavar="ADDRESS",
                        help="a further address of the device (default: those in its log)")
    parser.add_argument("--expect", action="append", default=[], metavar="ADDRESS",
                        help="whom else this device was meant to talk to, such as your own SSH session: counted and "
                             "named, never looked into")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def run(args: argparse.Namespace) -> int:
    """Audit and print.

    Raises:
        Unaccounted: Something left that nothing explains.
    """
    settings = load(args.config)
    logs = args.log or ([settings.link.sent_log] if settings.link.sent_log else [])
    if not logs:
        raise ConfigError(f"{args.config}: expected 'sent_log' in [link], found none; let the daemon write one, or "
                          "name it with --log")
    if args.keys is not None and not args.keys.is_file():
        raise ConfigError(f"{args.keys}: expected keys of TLS sessions, found no file; correct --keys")
    own, expected = (_numeric(name, getattr(args, name)) for name in ("address", "expect"))
    report = audited(settings, args.capture, logs, keys=args.keys, addresses=own, expected=expected)
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n" if args.json else table(report))
    sys.stdout.flush()
    if not report.is_accounted_for:
        unexplained = sum(finding.unexplained_bytes for finding in report.findings)
        raise Unaccounted(f"{args.capture}: expected every byte that left {settings.device!r} accounted for, found "
                          f"{unexplained:,} that are not ({len(report.findings)} findings); look at each of them")
    return 0


def _numeric(option: str, addresses: list[str]) -> list[str]:
    """Addresses as a recording has them."""
    found = []
    for address in addresses:
        try:
            found.append(str(ipaddress.ip_address(address)))
        except ValueError:
            raise ConfigError(f"--{option}: expected a numeric address, found {address!r}; correct it") from None
    return found
