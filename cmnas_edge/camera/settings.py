"""What an operator writes about a device and its cameras: one TOML file, every key documented.

A relative path means *relative to the settings file*. The smallest useful file::

    device = "gate"
    collector = "https://collector.example:8700"
    token = "gate.token"

    [[cameras]]
    name = "north"
    source = {location = "rtsp://10.0.0.7/live"}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from cmnas_edge import config
from cmnas_edge.bundle import Trust
from cmnas_edge.embedding import Packing
from cmnas_edge.errors import ConfigError
from cmnas_edge.mqtt import SITE
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["CameraSettings", "DetectorSettings", "DeviceSettings", "EngineSettings", "LinkSettings",
           "SelectSettings", "SourceSettings", "SpectrumSettings", "SpoolSettings", "TrackSettings", "load"]

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}\Z")]  # `$` would let a line feed pass
# Every number has an end: beyond these nothing is meant, and clocks, sockets and memory overflow.
Positive = Annotated[float, Meta(ge=1e-3, le=1e6)]
NotNegative = Annotated[float, Meta(ge=0, le=1e6)]
Rate = Annotated[float, Meta(ge=1e-3, le=1e3)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=65535)]
Threads = Annotated[int, Meta(ge=1, le=256)]
# A year before the last second a sighting may carry, so that the footage ends before it.
Start = Annotated[float, Meta(ge=0, le=2.0**33 - 366 * 86400)]
Point = tuple[float, float]
Side = Annotated[int, Meta(ge=16, le=16384)]


class SourceSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where frames come from.

    Attributes:
        location: A video file, a folder of images, a URL (``rtsp://``, ``http://``), a camera on this
            machine (``/dev/video0``; ``csi://0`` on a Jetson's ribbon), or the ``site.toml`` of a drawn site.
        kind: What ``location`` is; ``auto`` judges by its form.
        camera: Of a drawn site: which of its cameras.
        pace: Of a recorded source: ``real`` plays it as it was taken, ``fast`` as fast as it can be read.
        starts_at: Of a recorded source: epoch seconds of its first frame. None: when the file
            was last written, less its length.
        fps: Frames per second of a recorded source; None: what the file says.
        max_fps: Take no more than this many frames per second of footage; None: all.
        silence_s: A live source is lost after this long without a frame, and tried again after 1 s at
            first and 60 s at last.
        size: Of a camera on this machine: width and height to ask for; None: what it gives unasked.
        pipeline: Read a live source by GStreamer. ``software`` runs anywhere, ``jetson`` (H.264) and
            ``jetson-h265`` decode in hardware; or a description of your own, as for ``gst-launch-1.0``, from
            source to decoded video, whose element ``name=source`` is given the location (no password needs
            to stand in it). None: OpenCV reads, and GStreamer only what nobody else can (``csi://``).
        sender_within_s: The time that a live source itself tells of a frame is believed if it lies this
            near to ours; else, and with 0, a frame's time is that of its arrival.
        loop: Start a recorded source again when it ends, for a rehearsal without an end.
    """

    location: str
    kind: Literal["auto", "video", "folder", "url", "site"] = "auto"
    camera: str | None = None
    pace: Literal["real", "fast"] = "real"
    starts_at: Start | None = None
    fps: Rate | None = None
    max_fps: Rate | None = None
    silence_s: Positive = 10.0
    size: tuple[Side, Side] | None = None
    pipeline: str | None = None
    sender_within_s: NotNegative = 5.0
    loop: bool = False


class SpectrumSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a camera knows whether it sees visible light or infrared.

    Attributes:
        modality: ``auto`` judges the image; the others say so for good.
        visible_above: Chroma (0 to 255) of a thumbnail above which a frame votes for visible.
        infrared_below: Chroma below which it votes for infrared; between the two it does not vote.
        dwell_s: How long votes must agree before the camera switches.
        settle_s: After a switch nothing is selected for this long, while exposure settles.
        dark_below: Mean brightness (0 to 255) below which a frame does not vote.
    """

    modality: Literal["auto", "visible", "infrared"] = "auto"
    visible_above: Positive = 6.0
    infrared_below: Positive = 3.0
    dwell_s: NotNegative = 2.0
    settle_s: NotNegative = 1.0
    dark_below: NotNegative = 8.0


class DetectorSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How people are found in a frame.

    Attributes:
        kind: ``motion`` needs no weights and a camera that stands still; ``onnx`` runs a
            YOLOX-layout network of yours; ``boxes`` reads what another detector wrote.
        path: The network, or the boxes (JSON lines); not used by ``motion``.
        camera: Of ``boxes``: take only the lines that name this camera; None: all.
        score: Detections below this score are dropped (``onnx``, ``boxes``).
        overlap: Non-maximum suppression: of two boxes that overlap more (IoU), one stays.
        threads: Threads of the network.
        engine: What runs the network: ``auto`` takes TensorRT where this device has a plan of it
            (``cmnas-edge engine build --detector``), else ONNX Runtime.
        max_side: ``motion`` looks at the frame scaled down to this many pixels.
        min_area: ``motion`` ignores blobs below this share of the frame.
    """

    kind: Literal["motion", "onnx", "boxes"] = "motion"
    path: Path | None = None
    camera: str | None = None
    score: Share = 0.1
    overlap: Share = 0.45
    threads: Threads = 1
    engine: Literal["auto", "onnxruntime", "tensorrt"] = "auto"
    max_side: Count = 480
    min_area: Share = 0.002


class TrackSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How boxes become tracklets (two-stage IoU association, constant velocity).

    Attributes:
        high_score: Detections at or above it are paired first.
        low_score: Those between it and ``high_score`` may only continue a tracklet.
        new_score: Least score that opens one.
        match_iou: Least overlap of a prediction with a high-score box.
        weak_match_iou: The same, with a low-score box.
        confirm_count: Detections running before a tracklet counts.
        lost_s: A tracklet ends after this long without a detection.
    """

    high_score: Share = 0.5
    low_score: Share = 0.1
    new_score: Share = 0.6
    match_iou: Share = 0.2
    weak_match_iou: Share = 0.4
    confirm_count: Count = 3
    lost_s: Positive = 1.0


class SelectSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which views of a person are worth an embedding, and how often one is sent.

    Attributes:
        min_height: Least height of a box in pixels.
        min_aspect: Least height / width of a box.
        max_aspect: Greatest height / width.
        border: Boxes nearer to the frame's edge than this share of its side are cut off people.
        max_overlap: A box covered by another by more than this share shows two people.
        min_sharpness: Variance of the Laplacian below which a crop is too blurred.
        view_count: Best views averaged into one vector.
        view_gap_s: Least time between two views kept.
        period_s: At most one sighting per tracklet in this time, and one at its end.
    """

    min_height: Count = 48
    min_aspect: Positive = 1.5
    max_aspect: Positive = 5.0
    border: Share = 0.005
    max_overlap: Share = 0.5
    min_sharpness: NotNegative = 10.0
    view_count: Count = 4
    view_gap_s: NotNegative = 0.2
    period_s: Positive = 10.0


class CameraSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One camera of this device.

    Attributes:
        name: Unique on this device.
        source: Where its frames come from.
        detector: How people are found.
        spectrum: Visible or infrared.
        track: How boxes become tracklets.
        select: Which views are sent.
        ignore: Polygons in shares of the frame (0 to 1); a box whose foot lies in one is ignored.
    """

    name: Name
    source: SourceSettings
    detector: DetectorSettings = DetectorSettings()
    spectrum: SpectrumSettings = SpectrumSettings()
    track: TrackSettings = TrackSettings()
    select: SelectSettings = SelectSettings()
    ignore: tuple[tuple[Point, ...], ...] = ()


class EngineSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What runs the network.

    Attributes:
        name: ``auto`` takes the winner of ``cmnas-edge engine race`` on this device, and without one
            ``onnxruntime``, which runs anywhere; ``openvino`` and ``tensorrt`` need more installed.
        precision: Arithmetic, one of the bundle's; None: float32, or with ``auto`` that of the winner.
        threads: Threads of one engine; there is one per modality.
        max_batch: Most crops in one call.
        packing: ``fp16``, or ``int8`` for half the bytes and a little less accuracy.
    """

    name: Literal["auto", EngineName] = "auto"
    precision: Precision | None = None
    threads: Threads = 1
    max_batch: Annotated[int, Meta(ge=1, le=1024)] = 32
    packing: Packing = "fp16"


class SpoolSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What waits for the collector, on disk.

    Attributes:
        path: The spool's file; one daemon per file.
        mib: Most it may take; beyond it the oldest records go, counted, and the collector is told.
        memory_count: Records held in memory while the disk is full; beyond it the oldest go, counted.
    """

    path: Path = Path("spool.db")
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
        certificate: Of a broker: PEM file that says who this device is; its common name is the device's name.
        certificate_key: Of a broker: the key of that certificate, PEM, mode 0600.
        seal_to: The collector's public key, 64 hexadecimal digits, as ``cmnas-edge collector seal-key`` and
            ``enrol`` print it: vectors are sealed to it before they reach this device's disk. Empty: they
            lie on the disk, and pass whatever carries them, open.
        allow_plain_http_off_loopback: Send tokens and embeddings readable by the whole network.
    """

    batch: Annotated[int, Meta(ge=1, le=64)] = 64
    wait_s: NotNegative = 1.0
    timeout_s: Positive = 10.0
    backoff_s: Positive = 1.0
    max_backoff_s: Positive = 60.0
    certificate_authority: Path | None = None
    site: Annotated[str, Meta(pattern=SITE)] = "site"
    certificate: Path | None = None
    certificate_key: Path | None = None
    seal_to: Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")] = ""
    allow_plain_http_off_loopback: bool = False


class DeviceSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A device: one daemon, its token, its cameras.

    Attributes:
        device: The name it was enrolled under (``cmnas-edge collector enrol NAME``).
        collector: URL of the collector, or of the broker that it reads (``mqtts://broker.example:8883``).
        token: File with the token that enrolling printed, mode 0600; a broker needs none.
        cameras: At least one.
        bundle: Folder of the model bundle; None: the one shipped, trained on drawn people.
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
    """

    device: Name
    collector: str
    cameras: Annotated[tuple[CameraSettings, ...], Meta(min_length=1)]
    token: Path | None = None
    bundle: Path | None = None
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
