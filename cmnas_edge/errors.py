"""Every deliberate failure, as one tree, with the exit code of a command that ends with it.

::

    CmnasError
    ├── WrongCommand    exit 2    a verb, an option or a word of the command line
    ├── ConfigError     exit 78   the operator edits the file named in the message
    ├── BundleError     exit 65   export again, or for this device
    ├── Unaccounted     exit 65   something left a device that nothing explains: look at it
    ├── DeviceError     exit 69   no GPU, no TensorRT, no camera: says what brings it
    └── Transient       exit 75   waiting may help: the daemon retries, never dies
        ├── SourceLost            no frame within the configured silence
        ├── LinkDown              collector unreachable, or it refused this device
        └── DiskFull              spool or journal cannot grow

The main branch answers the only question a daemon has: does waiting help? A programmer's
mistake is a ``ValueError`` or ``TypeError``; a bug of ours an ``AssertionError``.

A message reads *where: what was expected, what was found, what to do*. Codes are those of
``sysexits.h``.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Final

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)    # no room; none in this user's share; none in one file


class CmnasError(Exception):
    """Anything this project raises on purpose."""

    exit_code: ClassVar[int] = 70


class WrongCommand(CmnasError):
    """The command line cannot be meant; the message says what a right one looks like."""

    exit_code = 2


class ConfigError(CmnasError):
    """What the operator wrote cannot be used; the message names the file and the key."""

    exit_code = 78


class BundleError(CmnasError):
    """A model bundle, or a file of one, is damaged, foreign or of an unknown schema."""

    exit_code = 65


class Unaccounted(CmnasError):
    """An audit found bytes that left a device and that nothing explains."""

    exit_code = 65


class DeviceError(CmnasError):
    """This machine lacks something; the message says which package or step brings it."""

    exit_code = 69


class Transient(CmnasError):
    """The world is in the way for now; waiting may help."""

    exit_code = 75


class SourceLost(Transient):
    """A camera gave no frame within the configured silence."""


class LinkDown(Transient):
    """The collector cannot be reached, or refused this device."""


class DiskFull(Transient):
    """The disk under a spool or journal cannot take more."""


def unwritable(where: object, what: str, error: OSError, other: str, *, kind: str = "a folder",
               again: str = "give the same command again") -> ConfigError | DiskFull:
    """Say in one sentence why something cannot be written: a full disk may have room later, another place is a mistake.

    Args:
        where: The file, or the folder it was to be in.
        what: There should have been room for.
        error: What the system says.
        other: What to do if it is no question of room.
        kind: What ``where`` is.
        again: What to do once there is room.
    """
    if error.errno in _FULL:
        return DiskFull(f"{where}: expected room for {what}, found a full disk; free some space and {again}")
    return ConfigError(f"{where}: expected {kind} this user may write to, found {error.strerror or error}; {other}")


def unheard(setting: str, address: str, error: OSError) -> ConfigError | Transient:
    """Say in one sentence why nobody can be listened to: who has the port may leave it, and an address may yet come.

    Args:
        setting: That says where.
        address: With its port.
        error: What the system says.
    """
    found = f"{setting}: expected to listen at {address}, found: {error.strerror or error}"
    if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
        return Transient(f"{found}; start again when it is free, or choose another")
    return ConfigError(f"{found}; choose another")


def interrupted(error: BaseException) -> bool:
    """Whether an error is Ctrl-C, or what a package made of it that was being imported just then."""
    one: BaseException | None = error
    while isinstance(one, ImportError):
        one = one.__cause__ or one.__context__
    return isinstance(one, KeyboardInterrupt)
