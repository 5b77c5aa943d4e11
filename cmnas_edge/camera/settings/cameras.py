"""What an operator writes about one camera: its source, and everything between a frame and a crop."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct

from cmnas_edge.camera.settings.numbers import (
    Count,
    Name,
    NotNegative,
    Point,
    Positive,
    Rate,
    Share,
    Side,
    Start,
    Threads,
    Views,
)

__all__ = ["CameraSettings", "DetectorSettings", "SelectSettings", "SourceSettings", "SpectrumSettings",
           "TrackSettings"]


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

    @property
    def is_live(self) -> bool:
        """Whether ``location`` is, by its form, a stream or device and no file that was recorded."""
        return self.kind == "url" or "://" in self.location or self.location.startswith("/dev/")


class SpectrumSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a camera knows whether it sees visible light or near infrared.

    Believed first is ``modality``, then ``modality_file``, then a message by way of the broker
    (``cmnas/v1/SITE/DEVICE/modality/CAMERA``, devices that send by MQTT), and last the picture; each leaves it
    to the next with ``auto``. See docs/dusk.md.

    Attributes:
        modality: ``auto`` judges the image, or obeys file and messages; the others say so for good.
        modality_file: A file with one word, ``auto``, ``visible`` or ``infrared``, that a script of yours may
            write at any time (write another and move it there). Missing: ``auto``. Something else is said
            once in the log, and the last word stays.
        visible_above: Chroma (0 to 255) of a thumbnail above which a frame always votes for visible. Below, what
            this camera showed before decides, so that snow and concrete are told from infrared.
        infrared_below: Chroma above which a frame never votes for infrared. More colour noise at
            night than that takes more here and there.
        dwell_s: How long votes must agree before the camera switches to the other modality.
        settle_s: How long votes must agree that nothing has changed before a doubt is over.
        apart_s: Least time between two switches. A camera that cannot decide is uncertain meanwhile.
        dark_below: Mean brightness (0 to 255) below which a frame does not vote.
    """

    modality: Literal["auto", "visible", "infrared"] = "auto"
    modality_file: Path | None = None
    visible_above: Positive = 6.0
    infrared_below: Positive = 3.0
    dwell_s: NotNegative = 8.0
    settle_s: NotNegative = 2.0
    apart_s: NotNegative = 20.0
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
        view_count: Best views averaged into one vector, at most 16: each is held in memory until then, of everybody
            in view.
        view_gap_s: Least time between two views kept.
        period_s: At most one sighting per tracklet in this time, and one at its end.
    """

    min_height: Count = 48
    min_aspect: Positive = 1.5
    max_aspect: Positive = 5.0
    border: Share = 0.005
    max_overlap: Share = 0.5
    min_sharpness: NotNegative = 10.0
    view_count: Views = 4
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
