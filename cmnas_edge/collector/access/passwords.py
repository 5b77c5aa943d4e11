"""Passwords: argon2id (RFC 9106), worked out on threads of its own, a few at a time.

64 MiB and three passes, the RFC's second recommended choice, with one lane instead of four: a
log-in takes one core a tenth of a second or so, and strangers who try many take no more than `_TOGETHER`
of them.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from cmnas_edge.errors import ConfigError, DeviceError, Transient

__all__ = ["LEAST", "MOST", "Passwords"]

LEAST, MOST = 12, 1024      # characters, bytes
_TOGETHER = 2               # at 64 MiB each
_WAITING = 16


class Passwords:
    """Hashes passwords and checks them; any thread may use it.

    Raises:
        DeviceError: The package that does it is missing.
    """

    def __init__(self, *, memory_kib: int = 65536, passes: int = 3) -> None:
        try:
            import argon2  # noqa: PLC0415 - of the extra `collector`
        except ImportError:
            raise DeviceError("passwords: expected the package argon2-cffi, found none; install it with: "
                              "pip install 'cmnas-edge[collector]'") from None
        self._wrong = (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError)
        self._hasher = argon2.PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._pool = ThreadPoolExecutor(_TOGETHER, "password")
        self._room = threading.BoundedSemaphore(_WAITING)
        self._nobody = ""

    def hash(self, password: str) -> str:
        """Hash a password with a salt of its own.

        Raises:
            ConfigError: It is too short or too long.
        """
        if len(password) < LEAST or len(password.encode("utf-8", "surrogatepass")) > MOST:
            raise ConfigError(f"password: expected at least {LEAST} characters, and at most {MOST} bytes, found "
                              f"{len(password)} characters; choose another")
        return self._hasher.hash(password)

    def check(self, kept: str, password: str) -> Future[bool]:
        """Compare a password with a hash, on another thread.

        Args:
            kept: The hash; empty if there is nobody or they have none, which takes as long and is never right.
            password: As typed.

        Raises:
            Transient: Too many wait already.
        """
        if not self._room.acquire(blocking=False):
            raise Transient("log-in: too many try at this moment; try again in a few seconds")
        future = self._pool.submit(self._is, kept, password)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def is_old(self, kept: str) -> bool:
        """Whether a hash was made at another cost than today's."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _is(self, kept: str, password: str) -> bool:
        if not self._nobody:
            self._nobody = self._hasher.hash("nobody's")
        try:
            self._hasher.verify(kept or self._nobody, password)
        except self._wrong:
            return False
        return bool(kept)
