"""Who vouches for a bundle: Ed25519 signatures over its manifest, which digests every other file.

``manifest.sig`` holds a line for each signer, at most `MOST_SIGNERS`::

    ed25519 PUBLIC-KEY SIGNATURE        64 and 128 lower-case hexadecimal digits

Signed is `CONTEXT` followed by the bytes of ``manifest.json``, so a signature made here is none
of anything else (Ed25519: RFC 8032). Every line must hold, also of signers nobody trusts: there
is no byte in the file that could change unseen. Whose key is trusted is another question, answered
on the device (`cmnas_edge.bundle.trust`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cmnas_edge.errors import BundleError, ConfigError, DeviceError

__all__ = ["CONTEXT", "MOST_SIGNERS", "new_key", "public_key", "signed_by", "signers"]

CONTEXT = b"cmnas-edge bundle manifest 1\n"
MOST_SIGNERS = 8
_LINE = re.compile(r"ed25519 ([0-9a-f]{64}) ([0-9a-f]{128})\n")
LARGEST = MOST_SIGNERS * len(f"ed25519 {'0' * 64} {'0' * 128}\n")


def signers(text: bytes, manifest: bytes, where: Path) -> tuple[str, ...]:
    """Check every signature of a file.

    Args:
        text: What ``manifest.sig`` holds.
        manifest: What ``manifest.json`` holds.
        where: The file, for the message.

    Returns:
        Public keys in hexadecimal, in the order of the file.

    Raises:
        BundleError: It is no such file, or a signature is not of this manifest.
        DeviceError: The package that checks signatures is missing.
    """
    said = text.decode("ascii", "replace")
    lines = said.splitlines(keepends=True)
    found = [match for line in lines if (match := _LINE.fullmatch(line))]
    keys = tuple(match[1] for match in found)
    if not 0 < len(lines) == len(found) <= MOST_SIGNERS or len(set(keys)) != len(keys):
        raise BundleError(f"{where}: expected 1 to {MOST_SIGNERS} lines 'ed25519 KEY SIGNATURE', one a signer, found "
                          "something else; copy the bundle again, or remove the file and sign again")
    for match in found:
        _verify(bytes.fromhex(match[1]), bytes.fromhex(match[2]), manifest, where)
    return keys


def signed_by(private: bytes, manifest: bytes) -> str:
    """Sign a manifest.

    Args:
        private: The signer's key, PEM (PKCS #8), as `new_key` makes it.
        manifest: What ``manifest.json`` holds.

    Returns:
        A line of ``manifest.sig``.

    Raises:
        ConfigError: That is no Ed25519 key.
    """
    key = _read(private)
    return f"ed25519 {_public(key)} {key.sign(CONTEXT + manifest).hex()}\n"


def public_key(private: bytes) -> str:
    """Say in hexadecimal the public half of a key, which cameras pin.

    Raises:
        ConfigError: That is no Ed25519 key.
    """
    return _public(_read(private))


def new_key() -> bytes:
    """Draw a key to sign with: PEM (PKCS #8), not encrypted, so keep it in a file of mode 0600."""
    keys, _, serialization = _cryptography()
    made: bytes = keys.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made


def _verify(key: bytes, signature: bytes, manifest: bytes, where: Path) -> None:
    keys, exceptions, _ = _cryptography()
    try:
        keys.Ed25519PublicKey.from_public_bytes(key).verify(signature, CONTEXT + manifest)
    except (exceptions.InvalidSignature, ValueError):   # a ValueError: these bytes are no public key
        raise BundleError(f"{where}: expected key {key.hex()[:16]} to have signed this manifest, found another's "
                          "signature: the manifest or the signature was changed; copy the bundle again from whoever "
                          "signed it") from None


def _read(private: bytes) -> Any:
    keys, exceptions, serialization = _cryptography()
    try:
        key = serialization.load_pem_private_key(private, None)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        key = None
    if not isinstance(key, keys.Ed25519PrivateKey):
        raise ConfigError("expected an Ed25519 key in PEM without a passphrase, found something else; make one with "
                          "python -m export keygen")
    return key


def _public(key: Any) -> str:
    raw: bytes = key.public_key().public_bytes_raw()
    return raw.hex()


def _cryptography() -> tuple[Any, Any, Any]:
    """Import what does the mathematics; only who opens a signed bundle pays for it."""
    try:
        from cryptography import exceptions  # noqa: PLC0415
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ImportError as error:
        raise DeviceError("signatures: expected the Python package 'cryptography', found none that works "
                          f"({error}); install it with: pip install cryptography") from None
    return ed25519, exceptions, serialization
