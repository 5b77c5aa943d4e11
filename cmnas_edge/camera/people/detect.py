"""How people are found in a frame: opens the detector that the settings name.

``motion`` needs no weights and a camera that stands still; ``onnx`` runs a network of YOLOX's
layout that the user brings; ``boxes`` reads what another program found.
"""

from __future__ import annotations

from cmnas_edge.camera.people.boxes import BoxesDetector
from cmnas_edge.camera.people.detection import Detections, Detector
from cmnas_edge.camera.people.motion import MotionDetector
from cmnas_edge.camera.settings import DetectorSettings
from cmnas_edge.errors import ConfigError

__all__ = ["Detections", "Detector", "open_detector"]


def open_detector(settings: DetectorSettings) -> Detector:
    """Open a detector for one camera.

    Raises:
        ConfigError: Its file is missing, or not what it should be.
        DeviceError: It shall run on a GPU, and cannot.
    """
    if settings.kind == "motion":
        return MotionDetector(settings)
    if settings.path is None:
        what = "a network in ONNX" if settings.kind == "onnx" else "a file of boxes, one JSON object a line"
        raise ConfigError(f"detector: expected 'path' to name {what}, found none; set it")
    try:
        if not settings.path.is_file():
            raise ConfigError(f"{settings.path}: expected the detector's file, found none; name one that exists")
        settings.path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"{settings.path}: cannot be read ({error.strerror}); check the path and its mode") from None
    if settings.kind == "boxes":
        return BoxesDetector(settings.path, least_score=settings.score, camera=settings.camera)
    from cmnas_edge.camera.people.yolox import YoloxDetector  # noqa: PLC0415 (ONNX Runtime, only for who needs it)

    return YoloxDetector(settings.path, least_score=settings.score, most_iou=settings.overlap,
                         threads=settings.threads, engine=settings.engine)
