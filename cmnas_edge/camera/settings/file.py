"""A device's settings out of their file, or one sentence that says why not."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from cmnas_edge import config
from cmnas_edge.camera.settings.cameras import CameraSettings, SourceSettings
from cmnas_edge.camera.settings.device import DeviceSettings
from cmnas_edge.errors import ConfigError

__all__ = ["load"]


def load(path: Path) -> DeviceSettings:
    """Read a device's settings.

    Relative paths, those of recorded sources among them, come back relative to the file's folder.

    Raises:
        ConfigError: As `cmnas_edge.config.load`, or two settings contradict each other.
    """
    settings = config.load(path, DeviceSettings)
    names = [camera.name for camera in settings.cameras]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: expected one camera of each name, found two called {name!r}; rename one")
    if settings.engine.name == "auto" and settings.engine.precision is not None:
        raise ConfigError(f"{path}: expected no 'engine.precision' with name = \"auto\", which chooses it, found "
                          f"{settings.engine.precision!r}; remove it, or name an engine")
    if settings.engine.batch_wait_s > settings.engine.budget_s / 2:
        raise ConfigError(f"{path}: expected 'engine.batch_wait_s' of at most half of 'engine.budget_s', found "
                          f"{settings.engine.batch_wait_s:g} and {settings.engine.budget_s:g}; change one")
    folder = path.resolve().parent
    for camera in settings.cameras:
        for complaint in _complaints(camera):
            raise ConfigError(f"{path}: camera {camera.name!r}: {complaint}")
    return replace(
        settings, spool=replace(settings.spool, path=folder / settings.spool.path),
        cameras=tuple(replace(camera, source=_located(camera.source, folder)) for camera in settings.cameras))


def _located(source: SourceSettings, folder: Path) -> SourceSettings:
    if source.kind == "url" or "://" in source.location or source.location.startswith("/dev/"):
        return source
    return replace(source, location=str(folder / Path(source.location).expanduser()))


def _complaints(camera: CameraSettings) -> list[str]:
    """Say what no single value shows to be wrong: what was expected, found, and to do."""
    spectrum, track, select = camera.spectrum, camera.track, camera.select
    wrong = []
    for low, high, low_name, high_name in (
            (spectrum.infrared_below, spectrum.visible_above, "spectrum.infrared_below", "spectrum.visible_above"),
            (track.low_score, track.high_score, "track.low_score", "track.high_score"),
            (select.min_aspect, select.max_aspect, "select.min_aspect", "select.max_aspect")):
        if low > high:
            wrong.append(f"expected {low_name} not above {high_name}, found {low:g} and {high:g}; change one")
    wrong += [f"ignore: expected polygons of at least 3 points in shares of the frame (0 to 1), found {polygon}; "
              "correct it" for polygon in camera.ignore
              if len(polygon) < 3 or not all(0 <= value <= 1 for point in polygon for value in point)]
    if "://" in camera.source.location and camera.source.kind not in ("auto", "url"):
        wrong.append(f"source.kind: expected \"url\" for a URL, found {camera.source.kind!r}; correct it")
    if camera.source.pipeline is not None and not (
            camera.source.kind == "url" or "://" in camera.source.location
            or camera.source.location.startswith("/dev/")):
        wrong.append("source.pipeline: expected none for recorded footage, found one; leave it out")
    if not camera.source.location:
        wrong.append("source.location: expected a file, folder or URL, found nothing; write one")
    return wrong
