"""How a daemon is at one moment, in numbers: what metrics, health, watchdog and ``systemctl status`` all read.

Nothing personal stands here: counts and states of cameras, which an operator named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cmnas_edge.camera.frames.times import TimeSource
from cmnas_edge.embedding import Modality
from cmnas_edge.monitoring.spread import NONE, Spread

__all__ = ["CameraState", "CameraVitals", "Vitals"]

CameraState = Literal["starting", "live", "lost", "failed", "ended"]


@dataclass(frozen=True, kw_only=True)
class CameraVitals:
    """One camera.

    Attributes:
        name: As in the settings.
        state: ``live`` gives frames; ``lost`` is waited for; ``failed`` is given up; ``ended`` was a recording.
        frame_count: Frames taken.
        down_count: How often it was declared down: each attempt that brought no frame says so anew.
        frame_age_s: Since the newest frame was taken; None before the first.
        dropped_counts: Live frames not looked at, by reason.
        reconnect_count: Times a lost one gave frames again.
        time_source: Whose word the newest frame's time is; None before the first.
        modality: What it sees; None while uncertain.
        switch_count: Changes from one modality to the other.
        people_count: In view.
        shed_count: Sightings not made for want of time.
        patience_s: Longest that a healthy one is silent, by its settings.
        group: Cameras of one group are read in turns, so that one may wait long while another moves; recordings as
            fast as they can be read are. Empty: it is read on its own.
    """

    name: str
    state: CameraState
    frame_count: int
    down_count: int = 0
    frame_age_s: float | None = None
    dropped_counts: Mapping[str, int] = field(default_factory=dict)
    reconnect_count: int = 0
    time_source: TimeSource | None = None
    modality: Modality | None = None
    switch_count: int = 0
    people_count: int = 0
    shed_count: int = 0
    patience_s: float = 10.0
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """A daemon.

    Attributes:
        cameras: Each.
        counts: Of the whole device, by name (`cmnas_edge.camera.tally.Count`).
        stage_s: Seconds spent in each stage.
        embed_s: Time of one call of an engine.
        batch: Crops in one call.
        hanging: Sources whose reading was given up and does not return, long after its timeouts.
        busy_s: For how long an engine has been at its present call; 0 between calls.
        spool_count: Records on disk.
        spool_bytes: Bytes the spool's files take.
        spool_oldest_s: Age of the oldest record; None when none waits, or it is not known.
        down_s: How long the collector has not answered; None while it does.
        engines: What runs each modality, as ``onnxruntime fp32``.
        bundle: Fingerprint, hexadecimal.
        also_engines: What runs a second bundle during an overlap; else none.
        also_bundle: Its fingerprint; else empty.
        clock_offset_s: The collector's clock less this one's; None while not known.
    """

    cameras: tuple[CameraVitals, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    stage_s: Mapping[str, float] = field(default_factory=dict)
    embed_s: Spread = NONE
    batch: Spread = NONE
    hanging: tuple[str, ...] = ()
    busy_s: float = 0.0
    spool_count: int = 0
    spool_bytes: int = 0
    spool_oldest_s: float | None = None
    down_s: float | None = None
    engines: Mapping[str, str] = field(default_factory=dict)
    bundle: str = ""
    also_engines: Mapping[str, str] = field(default_factory=dict)
    also_bundle: str = ""
    clock_offset_s: float | None = None
