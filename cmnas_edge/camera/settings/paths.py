"""Files that a device's settings name, held against each other: what is written must be nobody else's.

Several settings may name one file to read where that means something: a certificate with its key, one
modality for two cameras, one recording for both. A file that is written has one name in the settings, and
is a plain file, since a daemon that is root would make a spool even of a device.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cmnas_edge.camera.settings.cameras import CameraSettings
from cmnas_edge.camera.settings.device import DeviceSettings

__all__ = ["faults"]

Steps = tuple[str | int, ...]


class _Use(NamedTuple):
    """A setting that names a file.

    Attributes:
        steps: That lead to it.
        shown: Its name, for a sentence.
        path: The file.
        shared: Settings of the same word may name one file, for reading; empty: none may.
        written: Whether a daemon writes it.
    """

    steps: Steps
    shown: str
    path: Path
    shared: str = ""
    written: bool = False


def faults(file: Path, settings: DeviceSettings) -> Iterator[tuple[Steps, str]]:
    """Say which paths cannot be meant: where, and what was expected, found, and to do.

    Args:
        file: The settings file itself.
        settings: With paths that are not relative.
    """
    taken: dict[str, _Use] = {}
    for use in (_Use((), "the settings file itself", file), *_of_device(settings),
                *(use for row, camera in enumerate(settings.cameras) for use in _of_camera(row, camera))):
        if use.written and (found := _other_than_a_file(use.path)):
            yield use.steps, (f"expected '{use.shown}' to name a file, or nothing yet, found {found} at {use.path}; "
                              "name a file")
        first = taken.setdefault(os.path.realpath(use.path), use)
        if first is not use and not (use.shared and use.shared == first.shared):
            other = f"'{first.shown}'" if first.steps else first.shown
            yield use.steps, (f"expected '{use.shown}' to name another file than {other}, found {use.path} for both; "
                              "change one")


def _of_device(settings: DeviceSettings) -> Iterator[_Use]:
    link = settings.link
    for steps, path, shared, written in (
            (("token",), settings.token, "", False), (("site_key",), settings.site_key, "", False),
            (("link", "certificate_authority"), link.certificate_authority, "certificate", False),
            (("link", "certificate"), link.certificate, "certificate", False),
            (("link", "certificate_key"), link.certificate_key, "certificate", False),
            (("spool", "path"), settings.spool.path, "", True),
            (("trace",), settings.trace, "", True), (("report",), settings.report, "", True),
            (("link", "sent_log"), link.sent_log, "", True),
            (("link", "sent_log_tls_keys"), link.sent_log_tls_keys, "", True)):
        if path is not None:
            yield _Use(steps, ".".join(steps), path, shared, written)


def _of_camera(row: int, camera: CameraSettings) -> Iterator[_Use]:
    recording = None if camera.source.is_live else Path(camera.source.location)
    for steps, path, shared in (
            (("source", "location"), recording, "recording"), (("detector", "path"), camera.detector.path, "detector"),
            (("spectrum", "modality_file"), camera.spectrum.modality_file, "modality")):
        if path is not None:
            yield _Use(("cameras", row, *steps), ".".join(steps), path, shared)


def _other_than_a_file(path: Path) -> str:
    """What is at a path and is no plain file; empty if it is one, or nothing, or cannot be seen."""
    try:
        mode = path.stat().st_mode
    except OSError:     # who opens it says why it cannot
        return ""
    if stat.S_ISREG(mode):
        return ""
    return "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
