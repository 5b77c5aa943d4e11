"""``python -m export keygen KEY`` and ``sign BUNDLE --key KEY``: who made a bundle, provable on every camera.

The key stays with whoever packs bundles, mode 0600; cameras pin its public half. What a signature
says and how it is checked: `cmnas_edge.bundle.signature`.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cmnas_edge.bundle import MANIFEST, SIGNATURE, Bundle
from cmnas_edge.bundle.signature import MOST_SIGNERS, new_key, public_key, signed_by
from cmnas_edge.errors import BundleError, ConfigError, unwritable
from cmnas_edge.private import read_secret, write_new_secret, write_private

__all__ = ["add_commands", "keygen", "sign"]


def add_commands(commands: Any) -> None:
    """Declare both verbs on argparse's subparsers; ``work`` of what is parsed does the work."""
    drawing = commands.add_parser("keygen", help="draw a key to sign bundles with")
    drawing.add_argument("key", type=Path, metavar="KEY", help="the new file, mode 0600; nothing is overwritten")
    drawing.set_defaults(work=_keygen)
    signing = commands.add_parser("sign", help="sign a bundle, so that cameras which pin the key use it")
    signing.add_argument("bundle", type=Path, metavar="BUNDLE", help="its folder")
    signing.add_argument("--key", type=Path, required=True, help="written by keygen")
    signing.set_defaults(work=_sign)


def keygen(path: Path) -> str:
    """Draw a key and write it to a new file, mode 0600.

    Returns:
        The public half in hexadecimal, for ``[trust] keys`` on cameras.

    Raises:
        ConfigError: Something is at ``path``, or it cannot be written.
        DiskFull: There is no room.
    """
    key = new_key()
    write_new_secret(path, key, "key", "a key that has signed is not replaced")
    return public_key(key)


def sign(folder: Path, key: Path) -> str:
    """Add a signature to a bundle, or renew that of the same key.

    Returns:
        The public key, in hexadecimal.

    Raises:
        BundleError: The folder holds no whole bundle, or it has `MOST_SIGNERS` signers already.
        ConfigError: The key cannot be read, or the folder not be written.
        DiskFull: There is no room.
    """
    with _alone(folder):
        return _sign_alone(folder, key)


def _sign_alone(folder: Path, key: Path) -> str:
    bundle = Bundle.open(folder)
    private = read_secret(key).encode()
    try:
        line = signed_by(private, (bundle.path / MANIFEST).read_bytes())
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
    own = line.split()[1]
    where = bundle.path / SIGNATURE
    try:
        kept = where.read_text("ascii").splitlines(keepends=True) if bundle.signers else []
        lines = [*(other for other in kept if other.split()[1] != own), line]
        if len(lines) > MOST_SIGNERS:
            raise BundleError(f"{where}: expected at most {MOST_SIGNERS} signers, found as many already; remove the "
                              "file and sign again")
        write_private(where, "".join(lines).encode())
        where.chmod(0o644)
    except OSError as error:
        raise unwritable(where, "a signature", error, "copy the bundle to a folder of yours", kind="a file") from None
    Bundle.open(folder)
    return own


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for another who signs this bundle: each writes the signatures that it found, and one's own."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:     # it is no bundle, or not for this user: `Bundle.open` has the words
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _keygen(args: argparse.Namespace) -> None:
    public = keygen(args.key)
    sys.stdout.write(
        f"key       {args.key}: keep it secret, and a copy of it in a safe place\n"
        f"public    {public}\n"
        f"cameras   [trust]\n          keys = [\"{public}\"]\n")


def _sign(args: argparse.Namespace) -> None:
    sys.stdout.write(f"signed    {args.bundle} by key {sign(args.bundle, args.key)}\n")
