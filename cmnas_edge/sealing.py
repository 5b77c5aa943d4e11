"""A vector sealed to the collector's public key: whoever carries it, or finds it on a disk, cannot read it.

HPKE (RFC 9180) in base mode with X25519, HKDF-SHA256 and ChaCha20-Poly1305. A camera agrees on a
key with the collector's public one (a *context*) and seals up to `MOST_RECORDS` records with it,
one by one: records leave the spool, wait and are dropped one by one, and travel in batches that
are put together anew at each try, so each must open alone. What the agreement made is kept in
memory only, and given up after `LONGEST_S`; the camera cannot open what it sealed.

Base mode hides; it does not say who sealed. Who sent a record is the transport's to know.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from cmnas_edge.errors import ConfigError
from cmnas_edge.private import read_secret

__all__ = ["ADDED_BYTES", "ENCAPSULATED_BYTES", "KEY_BYTES", "LONGEST_S", "MOST_RECORDS", "Opener", "Seal", "Sealer",
           "new_key", "public_key"]

MOST_RECORDS = 256
LONGEST_S = 600.0
ADDED_BYTES = 16        # Poly1305's tag
KEY_BYTES = 4
ENCAPSULATED_BYTES = 32
_INFO = b"cmnas-edge sighting vector 1"
_KEM = b"KEM" + (0x0020).to_bytes(2, "big")
_SUITE = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x0020, 0x0001, 0x0003))
_REMEMBERED = 4096      # contexts a collector keeps open; one more agreement costs less than a commit


class Seal(NamedTuple):
    """What opens a sealed vector, beside the private key: see ``Seal`` in ``sighting.proto``."""

    key: bytes
    encapsulated: bytes
    number: int


class Sealer:
    """Seals to one public key. Used by one thread."""

    def __init__(self, public: bytes, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Agree with the key once, so that one that cannot be used is found at once.

        Args:
            public: The collector's key, 32 bytes.
            clock: Monotonic seconds.

        Raises:
            ConfigError: That is no key.
        """
        self._public = public
        self._clock = clock
        self._renew()

    def seal(self, plain: bytes, beside: bytes) -> tuple[Seal, bytes]:
        """Seal one record's bytes; ``beside`` stays readable and cannot be changed without breaking the seal."""
        if self._number >= MOST_RECORDS or self._clock() - self._began > LONGEST_S:
            self._renew()
        number = self._number
        self._number += 1   # never given twice: two records under one nonce would show each other
        return (Seal(_short(self._public), self._encapsulated, number),
                self._context.encrypt(number, plain, beside))

    def _renew(self) -> None:
        once = X25519PrivateKey.generate()
        try:
            shared = once.exchange(X25519PublicKey.from_public_bytes(self._public))
        except ValueError:
            raise ConfigError("seal_to: expected the 64 hexadecimal digits that 'cmnas-edge collector seal-key' "
                              "printed, found a key nothing can be sealed to; correct it") from None
        self._encapsulated = once.public_key().public_bytes_raw()
        self._context = _Context.agreed(shared, self._encapsulated, self._public, _INFO)
        self._number = 0
        self._began = self._clock()


class Opener:
    """Opens what was sealed to any of some keys. Safe to use from several threads."""

    def __init__(self, keys: Sequence[X25519PrivateKey]) -> None:
        self._keys = {_short(key.public_key().public_bytes_raw()): key for key in keys}
        self._contexts: OrderedDict[tuple[bytes, bytes], _Context] = OrderedDict()
        self._mutex = threading.Lock()

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Opener:
        """Read keys from the files that `new_key` filled.

        Raises:
            ConfigError: A file is missing, readable by others, or holds no such key.
        """
        return cls([_read(path) for path in paths])

    def has(self, key: bytes) -> bool:
        """Say whether it has the key that a `Seal` names."""
        return key in self._keys

    def open(self, seal: Seal, sealed: bytes, beside: bytes) -> bytes | None:
        """Give back what was sealed; None if it, what stands beside it or the seal was changed.

        Raises:
            KeyError: It was sealed to another key; see `has`.
        """
        try:
            return self._agreed(seal).decrypt(seal.number, sealed, beside)
        except (InvalidTag, ValueError):
            return None

    def _agreed(self, seal: Seal) -> _Context:
        name = seal.key, seal.encapsulated
        with self._mutex:
            if (known := self._contexts.get(name)) is not None:
                self._contexts.move_to_end(name)
                return known
        private = self._keys[seal.key]
        shared = private.exchange(X25519PublicKey.from_public_bytes(seal.encapsulated))
        context = _Context.agreed(shared, seal.encapsulated, private.public_key().public_bytes_raw(), _INFO)
        with self._mutex:
            self._contexts[name] = context
            while len(self._contexts) > _REMEMBERED:
                self._contexts.popitem(last=False)
        return context


def new_key() -> bytes:
    """Draw a private key, as PEM (PKCS #8)."""
    return X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def public_key(path: Path) -> str:
    """Say in hexadecimal the public half of the key in a file, for ``seal_to``.

    Raises:
        ConfigError: The file is missing, readable by others, or holds no such key.
    """
    return _read(path).public_key().public_bytes_raw().hex()


class _Context:
    """RFC 9180, section 5.2: a key, and a nonce for each record from its number."""

    def __init__(self, key: bytes, base_nonce: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._base = int.from_bytes(base_nonce, "big")

    @classmethod
    def agreed(cls, shared: bytes, encapsulated: bytes, public: bytes, info: bytes) -> _Context:
        """Sections 4.1 (ExtractAndExpand) and 5.1 (KeySchedule, base mode)."""
        secret = _expand(_extract(b"", b"eae_prk", shared, _KEM), b"shared_secret", encapsulated + public, 32, _KEM)
        context = b"\0" + _extract(b"", b"psk_id_hash", b"", _SUITE) + _extract(b"", b"info_hash", info, _SUITE)
        schedule = _extract(secret, b"secret", b"", _SUITE)
        return cls(_expand(schedule, b"key", context, 32, _SUITE),
                   _expand(schedule, b"base_nonce", context, 12, _SUITE))

    def encrypt(self, number: int, plain: bytes, beside: bytes) -> bytes:
        return self._cipher.encrypt(self._nonce(number), plain, beside)

    def decrypt(self, number: int, sealed: bytes, beside: bytes) -> bytes:
        return self._cipher.decrypt(self._nonce(number), sealed, beside)

    def _nonce(self, number: int) -> bytes:
        return (self._base ^ number).to_bytes(12, "big")


def _extract(salt: bytes, label: bytes, material: bytes, suite: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + material, "sha256")


def _expand(key: bytes, label: bytes, info: bytes, length: int, suite: bytes) -> bytes:
    """HKDF-Expand (RFC 5869) of at most one block, which is all that is asked for here."""
    assert length <= 32
    text = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, text + b"\1", "sha256")[:length]


def _short(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:KEY_BYTES]


def _read(path: Path) -> X25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(read_secret(path).encode() + b"\n", None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise ConfigError(f"{path}: expected a key that 'cmnas-edge collector seal-key' made, found something else; "
                          "name its file")
    return key
