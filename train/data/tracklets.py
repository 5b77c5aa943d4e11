"""A folder of people followed through recordings: pictures per tracklet, with nobody's name.

::

    DIR/from_video.json                                    how it was made, and which recordings are done
    DIR/tracklets.jsonl                                    a line per tracklet: when, and where in the frame
    DIR/<camera>/<modality>/<tracklet>/<frame>.jpg         what was seen of it

These are pictures of people, so personal data: folders have mode 0700, files 0600. A recording is in
the folder whole or not at all, whenever the process dies. What a person deletes there stays deleted;
``read`` takes what it finds, also in a folder of this form that was made by hand.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np

from cmnas_edge.embedding import MODALITIES
from cmnas_edge.errors import ConfigError
from train.data import private
from train.data.crops import U8
from train.data.footage import Footage, Made, Story, Tracklet
from train.data.pictures import Pictures

__all__ = ["Recording", "Tracklets", "read"]

_MADE: Final = "from_video.json"
_TRACKLETS: Final = "tracklets.jsonl"
_JPEG_QUALITY: Final = 95
_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp")


class Tracklets:
    """A folder that takes recordings one by one, each whole or not at all; nobody else's until its block ends.

    Args:
        folder: Made if missing; an empty one, or one begun in the same way, is gone on with.
        made: How pictures are cut now.

    Raises:
        ConfigError: The folder holds something else, or pictures cut in another way; or another process
            writes to it now; or it cannot be written.
    """

    def __init__(self, folder: Path, made: Made) -> None:
        self.folder = folder
        self._lock: int | None = None
        try:
            self._begin(folder, made)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Tracklets:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write to the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _begin(self, folder: Path, made: Made) -> None:
        with private.writing(folder):
            if folder.exists() and not folder.is_dir():
                raise ConfigError(f"{folder}: expected a folder to write to, found a file; choose another --out")
            self._found = folder.exists()
            if not self._found:
                private.folder(folder)
            # The folder itself is locked, so that nothing of the lock is left in it.
            self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(f"{folder}: expected a folder that nothing else writes to, found another from-video "
                                  "at work in it; wait until it is done, or choose another --out") from None
            except OSError:
                pass  # a file system without locks: as good as it gets
            self._story = Story(made, {})
            if (folder / _MADE).exists():
                self._story = Story.read(folder / _MADE)
                if self._story.made != made:
                    raise ConfigError(f"{folder}: expected pictures cut as asked for now, found others "
                                      f"({self._story.difference(made)}); choose another --out, or delete the "
                                      "folder to start over")
            elif folder.exists() and any(path.name != f".{_MADE}.part" for path in folder.iterdir()):
                raise ConfigError(f"{folder}: expected an empty folder, or one that this command began, found files of "
                                  "something else; choose another --out")
            private.folder(folder)
            for left in folder.glob(".*.part"):  # by a process that was killed
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            self._write(_MADE, msgspec.json.encode(self._story))

    @property
    def made(self) -> Made:
        """How pictures are cut."""
        return self._story.made

    @property
    def footage(self) -> dict[str, Footage]:
        """Recordings that are done, by camera."""
        return self._story.footage

    def tracklets(self) -> list[Tracklet]:
        """What was followed in them, recording by recording.

        Raises:
            ConfigError: The list cannot be read.
        """
        path = self.folder / _TRACKLETS
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
            found = [msgspec.json.decode(line, type=Tracklet) for line in lines if line.strip()]
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: expected a tracklet a line, found something else ({error}); delete the folder "
                              "to start over") from error
        # A process that died on its last step left lines of a recording that is not done.
        return [tracklet for tracklet in found if tracklet.camera in self._story.footage]

    @contextmanager
    def recording(self, camera: str) -> Iterator[Recording]:
        """A recording to add pictures to; unless it is kept, nothing of it is left.

        Raises:
            DiskFull: The disk has no room; what was done before is whole.
            ConfigError: The folder cannot be written.
        """
        part = self.folder / f".{camera}.part"
        with private.writing(self.folder):
            shutil.rmtree(part, ignore_errors=True)
            private.folder(part)
            try:
                yield Recording(self, camera, part)
            finally:
                shutil.rmtree(part, ignore_errors=True)

    def forget(self) -> None:
        """Leave nothing in a folder in which nobody was ever seen, and of one that was made for it nothing at all."""
        assert not self.tracklets()
        for name in (_MADE, _TRACKLETS):
            (self.folder / name).unlink(missing_ok=True)
        for camera in self._story.footage:
            with suppress(OSError):  # what somebody put there is theirs
                (self.folder / camera).rmdir()
        if not self._found:
            with suppress(OSError):
                self.folder.rmdir()

    def write(self, name: str, data: bytes) -> None:
        """Replace a file beside the pictures.

        Raises:
            DiskFull: The disk has no room.
            ConfigError: The folder cannot be written.
        """
        with private.writing(self.folder):
            self._write(name, data)

    def _write(self, name: str, data: bytes) -> None:
        part = self.folder / f".{name}.part"
        private.put(part, data)
        part.replace(self.folder / name)

    def _keep(self, camera: str, part: Path, footage: Footage, tracklets: Sequence[Tracklet]) -> None:
        whole = self.folder / camera
        shutil.rmtree(whole, ignore_errors=True)  # of a process that died before the last of these steps
        part.replace(whole)
        lines = [msgspec.json.encode(tracklet) + b"\n" for tracklet in (*self.tracklets(), *tracklets)]
        self._write(_TRACKLETS, b"".join(lines))
        self._story = Story(self._story.made, {**self._story.footage, camera: footage})
        self._write(_MADE, msgspec.json.encode(self._story))


class Recording:
    """Pictures of one recording, not yet in their place."""

    def __init__(self, owner: Tracklets, camera: str, part: Path) -> None:
        self._owner, self._camera, self._part = owner, camera, part
        self.tracklets: list[Tracklet] = []

    def add(self, tracklet: Tracklet, crops: U8) -> None:
        """Write a tracklet's pictures, shape ``(n, h, w, 3)``, BGR.

        Raises:
            OSError: They cannot be written.
        """
        for path, crop in zip(tracklet.paths, crops, strict=True):
            file = self._part / path.partition("/")[2]
            private.folder(file.parent.parent)
            private.folder(file.parent)
            _, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            private.put(file, data.tobytes())
        self.tracklets.append(tracklet)

    def keep(self, file: str, fingerprint: str, frames: int) -> Footage:
        """Put everything in its place; the recording is done."""
        footage = Footage(file, fingerprint, frames, len(self.tracklets),
                          sum(len(tracklet.frames) for tracklet in self.tracklets))
        self._owner._keep(self._camera, self._part, footage, self.tracklets)
        return footage


def read(folder: Path) -> Pictures:
    """Every picture in a folder of tracklets, wherever it came from.

    Nobody knows who is who, so each tracklet is an identity of its own: good for what needs
    no labels, such as the statistics of a camera.

    Args:
        folder: Holds ``<camera>/visible|infrared/<tracklet>/<picture>``; cameras are numbered
            from 1 in the order of their names.

    Raises:
        ConfigError: There is no such folder, or no such picture in it.
    """
    form = "CAMERA/visible|infrared/TRACKLET/PICTURE.jpg"
    paths: list[str] = []
    labels: list[tuple[int, int, bool]] = []
    identity = 0
    try:
        for number, camera in enumerate(_folders(folder), start=1):
            for modality in MODALITIES:
                if not (camera / modality).is_dir():
                    continue
                for tracklet in _folders(camera / modality):
                    names = sorted(path.name for path in tracklet.iterdir()
                                   if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."))
                    paths += [f"{camera.name}/{modality}/{tracklet.name}/{name}" for name in names]
                    labels += [(identity, number, modality == "infrared")] * len(names)
                    identity += bool(names)
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder of {form}, found none that can be read ({error.strerror}); "
                          "name another") from error
    if not paths:
        raise ConfigError(f"{folder}: expected pictures as {form}, found none; make them with: "
                          "python -m train data from-video FILES --out DIR")
    identities, cameras, infrared = zip(*labels, strict=True)
    return Pictures(folder, tuple(paths), np.array(identities, np.int64), np.array(cameras, np.int64),
                    np.array(infrared, np.bool_))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
