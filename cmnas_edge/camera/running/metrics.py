"""A daemon's vitals in the words of Prometheus: counts and states, nothing of anybody who was seen.

`METRICS` lists every one; `docs/operate.md` and the dashboard `docs/grafana.json` are held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

from cmnas_edge import __version__
from cmnas_edge.camera.frames.times import TimeSource
from cmnas_edge.camera.running.vitals import CameraVitals, Vitals
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.monitoring.exposition import Exposition, Metric, Samples, Values

__all__ = ["METRICS", "exposition"]

_THERMAL = Path("/sys/class/thermal")
_RESULTS = ("stored", "duplicate", "refused", "dropped")
_STATES = ("starting", "live", "lost", "failed", "ended")

METRICS = (
    Metric("cmnas_camera_state", "gauge", ("camera", "state"), "1 for the state a camera is in, 0 for the others"),
    Metric("cmnas_frames_total", "counter", ("camera",), "Frames looked at"),
    Metric("cmnas_frame_age_seconds", "gauge", ("camera",), "Since the newest frame; absent before the first"),
    Metric("cmnas_camera_time_source", "gauge", ("camera", "source"),
           "1 for whose word its newest frame's time is (the sender's, arrival here, the footage's), 0 for the others"),
    Metric("cmnas_frames_dropped_total", "counter", ("camera", "reason"),
           "Live frames not looked at; newer: a newer one came before its turn"),
    Metric("cmnas_camera_down_total", "counter", ("camera",), "Times it was lost, and attempts that brought no frame"),
    Metric("cmnas_reconnects_total", "counter", ("camera",), "Times a lost camera gave frames again"),
    Metric("cmnas_modality", "gauge", ("camera", "modality"), "1 for what it sees: visible, infrared or unknown"),
    Metric("cmnas_modality_switches_total", "counter", ("camera",), "Changes from visible to infrared or back"),
    Metric("cmnas_people_in_view", "gauge", ("camera",), "Tracklets that are followed now"),
    Metric("cmnas_shed_total", "counter", ("camera",), "Sightings not made, for the engine had no time for them"),
    Metric("cmnas_sightings_total", "counter", (), "Sightings made"),
    Metric("cmnas_records_total", "counter", ("result",), "Records answered for, or dropped for want of room"),
    Metric("cmnas_embed_seconds", "histogram", (), "Time of one call of the network"),
    Metric("cmnas_batch_crops", "histogram", (), "Crops in one call of the network"),
    Metric("cmnas_stage_seconds_total", "counter", ("stage",), "Time spent in each stage"),
    Metric("cmnas_engine_failures_total", "counter", (), "Times a modality's engine gave way to ONNX Runtime"),
    Metric("cmnas_spool_records", "gauge", (), "Records on disk that wait for the collector"),
    Metric("cmnas_spool_bytes", "gauge", (), "Bytes that the spool's files take"),
    Metric("cmnas_spool_oldest_seconds", "gauge", (), "Age of the oldest record that waits; 0 when none does"),
    Metric("cmnas_sent_bytes_total", "counter", ("kind",),
           "Bytes written, before TLS; embedding: sightings, header: what carries them, unexplained: the rest"),
    Metric("cmnas_requests_total", "counter", (), "Batches sent, and sent again"),
    Metric("cmnas_link_failures_total", "counter", (), "Batches without the collector's answer"),
    Metric("cmnas_collector_silent_seconds", "gauge", (), "How long the collector has not answered; 0 while it does"),
    Metric("cmnas_clock_offset_seconds", "gauge", (),
           "The collector's clock less this one's, to within two seconds; absent until it is known"),
    Metric("cmnas_temperature_celsius", "gauge", ("zone",), "Of this machine, where its kernel tells"),
    Metric("cmnas_bundle_info", "gauge", ("bundle", "modality", "engine", "version"),
           "Always 1: what runs; two bundles in an overlap"),
)


def exposition(look: Callable[[], Vitals], thermal: Path = _THERMAL) -> Exposition:
    """Write vitals down as Prometheus reads them.

    Args:
        look: Takes the vitals; called for each page, by the thread that serves it.
        thermal: Where the kernel tells temperatures.

    Raises:
        DeviceError: The package for it is missing.
    """
    return Exposition(METRICS, lambda: _values(look(), thermal))


def _values(now: Vitals, thermal: Path) -> Values:
    def each(value: Callable[[CameraVitals], float | None]) -> Samples:
        return [((camera.name,), found) for camera in now.cameras if (found := value(camera)) is not None]

    def one(value: float | None) -> Samples:
        return [] if value is None else [((), value)]

    def which(words: Iterable[str], value: Callable[[CameraVitals], str]) -> Samples:
        return [((camera.name, word), float(value(camera) == word)) for camera in now.cameras for word in words]

    count = now.counts
    yield "cmnas_camera_state", which(_STATES, lambda camera: camera.state)
    yield "cmnas_frames_total", each(lambda camera: camera.frame_count)
    yield "cmnas_frame_age_seconds", each(lambda camera: camera.frame_age_s)
    yield "cmnas_camera_time_source", which(get_args(TimeSource), lambda camera: camera.time_source or "")
    yield "cmnas_frames_dropped_total", [((camera.name, reason), found) for camera in now.cameras
                                         for reason, found in camera.dropped_counts.items()]
    yield "cmnas_camera_down_total", each(lambda camera: camera.down_count)
    yield "cmnas_reconnects_total", each(lambda camera: camera.reconnect_count)
    yield "cmnas_modality", which((*MODALITIES, "unknown"), lambda camera: camera.modality or "unknown")
    yield "cmnas_modality_switches_total", each(lambda camera: camera.switch_count)
    yield "cmnas_people_in_view", each(lambda camera: camera.people_count)
    yield "cmnas_shed_total", each(lambda camera: camera.shed_count)
    yield "cmnas_sightings_total", one(count["sightings"])
    yield "cmnas_records_total", [((result,), count[result]) for result in _RESULTS]
    yield "cmnas_embed_seconds", now.embed_s
    yield "cmnas_batch_crops", now.batch
    yield "cmnas_stage_seconds_total", [((stage,), spent) for stage, spent in now.stage_s.items()]
    yield "cmnas_engine_failures_total", one(count["engine_failures"])
    yield "cmnas_spool_records", one(now.spool_count)
    yield "cmnas_spool_bytes", one(now.spool_bytes)
    yield "cmnas_spool_oldest_seconds", one(now.spool_oldest_s or 0.0)
    yield "cmnas_sent_bytes_total", [((kind,), count[f"{kind}_bytes"])
                                     for kind in ("embedding", "header", "unexplained")]
    yield "cmnas_requests_total", one(count["requests"])
    yield "cmnas_link_failures_total", one(count["link_failures"])
    yield "cmnas_collector_silent_seconds", one(now.down_s or 0.0)
    yield "cmnas_clock_offset_seconds", one(now.clock_offset_s)
    yield "cmnas_temperature_celsius", _temperatures(thermal)
    yield "cmnas_bundle_info", [((bundle, modality, engine, __version__), 1.0)
                                for bundle, engines in ((now.bundle, now.engines), (now.also_bundle, now.also_engines))
                                for modality, engine in engines.items()]


def _temperatures(thermal: Path) -> Samples:
    found: dict[str, float] = {}
    for zone in sorted(thermal.glob("thermal_zone*")):
        try:
            name, text = (zone / "type").read_text().strip(), (zone / "temp").read_text()
            found[name if name not in found else zone.name] = int(text) / 1000
        except (OSError, ValueError):   # a zone that is asleep refuses to be read
            continue
    return [((name,), value) for name, value in found.items()]
