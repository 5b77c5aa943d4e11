"""A collector in the words of Prometheus: counts and states, nothing of anybody who was seen.

`METRICS` lists every one; ``docs/operate.md`` is held against it.
"""

from __future__ import annotations

from collections.abc import Callable

from cmnas_edge.collector import views
from cmnas_edge.collector.web.condition import troubles
from cmnas_edge.monitoring.exposition import Exposition, Metric, Samples, Values

__all__ = ["METRICS", "MOST_CAMERAS", "check", "exposition"]

MOST_CAMERAS = 1000     # told of one by one, whatever names a device makes up
_PARTS = ("storing", "devices", "matching", "broker", "index", "retention")
METRICS = (
    Metric("cmnas_collector_ok", "gauge", (), "1 while it does all of its work; 0: /readyz says why not"),
    Metric("cmnas_collector_trouble", "gauge", ("part",), f"1 for each part that is in trouble: {', '.join(_PARTS)}"),
    Metric("cmnas_collector_taken_total", "counter", (), "Sightings stored since the start"),
    Metric("cmnas_collector_removed_total", "counter", (), "Sightings let go of since the start, as retention says"),
    Metric("cmnas_collector_stored_sightings", "gauge", (), "Sightings that the journal holds"),
    Metric("cmnas_collector_hot_sightings", "gauge", (), "Sightings of the hot window"),
    Metric("cmnas_collector_identities", "gauge", (), "Probable people of the hot window"),
    Metric("cmnas_collector_behind_sightings", "gauge", (), "Sightings stored and not matched yet"),
    Metric("cmnas_collector_behind_seconds", "gauge", (), "How long the oldest of them has waited"),
    Metric("cmnas_collector_oldest_seconds", "gauge", (), "Age of the oldest sighting held; absent where none is"),
    Metric("cmnas_collector_retention_seconds", "gauge", (), "How long sightings are held; absent where without end"),
    Metric("cmnas_collector_journal_bytes", "gauge", (), "Bytes that the journal's files take"),
    Metric("cmnas_collector_free_bytes", "gauge", (), "Bytes free where they lie"),
    Metric("cmnas_collector_devices", "gauge", (), "Enrolled devices"),
    Metric("cmnas_collector_camera_heard_seconds", "gauge", ("device", "camera"), "Since a camera was last heard"),
    Metric("cmnas_collector_camera_lag_seconds", "gauge", ("device", "camera"),
           "How late its last sighting came, below 0 where its clock is ahead; absent for recorded footage"),
    Metric("cmnas_collector_camera_sightings", "gauge", ("device", "camera"), "Its sightings of the hot window"),
    Metric("cmnas_collector_lost_sightings", "gauge", ("device",), "Lost of a full spool, as told in the hot window"),
    Metric("cmnas_collector_bundle_info", "gauge", ("bundle", "calibrated_on", "version"), "Always 1: what judges"),
)


def check() -> None:
    """Make sure that they can be written down here.

    Raises:
        DeviceError: The package for it is missing.
    """
    Exposition(METRICS, lambda: ())


def exposition(health: Callable[[], views.Health], cameras: Callable[[], views.CameraList]) -> Exposition:
    """Write down how a collector is.

    Args:
        health: How it is now.
        cameras: What it hears of them now.

    Raises:
        DeviceError: The package for it is missing.
    """
    return Exposition(METRICS, lambda: _values(health(), cameras()))


def _values(now: views.Health, heard: views.CameraList) -> Values:
    def one(value: float | None) -> Samples:
        return [] if value is None else [((), value)]

    def each(value: Callable[[views.Camera], float | None]) -> Samples:
        return [((camera.device, camera.camera), found) for camera in heard.cameras[:MOST_CAMERAS]
                if (found := value(camera)) is not None]

    found, retention = troubles(now), now.retention
    yield "cmnas_collector_ok", one(not found.keys() - {"retention"})
    yield "cmnas_collector_trouble", [((part,), float(part in found)) for part in _PARTS]
    yield "cmnas_collector_taken_total", one(now.taken_count)
    yield "cmnas_collector_removed_total", one(retention.removed_count)
    yield "cmnas_collector_stored_sightings", one(now.stored_count)
    yield "cmnas_collector_hot_sightings", one(now.hot_count)
    yield "cmnas_collector_identities", one(now.identity_count)
    yield "cmnas_collector_behind_sightings", one(now.behind_count)
    yield "cmnas_collector_behind_seconds", one(now.behind_s)
    oldest = retention.oldest_received_at
    yield "cmnas_collector_oldest_seconds", one(None if oldest is None else now.now - oldest)
    yield "cmnas_collector_retention_seconds", one(
        None if retention.retention_h is None else retention.retention_h * 3600)
    yield "cmnas_collector_journal_bytes", one(now.journal_bytes)
    yield "cmnas_collector_free_bytes", one(now.free_bytes)
    yield "cmnas_collector_devices", one(now.device_count)
    yield "cmnas_collector_camera_heard_seconds", each(lambda camera: heard.now - camera.last_received_at)
    yield "cmnas_collector_camera_lag_seconds", each(lambda camera: camera.lag_s)
    yield "cmnas_collector_camera_sightings", each(lambda camera: camera.sighting_count)
    yield "cmnas_collector_lost_sightings", [((device,), count) for device, count in {
        camera.device: camera.lost_count for camera in heard.cameras[:MOST_CAMERAS]}.items()]
    yield "cmnas_collector_bundle_info", [((now.fingerprint[:16], now.calibrated_on, now.version), 1.0)]
