"""A daemon's vitals, taken from its parts; any thread may look, and no part waits for it for long."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from cmnas_edge.camera.backlog import Backlog
from cmnas_edge.camera.frames.stream import hanging
from cmnas_edge.camera.overlap import Overlap
from cmnas_edge.camera.running.pulse import patience_s
from cmnas_edge.camera.running.vitals import CameraVitals, Vitals
from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.tally import Count, Tally
from cmnas_edge.camera.watch import Camera
from cmnas_edge.embedding import Modality
from cmnas_edge.engine import Engine
from cmnas_edge.errors import CmnasError
from cmnas_edge.wire import seen_at

__all__ = ["Checkup"]


class Checkup:
    """Looks at one daemon."""

    def __init__(self, cameras: Sequence[Camera], backlog: Backlog, engines: Mapping[Modality, Engine],
                 fingerprint: bytes, spool: Spool, link: Link, tally: Tally, *, also: Overlap | None = None,
                 clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._cameras = cameras
        self._backlog = backlog
        self._engines = engines
        self._fingerprint = fingerprint
        self._spool = spool
        self._link = link
        self._tally = tally
        self._also = also
        self._clock = clock
        self._wall = wall

    def __call__(self) -> Vitals:
        """Take the vitals."""
        now, shed = self._clock(), self._backlog.shed
        tally = self._tally
        spool_bytes, oldest_s = self._on_disk()
        also = None if self._also is None or self._also.over else self._also
        return Vitals(
            cameras=tuple(self._camera(camera, now, shed.get(camera.settings.name, 0)) for camera in self._cameras),
            counts={name: tally[name] for name in get_args(Count)}, stage_s=tally.stage_s(),
            embed_s=tally.embed_s.look(), batch=tally.batch.look(), busy_s=tally.busy_s, hanging=tuple(hanging(now)),
            spool_count=len(self._spool), spool_bytes=spool_bytes, spool_oldest_s=oldest_s, down_s=self._link.down_s,
            engines={modality: f"{engine.name} {engine.precision}" for modality, engine in self._engines.items()},
            bundle=self._fingerprint.hex(), clock_offset_s=tally.clock_offset_s,
            also_engines={} if also is None else also.engines,
            also_bundle="" if also is None else also.fingerprint.hex())

    def line(self) -> str:
        """How it goes, in a few words."""
        return f"{self._states()}; {len(self._spool)} records wait"

    def status(self, passed_s: float) -> str:
        """What the log says from time to time, and at the end.

        Args:
            passed_s: Since the daemon began.
        """
        tally, down_s = self._tally, self._link.down_s
        people = sum(camera.pipeline.people_count for camera in self._cameras)
        link = "" if down_s is None else f"; collector silent for {down_s:.0f} s"
        shed = f", {tally['shed']} shed for want of time" if tally["shed"] else ""
        return (f"{self._states()}: {tally['frames'] / passed_s:.1f} frames/s, lag {tally.last_lag_s:.2f} s, {people} "
                f"in view; {tally['sightings']} sightings{shed}, {tally['stored'] + tally['duplicate']} stored, "
                f"{tally['refused']} refused, {tally['dropped']} dropped, {len(self._spool)} wait{link}")

    def report(self, device: str, passed_s: float) -> dict[str, object]:
        """Everything counted, ready for JSON."""
        shed = self._backlog.shed
        return {
            "device": device, "seconds": round(passed_s, 3), **self._tally.snapshot(),
            "waiting": len(self._spool), "spool": self._spool.name,
            "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "cameras": {c.settings.name: {
                "frames": c.frame_count, "frames_dropped": c.dropped_count, "failures": c.failure_count,
                "shed": shed.get(c.settings.name, 0), "state": c.state,
                "modality": c.pipeline.modality, "time_source": c.time_source} for c in self._cameras}}

    def _states(self) -> str:
        return ", ".join(f"{c.settings.name} {c.pipeline.modality or 'unknown'} {c.state}" for c in self._cameras)

    def _camera(self, camera: Camera, now: float, shed_count: int) -> CameraVitals:
        source, pipeline = camera.settings.source, camera.pipeline
        return CameraVitals(
            name=camera.settings.name, state=camera.state, frame_count=camera.frame_count,
            down_count=camera.failure_count,
            frame_age_s=None if camera.taken_at is None else max(0.0, now - camera.taken_at),
            dropped_counts={"newer": camera.dropped_count}, reconnect_count=camera.reconnect_count,
            time_source=camera.time_source, modality=pipeline.modality, switch_count=pipeline.switch_count,
            people_count=pipeline.people_count, shed_count=shed_count,
            patience_s=patience_s(source.silence_s, source.max_fps, source.fps, camera.fps),
            group="recordings" if source.pace == "fast" and camera.recorded else "")

    def _on_disk(self) -> tuple[int, float | None]:
        """Bytes, and the age of the oldest record; what the disk does not tell for now counts as nothing."""
        try:
            oldest = [seen_at(data) for _, data in self._spool.peek(1)]
            return self._spool.used_bytes(), max(0.0, self._wall() - oldest[0]) if oldest and oldest[0] else None
        except CmnasError:
            return 0, None
