"""What an operator writes about a device: its engine, what waits on its disk, how it is sent, and its cameras."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from cmnas_edge.bundle import Trust
from cmnas_edge.camera.settings.cameras import CameraSettings
from cmnas_edge.camera.settings.numbers import Count, Name, NotNegative, Positive, Threads
from cmnas_edge.embedding import Packing
from cmnas_edge.mqtt import SITE
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["DeviceSettings", "EngineSettings", "LinkSettings", "SpoolSettings"]


class EngineSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What runs the network.

    Attributes:
        name: ``auto`` takes the winner of ``cmnas-edge engine race`` on this device, and without one
            ``onnxruntime``, which runs anywhere; ``openvino`` and ``tensorrt`` need more installed.
        precision: Arithmetic, one of the bundle's; None: float32, or with ``auto`` that of the winner.
        threads: Threads of one engine; there is one per modality.
        max_batch: Most crops in one call.
        batch_wait_s: A crop waits at most this long for those of other people and cameras to share its call.
        budget_s: From a live camera's frame to its sighting on disk. What cannot make it when there are more people
            than the engine can take is shed, counted: people already told of first, the most lately told first.
        packing: ``fp16``, or ``int8`` for half the bytes and a little less accuracy.
    """

    name: Literal["auto", EngineName] = "auto"
    precision: Precision | None = None
    threads: Threads = 1
    max_batch: Annotated[int, Meta(ge=1, le=1024)] = 32
    batch_wait_s: NotNegative = 0.1
    budget_s: Positive = 2.0
    packing: Packing = "fp16"


class SpoolSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What waits for the collector, on disk.

    Attributes:
        path: The spool's file; one daemon per file. What is found damaged there is moved aside, beside it.
        mode: ``disk``: a record is on disk before anything else becomes of it. ``memory-first``, for flash that
            wears out: it is written only if the collector did not answer for it within ``window_s``, and at the end.
        window_s: With ``memory-first``, what a power cut may take: records made in these last seconds (and the one
            between two looks at the clock) that were not answered for. The collector is told of the loss.
        mib: Most it may take; beyond it the oldest records go, counted, and the collector is told.
        memory_count: Records held in memory while the disk is full; beyond it the oldest go, counted. With
            ``memory-first`` also the most that is in memory before it is written.
    """

    path: Path = Path("spool.db")
    mode: Literal["disk", "memory-first"] = "disk"
    window_s: Positive = 30.0
    mib: Annotated[int, Meta(ge=4, le=1 << 20)] = 64
    memory_count: Count = 1024


class LinkSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How records reach the collector.

    Attributes:
        batch: Most records in one request.
        wait_s: A record waits at most this long for others to share its request.
        timeout_s: For connecting, and for each answer.
        backoff_s: First pause after a failure; it doubles, and is drawn at random up to that.
        max_backoff_s: Longest pause.
        certificate_authority: PEM file to trust instead of the system's, for a collector or broker with its own.
        site: Of a broker: the part of its topics that names this site; the collector's is the same.
        certificate: PEM file that says who this device is; its common name is the device's name. A broker needs it;
            a collector that has ``device_authority`` asks for it.
        certificate_key: The key of that certificate, PEM, mode 0600.
        seal_to: The collector's public key, 64 hexadecimal digits, as ``cmnas-edge collector seal-key`` and
            ``enrol`` print it: vectors are sealed to it before they reach this device's disk. Empty: they
            lie on the disk, and pass whatever carries them, open.
        allow_plain_http_off_loopback: Send tokens and embeddings readable by the whole network.
        sent_log: For an audit (docs/audit.md): file, mode 0600, to which everything that is sent is written as it is
            before TLS; it holds vectors and the token, so remove it afterwards. None: nothing is kept.
        sent_log_mib: Most it may take; beyond it no more is written there, which the log says.
        sent_log_tls_keys: For an audit: file, mode 0600, to which the keys of every TLS session are written. Whoever
            has it and a recording of the network reads all that was sent. None: they are kept nowhere.
    """

    batch: Annotated[int, Meta(ge=1, le=64)] = 64
    wait_s: NotNegative = 1.0
    timeout_s: Positive = 10.0
    backoff_s: Positive = 1.0
    max_backoff_s: Positive = 60.0
    certificate_authority: Path | None = None
    site: Annotated[str, SITE] = "site"
    certificate: Path | None = None
    certificate_key: Path | None = None
    seal_to: Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{64})?\Z", description="the 64 hexadecimal digits that "
                                 "`cmnas-edge collector seal-key` prints, or nothing")] = ""
    allow_plain_http_off_loopback: bool = False
    sent_log: Path | None = None
    sent_log_mib: Annotated[int, Meta(ge=1, le=1 << 20)] = 64
    sent_log_tls_keys: Path | None = None


class DeviceSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A device: one daemon, its token, its cameras.

    Attributes:
        device: The name it was enrolled under (``cmnas-edge collector enrol NAME``).
        collector: URL of the collector, or of the broker that it reads (``mqtts://broker.example:8883``).
        token: File with the token that enrolling printed, mode 0600; a broker needs none.
        cameras: At least one.
        bundle: Folder of the model bundle; None: the one shipped, trained on drawn people.
        also: Folder of a second bundle, by which everybody is told of, too, while a site changes from one to another
            (docs/rollout.md); it costs as much as the first. None: there is none.
        also_until: When that ends, with the offset from UTC, as ``2026-12-01T06:00:00Z``.
        trust: Whose bundles are used: ``keys``, and ``allow_unsigned_bundle``.
        site_key: File with the key that turns this site's vectors, mode 0600 (``cmnas-edge key make FILE``);
            None: they go out as the network gives them.
        engine: What runs it.
        spool: What waits on disk.
        link: How it is sent.
        drain_s: Longest it goes on sending after the last frame, or after being told to stop.
        status_s: Seconds between status lines in the log.
        log: ``line`` for people, ``json`` for machines.
        trace: JSON-lines file of boxes per frame, for looking at; never sent.
        report: JSON file written at the end: counts and milliseconds per stage.
        health: Address and port on this machine, as ``127.0.0.1:9464``, where ``/metrics`` (extra ``metrics``),
            ``/healthz`` and ``/readyz`` answer; None: nowhere.
        allow_health_off_loopback: Let other machines ask there, too; nobody is asked who they are.
    """

    device: Name
    collector: str
    cameras: Annotated[tuple[CameraSettings, ...], Meta(min_length=1)]
    token: Path | None = None
    bundle: Path | None = None
    also: Path | None = None
    also_until: Annotated[datetime, Meta(tz=True)] | None = None
    trust: Trust = Trust()
    site_key: Path | None = None
    engine: EngineSettings = EngineSettings()
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    link: LinkSettings = LinkSettings()
    drain_s: NotNegative = 20.0
    status_s: Positive = 30.0
    log: Literal["line", "json"] = "line"
    trace: Path | None = None
    report: Path | None = None
    health: str | None = None
    allow_health_off_loopback: bool = False
