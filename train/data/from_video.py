"""``python -m train data from-video FILES --out DIR``: recordings become crops per tracklet and modality.

The way from a site's own footage to a better model. Detector, tracker, spectrum and choice of views
are the camera's own, with its settings, so that crops to learn from are crops as they will come. It
runs on the workstation, never in the daemon: what it writes are pictures of people, personal data,
which the daemon never keeps. They are readable by their owner only, and nothing sends them anywhere.

Nobody knows who is who: each tracklet is an identity of its own (`train.data.tracklets.read`).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import threading
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np

from cmnas_edge.camera.frames.capture import open_file
from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.frames.source import open_source
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.people.track import Tracks
from cmnas_edge.camera.pipeline import Pipeline
from cmnas_edge.camera.settings import (
    CameraSettings,
    DetectorSettings,
    SelectSettings,
    SourceSettings,
    SpectrumSettings,
)
from cmnas_edge.camera.tally import Tally
from cmnas_edge.camera.watch import Camera, watch
from cmnas_edge.embedding import Modality
from cmnas_edge.errors import ConfigError
from cmnas_edge.progress import Progress
from train.data.footage import Box, Footage, Made, Tracklet
from train.data.layout import readable
from train.data.sheet import sheet
from train.data.tracklets import Tracklets, read

__all__ = ["add_arguments", "read", "run"]

PERSONAL: Final = ("These are pictures of people: personal data. They are written for you alone (mode 0700), stay on "
                   "this workstation, and are yours to delete.")
_SHEET: Final = "contact.png"
_ON_SHEET: Final = 80  # tracklets
_WHOLE_TRACKLET_S: Final = 1e6  # a tracklet is told once, at its end: its best views are those of all of it
_EDGE: Final = 1 << 20  # bytes of a recording's start and end that it is known by


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = f"Cut people out of recordings, one folder per tracklet and modality. {PERSONAL}"
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="recordings of cameras, one camera each")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder of the pictures; the same command goes on with one that was interrupted")
    parser.add_argument("--detector", default="motion", metavar="motion|X.onnx",
                        help="motion (cameras that stand still), or a network of YOLOX's layout (motion)")
    parser.add_argument("--modality", choices=("auto", "visible", "infrared"), default="auto",
                        help="what the cameras see; auto judges the picture (auto)")
    parser.add_argument("--per-tracklet", type=int, default=8, metavar="N", help="most pictures of one tracklet (8)")
    parser.add_argument("--height", type=int, default=256, help="rows of a picture (256)")
    parser.add_argument("--width", type=int, default=128, help="columns of a picture (128)")


def run(args: argparse.Namespace) -> int:
    """Cut people out of every recording that is not done yet.

    Raises:
        ConfigError: A file is no recording, the folder is something else's, or nobody was found.
        DiskFull: There is no room; recordings that were done are kept.
    """
    for name, least, most in (("per_tracklet", 1, 1000), ("height", 16, 2048), ("width", 16, 2048)):
        if not least <= getattr(args, name) <= most:
            raise ConfigError(f"--{name.replace('_', '-')}: expected {least} to {most}, found {getattr(args, name)}; "
                              "correct it")
    detector = _detector(args.detector)
    videos = _videos(args.files)
    made = Made(_described(detector), args.modality, args.per_tracklet, args.height, args.width)
    with Tracklets(args.out, made) as out:
        return _cut_all(videos, out, detector)


def _cut_all(videos: Sequence[_Video], out: Tracklets, detector: DetectorSettings) -> int:
    waiting = [video for video in videos if not _is_done(video, out)]
    sys.stderr.write(f"{PERSONAL}\n")
    lost, short = 0, []
    try:
        with Progress("frames") as progress:
            steps = _Steps(progress, sum(video.frames for video in waiting))
            for video in waiting:
                done, followed = _cut(video, out, detector, steps)
                lost += followed - done.tracklets
                if done.frames < 0.98 * video.frames:  # containers are often off by a frame or two
                    short.append(f"{done.file} ({done.frames} of {video.frames} frames)")
                progress.say(f"{done.file}: {done.frames} frames, {done.tracklets} tracklets, {done.pictures} pictures")
        if short:
            sys.stderr.write(f"ended before the frames they say they have, so perhaps damaged: {', '.join(short)}; "
                             "what was read of them is kept\n")
        return _conclude(out, lost)
    except KeyboardInterrupt:
        done_count = sum(video.camera in out.footage for video in videos)
        sys.stderr.write(f"stopped; {done_count} of {len(videos)} recordings are done, and kept: the same command goes "
                         "on with the next\n")
        return 130


class _Video(NamedTuple):
    path: Path
    camera: str
    frames: int
    fingerprint: str


class _Steps:
    """Frames done in all recordings, of those that they say they have."""

    def __init__(self, progress: Progress, every: int) -> None:
        self._progress, self._every, self._done = progress, every, 0

    def take(self, note: str) -> None:
        self._done += 1
        # A recording may hold more frames than it says.
        self._progress(self._done, self._every if self._done <= self._every else self._done + 1, note)


class _Notes:
    """Where everybody was in which frame, kept as long as a tracklet may be asked about; a pipeline's trace."""

    def __init__(self, steps: _Steps) -> None:
        self.frame_count = 0
        self._steps = steps
        self._seen: dict[int, dict[float, tuple[int, Box]]] = {}
        self._over: tuple[int, ...] = ()

    def write(self, camera: str, frame: Frame, tracks: Tracks, modality: Modality | None) -> None:  # noqa: ARG002
        """Note one frame down."""
        self.frame_count += 1
        self._steps.take(camera)
        for tracklet in self._over:  # told with the frame before
            self._seen.pop(tracklet, None)
        self._over = tracks.ended
        for tracklet, (x1, y1, x2, y2) in zip(tracks.tracklets.tolist(), tracks.boxes.tolist(), strict=True):
            box = (round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1))
            self._seen.setdefault(tracklet, {})[frame.seen_at] = (frame.index, box)

    def of(self, pick: Pick, camera: str) -> Tracklet:
        """What a pick was made of."""
        frames, boxes = zip(*(self._seen[pick.tracklet][seen_at] for seen_at in pick.times), strict=True)
        return Tracklet(camera, pick.tracklet, pick.modality, pick.seen_from, pick.seen_at, round(pick.quality, 4),
                        frames, pick.times, boxes)


def _cut(video: _Video, out: Tracklets, detector: DetectorSettings, steps: _Steps) -> tuple[Footage, int]:
    """Cut people out of one recording; returns what was kept, and how many tracklets there were."""
    how = out.made
    source = SourceSettings(location=str(video.path), kind="video", pace="fast")
    settings = CameraSettings(
        name=video.camera, source=source, detector=detector,
        spectrum=SpectrumSettings(modality=how.modality),
        select=SelectSettings(view_count=how.per_tracklet, period_s=_WHOLE_TRACKLET_S))
    tally, notes = Tally(), _Notes(steps)
    pipeline = Pipeline(settings, open_detector(detector), tally, height=how.height, width=how.width,
                        first_tracklet=1, trace=notes)
    with out.recording(video.camera) as recording:

        def take(camera: Camera, picks: Sequence[Pick], _: float) -> tuple[()]:
            for pick in picks:
                recording.add(notes.of(pick, camera.settings.name), pick.crops)
            return ()

        watch(Camera(settings, pipeline, partial(open_source, source)), take, threading.Event(), tally)
        return recording.keep(video.path.name, video.fingerprint, notes.frame_count), tally["tracklets"]


def _conclude(out: Tracklets, lost: int) -> int:
    """Draw the contact sheet and say what there is."""
    tracklets = out.tracklets()
    if not tracklets:
        count = len(out.footage)
        out.forget()
        found = f"nobody in {count} recordings" if not lost else (
            f"{lost} tracklets without a view worth keeping (boxes at least 48 pixels high, whole, upright and sharp)")
        raise ConfigError(f"{out.folder}: expected people in the recordings, found {found}; try --detector X.onnx, or "
                          "recordings that show them larger")
    # What was deleted since is neither shown nor counted.
    ordered = sorted(tracklets, key=lambda one: (one.camera, one.modality, one.tracklet))
    shown = [(tracklet, there) for tracklet in ordered
             if (there := [path for path in tracklet.paths if (out.folder / path).exists()])]
    strips = []
    for row in np.unique(np.linspace(0, len(shown) - 1, min(len(shown), _ON_SHEET)).round().astype(int)).tolist():
        one, there = shown[row]
        pictures = [cv2.imread(str(out.folder / path)) for path in there]
        strips.append((f"{one.camera} {one.modality} {one.tracklet}",
                       [np.asarray(picture, np.uint8) for picture in pictures if picture is not None]))
    if strips:
        _, data = cv2.imencode(".png", sheet(strips))
        out.write(_SHEET, data.tobytes())
    infrared = sum(tracklet.modality == "infrared" for tracklet, _ in shown)
    look = f"look at {out.folder / _SHEET} and delete the folders of tracklets that show nobody, or two people"
    sys.stdout.write(
        f"{out.folder}: {len(out.footage)} recordings, {len(shown) - infrared} visible and {infrared} infrared "
        f"tracklets, {sum(len(there) for _, there in shown)} pictures; "
        f"{look if shown else 'what was cut out of them was deleted'}\n")
    return 0


def _detector(text: str) -> DetectorSettings:
    """The detector asked for; a network is opened once, so that a wrong one is told at once."""
    if text == "motion":
        return DetectorSettings()
    if not text.endswith(".onnx"):
        raise ConfigError(f"--detector: expected motion or a network's file (X.onnx), found {text!r}; correct it")
    settings = DetectorSettings(kind="onnx", path=Path(text), threads=min(4, os.cpu_count() or 1))
    open_detector(settings)
    return settings


def _described(detector: DetectorSettings) -> str:
    if detector.path is None:
        return detector.kind
    return f"{detector.path.name} {hashlib.sha256(detector.path.read_bytes()).hexdigest()[:16]}"


def _videos(paths: Sequence[Path]) -> list[_Video]:
    """Look at each recording before any work is begun.

    Raises:
        ConfigError: One is missing, none, or named as another one.
    """
    videos: dict[str, _Video] = {}
    for path in paths:
        with readable(path):
            video = _video(path)
        before = videos.setdefault(video.camera, video)
        if before is not video:
            raise ConfigError(f"{path}: expected recordings of different names, found a second {video.camera!r} beside "
                              f"{before.path}; rename one")
    return list(videos.values())


def _video(path: Path) -> _Video:
    if path.is_dir():
        raise ConfigError(f"{path}: expected a recording, found a folder; name the files in it")
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ConfigError(f"{path}: expected a recording, found something that is no file; name a video file")
    open_source(SourceSettings(location=str(path), kind="video", pace="fast")).close()
    capture = open_file(str(path))
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture is not None else 0
    return _Video(path, _camera(path.stem), max(0, frames), _fingerprint(path))


def _camera(stem: str) -> str:
    """What a recording's camera is called; where letters of its name cannot be kept, a digest tells it from others."""
    name = unicodedata.normalize("NFC", stem)  # some file systems take letters and their marks apart
    kept = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    if any(letter.isalnum() and not letter.isascii() for letter in name):
        return f"{kept[:55]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")
    return kept[:64] or "camera"


def _fingerprint(path: Path) -> str:
    """Size and digest of both ends: recordings are too long to read twice."""
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_EDGE))
        file.seek(max(0, size - _EDGE))
        digest.update(file.read(_EDGE))
    return f"{size}-{digest.hexdigest()[:32]}"


def _is_done(video: _Video, out: Tracklets) -> bool:
    done = out.footage.get(video.camera)
    if done is not None and done.fingerprint != video.fingerprint:
        raise ConfigError(f"{video.path}: expected the recording that {out.folder / video.camera} was cut from, found "
                          "another one of that name; rename it, or choose another --out")
    return done is not None
