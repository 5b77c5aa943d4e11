"""Every deliberate failure, as one tree, with the exit code of a command that ends with it.

::

    CmnasError
    ├── ConfigError     exit 78   the operator edits the file named in the message
    ├── BundleError     exit 65   export again, or for this device
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

from typing import ClassVar


class CmnasError(Exception):
    """Anything this project raises on purpose."""

    exit_code: ClassVar[int] = 70


class ConfigError(CmnasError):
    """What the operator wrote cannot be used; the message names the file and the key."""

    exit_code = 78


class BundleError(CmnasError):
    """A model bundle, or a file of one, is damaged, foreign or of an unknown schema."""

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
