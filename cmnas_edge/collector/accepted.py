"""The bundles whose sightings a collector takes, each judged by its own calibration: one leads.

There are others beside it while a site changes from one bundle to the next (docs/rollout.md). Vectors of two are never
compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cmnas_edge import bundle
from cmnas_edge.bundle import Bundle
from cmnas_edge.calibration import Calibration, read_calibration
from cmnas_edge.collector.settings import CollectorSettings
from cmnas_edge.errors import BundleError, ConfigError

__all__ = ["leading", "others", "read_stored", "words"]


class _Named(msgspec.Struct):
    fingerprint: str


def leading(settings: CollectorSettings) -> Bundle:
    """Open the bundle that decides, judged by the site's own calibration where the settings name one.

    Raises:
        BundleError: See `cmnas_edge.bundle.open_trusted`; or the calibration is of another fingerprint, or none.
        ConfigError: The calibration cannot be read.
    """
    model = bundle.open_trusted(settings.bundle, settings.trust)
    if settings.calibration is None:
        return model
    return dataclasses.replace(model, calibration=read_stored(settings.calibration, model.fingerprint_hex))


def others(settings: CollectorSettings, first: Bundle) -> list[Bundle]:
    """Open the further bundles that are accepted, each judged by the site's calibration of it where there is one.

    Args:
        settings: ``also`` and ``also_calibration`` of them.
        first: The bundle that leads.

    Raises:
        BundleError: As `leading`; or a calibration is of none of them.
        ConfigError: A calibration cannot be read, or two bundles or calibrations are of one fingerprint.
    """
    found = [bundle.open_trusted(path, settings.trust) for path in settings.also]
    for at, one in enumerate(found):
        if twin := next((each for each in (first, *found[:at]) if each.fingerprint == one.fingerprint), None):
            raise ConfigError(f"also: expected bundles of other fingerprints than one another's, found that {one.path} "
                              f"is of the same as {twin.path}; leave it out: their vectors compare as they are")
    by, calibrated = {one.fingerprint_hex: one for one in found}, dict[str, Path]()
    for path in settings.also_calibration:
        name = _fingerprint(path)
        if not found:
            raise ConfigError(f"also_calibration: expected bundles in also that {path} is for, found none; name them")
        one = by.get(name, found[0])    # whose it is not, reading says
        if (other := calibrated.setdefault(one.fingerprint_hex, path)) is not path:
            raise ConfigError(f"also_calibration: expected one calibration for each bundle, found that {other} and "
                              f"{path} are for the same; leave one out")
        by[one.fingerprint_hex] = dataclasses.replace(one, calibration=read_stored(path, one.fingerprint_hex))
    return list(by.values())


def words(models: Sequence[Bundle]) -> list[str]:
    """Say of each bundle what it is, the leading one first."""
    return [f"bundle {model.fingerprint_hex[:16]}{', accepted too' if at else ''}: {model.path}, {model.dimension} "
            f"dimensions, thresholds calibrated on: {model.calibrated_on}" for at, model in enumerate(models)]


def read_stored(path: Path, fingerprint: str) -> Calibration:
    """Read a calibration of a site.

    Raises:
        ConfigError: It cannot be read.
        BundleError: It is none, or of another fingerprint.
    """
    try:
        return read_calibration(_bytes(path), fingerprint, str(path))
    except BundleError as error:
        raise BundleError(f"{error} (for this site: cmnas-edge collector calibrate)") from None


def _fingerprint(path: Path) -> str:
    try:
        return msgspec.json.decode(_bytes(path), type=_Named).fingerprint
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: expected a calibration, found no file that can be read ({error.strerror}); make "
                          "it with: cmnas-edge collector calibrate, or correct the path") from None
