"""One camera's frames become picks: which spectrum, who is there, who continues whom, what is worth telling."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, TextIO

from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.override import Ordered, Orders
from cmnas_edge.camera.people.detection import Detector
from cmnas_edge.camera.people.select import Cut, Pick, Selector
from cmnas_edge.camera.people.track import Tracker, Tracks
from cmnas_edge.camera.settings import CameraSettings
from cmnas_edge.camera.spectrum import Spectrum
from cmnas_edge.camera.tally import Tally
from cmnas_edge.embedding import Modality
from cmnas_edge.errors import ConfigError
from cmnas_edge.preprocess import DEFINITION

__all__ = ["Notes", "Pipeline", "Trace"]

_log = logging.getLogger("cmnas.camera")


class Notes(Protocol):
    """Who is told of every frame and where everybody is in it."""

    def write(self, camera: str, frame: Frame, tracks: Tracks, modality: Modality | None) -> None:
        """Note a frame down; called after it was looked at, before what is worth telling is returned."""


class Trace:
    """A local file of boxes per frame, for looking at; it is never sent. Any thread may write."""

    def __init__(self, path: Path) -> None:
        """Make the file anew, readable by its owner only.

        Raises:
            ConfigError: It cannot be written.
        """
        try:
            handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            if stat.S_ISREG(os.fstat(handle).st_mode):  # one that was there may have another mode
                os.fchmod(handle, 0o600)
        except OSError as error:
            raise ConfigError(f"{path}: the trace cannot be written ({error.strerror}); name another 'trace'") from None
        self._path = path
        self._file: TextIO | None = os.fdopen(handle, "w", encoding="utf-8", buffering=1)
        self._mutex = threading.Lock()

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        with self._mutex:
            self._close()

    def write(self, camera: str, frame: Frame, tracks: Tracks, modality: Modality | None) -> None:
        """Add a line per person in a frame; what cannot be written ends the trace, and nothing else."""
        rows = [json.dumps({"camera": camera, "frame": frame.index, "seen_at": round(frame.seen_at, 4),
                            "tracklet": number, "box": [round(value, 1) for value in box], "modality": modality})
                for number, box in zip(tracks.tracklets.tolist(), tracks.boxes.tolist(), strict=True)]
        if rows:
            with self._mutex:
                self._add("\n".join(rows) + "\n")

    def _add(self, text: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(text)
        except OSError as error:
            _log.warning("%s: the trace cannot be written any more (%s) and ends here; everything else goes on",
                         self._path, error.strerror)
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):     # what it could not write before it cannot write now
                self._file.close()
            self._file = None


class Pipeline:
    """Watches one camera. A change of spectrum ends its tracklets, so that no vector mixes two modalities."""

    def __init__(self, settings: CameraSettings, detector: Detector, tally: Tally, *, height: int, width: int,
                 first_tracklet: int, definition: str = DEFINITION, also: Cut | None = None, trace: Notes | None = None,
                 orders: Orders | None = None) -> None:
        """Start with an empty scene.

        Args:
            settings: Of the camera.
            detector: Its own; it may remember the scene.
            tally: Where counts and time go.
            height: Rows of a crop: the bundle's.
            width: Columns of a crop.
            definition: How crops are made: the bundle's.
            also: How others are made, for a second bundle, or None.
            first_tracklet: Number of the first; one run's numbers must not meet another's.
            trace: Where boxes are noted down, or None.
            orders: What others say by message of its modality, or None.
        """
        self.name = settings.name
        self.modality: Modality | None = None
        self.people_count = 0
        self.switch_count = 0       # from one modality to the other
        self._detector = detector
        self._tally = tally
        self._trace = trace
        self._spectrum = Spectrum(settings.spectrum, Ordered(settings.name, settings.spectrum, orders))
        self._tracker = Tracker(settings.track, first=first_tracklet)
        self._selector = Selector(settings.select, height, width, settings.ignore, definition=definition,
                                  also=also)

    def process(self, frame: Frame) -> list[Pick]:
        """Take the next frame; returns what is now worth telling."""
        tally, picks = self._tally, []
        tally.add("frames")
        with tally.timed("spectrum"):
            state = self._spectrum.update(frame.image, frame.seen_at)
        if state.switched and self.modality is not None:
            self.switch_count += state.modality != self.modality
            picks += self.end()
            self._detector.reset()
        if state.modality is not None:
            self.modality = state.modality
        with tally.timed("detect"):
            detections = self._detector.detect(frame.image, frame.index)
        tally.add("detections", len(detections.boxes))
        with tally.timed("track"):
            tracks = self._tracker.update(detections, frame.seen_at)
        self.people_count = len(tracks.tracklets)
        tally.add("tracklets", len(tracks.ended))
        with tally.timed("preprocess"):
            picks += self._selector.end(tracks.ended)
            self._selector.offer(frame.image, tracks, state.modality, frame.seen_at)
            picks += self._selector.due(frame.seen_at)
        if self._trace is not None:
            self._trace.write(self.name, frame, tracks, state.modality)
        return picks

    @property
    def in_view(self) -> Collection[int]:
        """Tracklets that may be told of again."""
        return self._selector.in_view

    def again(self, tracklet: int, seen_from: float) -> None:
        """Take back that somebody was told of: due at the next frame if still in view, for all the time since."""
        self._selector.again(tracklet, seen_from)

    def adjust(self, settings: CameraSettings) -> None:
        """Go by other thresholds from the next frame on; any thread may say so."""
        self._spectrum.adjust(settings.spectrum)
        self._selector.adjust(settings.select)

    def cut_once(self) -> None:
        """Make no crops for a second bundle from now on; any thread may say so."""
        self._selector.also = None

    def end(self) -> list[Pick]:
        """End all tracklets, as when the source ends; returns what is left to tell of them."""
        ended = self._tracker.end_all()
        self._tally.add("tracklets", len(ended))
        self.people_count = 0
        return self._selector.end(ended)
