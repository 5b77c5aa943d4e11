"""A device's settings out of their file, or one sentence that says why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import fields, replace

from cmnas_edge import config
from cmnas_edge.camera.settings import paths
from cmnas_edge.camera.settings.cameras import CameraSettings, SourceSettings
from cmnas_edge.camera.settings.device import DeviceSettings
from cmnas_edge.engine import choice_fault
from cmnas_edge.errors import ConfigError
from cmnas_edge.monitoring import health

__all__ = ["load"]

_COLLECTORS = "data"    # the key that every collector's settings have, and no device's


def load(path: Path) -> DeviceSettings:
    """Read a device's settings.

    Relative paths, those of recorded sources among them, come back relative to the file's folder.

    Raises:
        ConfigError: As `cmnas_edge.config.load`, or two settings contradict each other, or a file that is to be
            written is another's, or no file.
    """
    found = config.keys(path) or set()
    if _COLLECTORS in found and not found & {field.encode_name for field in fields(DeviceSettings) if field.required}:
        raise ConfigError(f"{path}: expected settings of a device (device, collector, cameras), found a collector's "
                          f"({_COLLECTORS}); name a device's file (a collector's is for check-config, for collector "
                          "and for service print --room collector)")
    settings = config.load(path, DeviceSettings)
    names = [camera.name for camera in settings.cameras]
    for row, name in enumerate(names):
        if name in names[:row]:
            raise ConfigError(f"{config.place(path, 'cameras', row, 'name')}: expected one camera of each name, found "
                              f"two called {name!r}; rename one")
    for steps, complaint in _complaints(settings):
        raise ConfigError(f"{config.place(path, *steps)}: {complaint}")
    if settings.health is not None:
        health.check(settings.health, f"{config.place(path, 'health')}: health",
                     anywhere=settings.allow_health_off_loopback)
    folder = path.resolve().parent
    settings = replace(
        settings, spool=replace(settings.spool, path=folder / settings.spool.path),
        cameras=tuple(replace(camera, source=_located(camera.source, folder, config.place(
            path, "cameras", row, "source", "location"))) for row, camera in enumerate(settings.cameras)))
    for steps, complaint in paths.faults(path, settings):
        raise ConfigError(f"{config.place(path, *steps)}: {complaint}")
    return settings


def _located(source: SourceSettings, folder: Path, where: str) -> SourceSettings:
    if source.is_live:
        return source
    try:
        return replace(source, location=str(config.located(folder, source.location)))
    except ValueError as error:
        raise ConfigError(f"{where}: source.location: {error}; correct it") from None


def _complaints(settings: DeviceSettings) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Say what no single value shows to be wrong: where, and what was expected, found, and to do."""
    engine = settings.engine
    if (settings.also is None) != (settings.also_until is None):
        yield ("also" if settings.also else "also_until",), (
            "expected 'also' and 'also_until' together, found one; say which bundle, and until when it is used")
    if fault := choice_fault(engine.name, engine.precision):
        yield ("engine", "precision"), fault
    if engine.batch_wait_s > engine.budget_s / 2:
        yield ("engine", "batch_wait_s"), ("expected 'engine.batch_wait_s' of at most half of 'engine.budget_s', found "
                                           f"{engine.batch_wait_s:g} and {engine.budget_s:g}; change one")
    for row, camera in enumerate(settings.cameras):
        for steps, complaint in _of_camera(camera):
            yield ("cameras", row, *steps), f"camera {camera.name!r}: {complaint}"


def _of_camera(camera: CameraSettings) -> Iterator[tuple[tuple[str | int, ...], str]]:
    spectrum, track, select, source = camera.spectrum, camera.track, camera.select, camera.source
    for low, high, table, low_name, high_name in (
            (spectrum.infrared_below, spectrum.visible_above, "spectrum", "infrared_below", "visible_above"),
            (track.low_score, track.high_score, "track", "low_score", "high_score"),
            (select.min_aspect, select.max_aspect, "select", "min_aspect", "max_aspect")):
        if low > high:
            yield (table, low_name), (f"expected {table}.{low_name} not above {table}.{high_name}, found {low:g} and "
                                      f"{high:g}; change one")
    for polygon in camera.ignore:
        if len(polygon) < 3 or not all(0 <= value <= 1 for point in polygon for value in point):
            yield ("ignore",), ("ignore: expected polygons of at least 3 points in shares of the frame (0 to 1), found "
                                f"{polygon}; correct it")
    if "://" in source.location and source.kind not in ("auto", "url"):
        yield ("source", "kind"), f"source.kind: expected \"url\" for a URL, found {source.kind!r}; correct it"
    if source.pipeline is not None and not source.is_live:
        yield ("source", "pipeline"), "source.pipeline: expected none for recorded footage, found one; leave it out"
    if not source.location:
        yield ("source", "location"), "source.location: expected a file, folder or URL, found nothing; write one"
