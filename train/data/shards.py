"""Pictures decoded and scaled once, and from then on mapped from one file.

A shard is a folder of the cache: ``images.u8``, rows of ``height x width x 3`` bytes, and ``shard.json``. Its name
is a SHA-256 over what decides its content: the order, names and labels of the pictures, each file's size and times
of change (of content and of attributes, so a file whose old date was restored counts as changed), the size of a
crop, and the definition of preprocessing. Contents are not read to find a shard. The fingerprint of the crops, kept
beside them, is over pixels and labels.

Pictures of people are personal data: a shard's folder has mode 0700, its files 0600, and so has a cache that is made.

A shard is written beside its place and renamed into it. Whatever ends a process before that, kill -9 included,
leaves a part that the next one removes and starts again; processes that want the same shard wait for one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import cv2
import msgspec
import numpy as np

from cmnas_edge.errors import CmnasError, ConfigError, unwritable
from cmnas_edge.preprocess import DEFINITION, resize
from train.data import private
from train.data.crops import U8, Crops, opening
from train.data.decoding import load, quietly
from train.data.pictures import Pictures

__all__ = ["decode"]

_IMAGES, _ABOUT, _PART = "images.u8", "shard.json", ".part-"
_BLOCK: Final = 128  # pictures decoded before they are written
_AHEAD: Final = 3  # blocks that are being decoded while one is written
_FORMAT: Final = 1


class _About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands beside the pixels.

    Attributes:
        rows: How many crops there are.
        fingerprint: Of the crops.
        left_out: Rows of the pictures that could not be decoded, ascending, with what was wrong.
    """

    rows: int
    fingerprint: str
    left_out: tuple[tuple[int, str], ...] = ()


def decode(pictures: Pictures, height: int, width: int, cache: Path, *,
           progress: Callable[[int, int], None] | None = None,
           broken: Callable[[str], None] | None = None) -> Crops:
    """The crops of pictures, from the cache if it has them.

    Args:
        pictures: Which ones.
        height: Rows of a crop.
        width: Columns of a crop.
        cache: A folder, made if missing; what it holds can be deleted at any time.
        progress: Called with (pictures decoded, all); not at all when the cache has them.
        broken: Called with a sentence for each picture that cannot be decoded, which is then left out. Without it,
            such a picture is refused.

    Returns:
        Crops in the order of ``pictures``; ``images`` is mapped, and read-only.

    Raises:
        ConfigError: A picture is gone, or cannot be decoded; the cache cannot be written.
        DiskFull: The cache's disk is; nothing is left of what was begun.
        ValueError: There are no pictures, or a crop cannot have this size.
    """
    if not len(pictures) or height < 1 or width < 1:
        raise ValueError(f"shards: expected pictures and a size from 1x1, got {len(pictures)}, {height}x{width}")
    place = cache / _key(pictures, height, width)
    try:
        found = _open(place, pictures, height, width)
        if found is None:
            if not cache.is_dir():  # one that is there may be shared: it is as its owner wants it
                private.folder(cache)
            with _alone(cache):
                found = _open(place, pictures, height, width)
                if found is None:
                    _write(place, pictures, height, width, progress, strict=broken is None)
                    found = _open(place, pictures, height, width)
    except OSError as error:
        raise unwritable(cache, "decoded pictures", error, "choose another cache") from error
    if found is None:
        raise ConfigError(f"{place}: expected what was just written, found it changed; keep others out of the cache")
    crops, left_out = found
    for _, sentence in left_out:
        if broken is None:
            raise ConfigError(sentence)
        broken(sentence)
    return crops


def _key(pictures: Pictures, height: int, width: int) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {height}x{width} {DEFINITION} OpenCV {cv2.__version__}\n".encode())
    for array in (pictures.identity, pictures.camera, pictures.infrared):
        digest.update(array.tobytes())
    for row, path in enumerate(pictures.paths):
        try:
            state = pictures.file(row).stat()
        except OSError as error:
            raise ConfigError(f"{pictures.file(row)}: expected a picture, found none that can be read "
                              f"({error.strerror}); extract it again from its archive") from error
        digest.update(f"{path}\0{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _open(place: Path, pictures: Pictures, height: int, width: int) -> tuple[Crops, tuple[tuple[int, str], ...]] | None:
    """A shard that is whole, or none."""
    try:
        about = msgspec.json.decode((place / _ABOUT).read_bytes(), type=_About)
        if (place / _IMAGES).stat().st_size != about.rows * height * width * 3:
            return None
        images = np.memmap(place / _IMAGES, np.uint8, "r", shape=(about.rows, height, width, 3))
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, ValueError):
        return None
    kept = np.delete(np.arange(len(pictures)), [row for row, _ in about.left_out])
    if len(kept) != about.rows:
        return None
    crops = Crops(images, pictures.identity[kept], pictures.camera[kept], pictures.infrared[kept])
    return crops.known_as(about.fingerprint), about.left_out


def _write(place: Path, pictures: Pictures, height: int, width: int, progress: Callable[[int, int], None] | None, *,
           strict: bool) -> None:
    """Decode into the shard's place, which it reaches whole or not at all."""
    for rest in (*place.parent.glob(f"{_PART}*"), place):
        shutil.rmtree(rest, ignore_errors=True)
    part = place.with_name(_PART + place.name)
    private.folder(part)
    try:
        with private.opened(part / _IMAGES) as out:
            # Known now rather than after minutes, where the file system can tell.
            _reserve(out, len(pictures) * height * width * 3)
            digest = hashlib.sha256(opening(np.dtype(np.uint8), (len(pictures), height, width, 3)))
            left_out: list[tuple[int, str]] = []
            for start, block, failed in _decoded(pictures, height, width):
                if failed and strict:
                    raise ConfigError(failed[0][1])
                left_out += failed
                whole = np.delete(block, [row - start for row, _ in failed], axis=0) if failed else block
                digest.update(whole.data)
                out.write(whole.data)
                if progress is not None:
                    progress(start + len(block), len(pictures))
            out.truncate()
            out.flush()
            os.fsync(out.fileno())
        kept = np.delete(np.arange(len(pictures)), [row for row, _ in left_out])
        if not len(kept):
            raise ConfigError(left_out[0][1])
        labels = (pictures.identity[kept], pictures.camera[kept], pictures.infrared[kept])
        for array in labels:
            digest.update(opening(array.dtype, array.shape) + array.tobytes())
        fingerprint = digest.hexdigest()
        if left_out:  # the digest began with a number of rows that was not to be
            mapped = np.memmap(part / _IMAGES, np.uint8, "r", shape=(len(kept), height, width, 3))
            fingerprint = Crops(mapped, *labels).fingerprint()
        about = _About(rows=len(kept), fingerprint=fingerprint, left_out=tuple(left_out))
        with private.opened(part / _ABOUT) as out:
            out.write(msgspec.json.encode(about))
            out.flush()
            os.fsync(out.fileno())
        part.rename(place)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _decoded(pictures: Pictures, height: int, width: int) -> Iterator[tuple[int, U8, list[tuple[int, str]]]]:
    """Blocks of crops in order, each with its first row and what could not be decoded of it."""
    quietly()

    def one(row: int, out: U8) -> tuple[int, str] | None:
        try:
            resize(load(pictures.file(row)), height, width, out=out)
        except CmnasError as error:
            return row, str(error)
        return None

    waiting: deque[tuple[int, U8, list[Future[tuple[int, str] | None]]]] = deque()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            for start in range(0, len(pictures), _BLOCK):
                block = np.empty((min(_BLOCK, len(pictures) - start), height, width, 3), np.uint8)
                waiting.append((start, block, [pool.submit(one, start + i, crop) for i, crop in enumerate(block)]))
                if len(waiting) > _AHEAD:
                    yield _done(waiting.popleft())
            while waiting:
                yield _done(waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _done(block: tuple[int, U8, list[Future[tuple[int, str] | None]]]) -> tuple[int, U8, list[tuple[int, str]]]:
    start, crops, futures = block
    return start, crops, [failed for future in futures if (failed := future.result()) is not None]


def _reserve(out: BinaryIO, size: int) -> None:
    try:
        os.posix_fallocate(out.fileno(), 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        # This file system cannot reserve: a full disk shows when it is full.


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Inside, no other process writes to this cache; the lock goes with the process."""
    with private.opened(cache / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
