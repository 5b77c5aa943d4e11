"""Pictures are decoded once, served again only while nothing changed, and never half."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cmnas_edge.errors import ConfigError, DiskFull
from cmnas_edge.preprocess import resize
from tests.proof import KILLS
from train.data import decoding, shards
from train.data.crops import Crops
from train.data.pictures import Pictures
from train.data.shards import decode

ROOT = Path(__file__).resolve().parents[2]
COUNT = 300  # more than two blocks


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Flat and noisy pictures of several sizes and formats."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = []
    for row in range(COUNT):
        path = f"{row % 7}/{row}{('.jpg', '.png', '.bmp')[row % 3]}"
        (root / path).parent.mkdir(exist_ok=True)
        picture = rng.integers(0, 256, (20 + row % 5, 9 + row % 4, 3), dtype=np.uint8)
        cv2.imwrite(str(root / path), picture)
        paths.append(path)
    row = np.arange(COUNT)
    return Pictures(root, tuple(paths), row % 11, row % 4 + 1, row % 2 == 0)


@pytest.fixture
def pictures(drawn_once: Pictures, tmp_path: Path) -> Pictures:
    """The same, to be broken."""
    return dataclasses.replace(drawn_once, root=Path(shutil.copytree(drawn_once.root, tmp_path / "pictures")))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "new" / "cache"


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are decoded from now on."""
    read: list[Path] = []

    def load(path: Path) -> np.ndarray:
        read.append(path)
        return decoding.load(path)

    monkeypatch.setattr(shards, "load", load)
    return read


def test_crops_are_the_pictures_scaled_by_the_one_definition_in_order(drawn_once: Pictures, cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    crops = decode(drawn_once, 24, 12, cache, progress=lambda *step: seen.append(step))
    assert crops.images.shape == (COUNT, 24, 12, 3)
    for row in (0, 1, 2, 127, 128, COUNT - 1):
        picture = cv2.imread(str(drawn_once.file(row)))
        assert picture is not None
        assert (crops.images[row] == resize(np.asarray(picture, np.uint8), 24, 12)).all()
    for name in ("identity", "camera", "infrared"):
        assert (getattr(crops, name) == getattr(drawn_once, name)).all()
    assert seen[-1] == (COUNT, COUNT)
    assert seen == sorted(seen)


def test_crops_are_mapped_and_read_only(drawn_once: Pictures, cache: Path) -> None:
    crops = decode(drawn_once, 16, 8, cache)
    assert isinstance(crops.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        crops.images[0] = 0


def test_the_fingerprint_is_that_of_the_same_crops_in_memory_and_reads_no_pixel(drawn_once: Pictures,
                                                                               cache: Path) -> None:
    for _ in range(2):  # as written, and as found
        crops = decode(drawn_once, 16, 8, cache)
        known = crops.fingerprint()
        assert known == Crops(np.array(crops.images), crops.identity, crops.camera, crops.infrared).fingerprint()
    path = next(cache.glob("*/images.u8"))
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"\0\1\2\3")
    assert decode(drawn_once, 16, 8, cache).fingerprint() == known
    # Other crops never inherit it.
    other = dataclasses.replace(crops, camera=crops.camera + 1)
    assert other.fingerprint() != known
    assert crops.take(np.arange(5)).fingerprint() != known


def test_a_second_time_nothing_is_decoded(drawn_once: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = decode(drawn_once, 16, 8, cache)
    read = counted(monkeypatch)
    again = decode(drawn_once, 16, 8, cache, progress=lambda *_: pytest.fail("no progress without work"))
    assert read == []
    assert (again.images == first.images).all()


def repaint(pictures: Pictures) -> Pictures:
    """Another picture of the same size in bytes, under its old date."""
    row = next(row for row, path in enumerate(pictures.paths) if path.endswith(".bmp"))
    path = pictures.file(row)
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-40:] = bytes(40)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    return pictures


def touch(pictures: Pictures) -> Pictures:
    os.utime(pictures.file(5), ns=(1, 1))
    return pictures


@pytest.mark.parametrize("change", [
    repaint, touch,
    lambda p: p.take(np.roll(np.arange(COUNT), 1)),
    lambda p: p.take(np.arange(COUNT - 1)),
    lambda p: dataclasses.replace(p, identity=p.identity + 1),
    lambda p: dataclasses.replace(p, camera=p.camera + 1),
    lambda p: dataclasses.replace(p, infrared=~p.infrared),
], ids=["repainted", "touched", "reordered", "fewer", "identity", "camera", "modality"])
def test_what_changed_is_decoded_again(pictures: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch,
                                       change: Callable[[Pictures], Pictures]) -> None:
    decode(pictures, 16, 8, cache)
    changed = change(pictures)
    read = counted(monkeypatch)
    crops = decode(changed, 16, 8, cache)
    assert len(read) == len(changed)
    for row in range(0, len(changed), 37):
        picture = cv2.imread(str(changed.file(row)))
        assert picture is not None
        assert (crops.images[row] == resize(np.asarray(picture, np.uint8), 16, 8)).all()
    for name in ("identity", "camera", "infrared"):
        assert (getattr(crops, name) == getattr(changed, name)).all()


@pytest.mark.parametrize(("height", "width"), [(8, 16), (16, 9), (17, 8)])
def test_another_size_is_another_shard(drawn_once: Pictures, cache: Path, height: int, width: int) -> None:
    decode(drawn_once, 16, 8, cache)
    assert decode(drawn_once, height, width, cache).images.shape == (COUNT, height, width, 3)
    assert len(list(cache.glob("*/images.u8"))) == 2


@pytest.mark.parametrize("damage", ["cut", "longer", "no pixels", "no words", "other words", "a file"])
def test_a_damaged_shard_is_made_again(drawn_once: Pictures, cache: Path, damage: str) -> None:
    good = decode(drawn_once, 16, 8, cache)
    place = next(cache.glob("*/images.u8")).parent
    whole = np.array(good.images)
    if damage == "cut":
        os.truncate(place / "images.u8", 1000)
    elif damage == "longer":
        with (place / "images.u8").open("ab") as file:
            file.write(b"x")
    elif damage == "no pixels":
        (place / "images.u8").unlink()
    elif damage == "no words":
        (place / "shard.json").write_bytes(b"")
    elif damage == "other words":
        (place / "shard.json").write_bytes(b'{"rows": 7, "fingerprint": 1}')
    else:
        shutil.rmtree(place)
        place.write_text("")
        with pytest.raises(ConfigError, match="expected a folder this user may write to"):
            decode(drawn_once, 16, 8, cache)
        return
    assert (decode(drawn_once, 16, 8, cache).images == whole).all()
    assert (place / "images.u8").stat().st_size == whole.size


BREAK = {"empty": lambda data: b"", "cut": lambda data: data[:len(data) // 2], "text": lambda data: b"GIF? no.",
         "headless": lambda data: bytes(len(data))}


@pytest.mark.parametrize("kind", BREAK)
@pytest.mark.parametrize("row", [0, 1, 2])  # jpg, png, bmp
def test_one_broken_picture_among_many_is_named_and_can_be_left_out(pictures: Pictures, cache: Path, kind: str,
                                                                    row: int) -> None:
    row += 150
    path = pictures.file(row)
    path.write_bytes(BREAK[kind](path.read_bytes()))
    with pytest.raises(ConfigError) as refused:
        decode(pictures, 16, 8, cache)
    assert str(refused.value).startswith(f"{path}: expected a picture, found ")
    assert "\n" not in str(refused.value)
    assert [entry.name for entry in cache.iterdir()] == [".lock"]
    for _ in range(2):  # as written, and as found
        told: list[str] = []
        crops = decode(pictures, 16, 8, cache, broken=told.append)
        assert told == [str(refused.value)]
        kept = np.delete(np.arange(COUNT), row)
        assert (crops.identity == pictures.identity[kept]).all()
        assert len(crops.images) == COUNT - 1
        picture = cv2.imread(str(pictures.file(row + 1)))
        assert picture is not None
        assert (crops.images[row] == resize(np.asarray(picture, np.uint8), 16, 8)).all()
        assert crops.fingerprint() == Crops(np.array(crops.images), crops.identity, crops.camera,
                                            crops.infrared).fingerprint()
    # Who does not say what to do about it is told again.
    with pytest.raises(ConfigError, match="expected a picture"):
        decode(pictures, 16, 8, cache)


def test_a_cut_jpeg_is_told_even_by_a_decoder_that_fills_it_up(pictures: Pictures,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    data = pictures.file(0).read_bytes()
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((4, 4, 3), np.uint8))
    decoding.load(pictures.file(0))
    for whole in (data + b"\0\0garbage", data):
        pictures.file(0).write_bytes(whole)
        decoding.load(pictures.file(0))
    pictures.file(0).write_bytes(data[:-2])
    with pytest.raises(ConfigError, match="a JPEG that is cut off"):
        decoding.load(pictures.file(0))


def test_pictures_of_which_none_can_be_decoded_are_refused_even_then(pictures: Pictures, cache: Path) -> None:
    some = pictures.take(np.arange(3))
    for row in range(3):
        some.file(row).write_bytes(b"no")
    with pytest.raises(ConfigError, match="expected a picture"):
        decode(some, 16, 8, cache, broken=lambda _: None)


def test_a_picture_that_is_gone_is_named(pictures: Pictures, cache: Path) -> None:
    pictures.file(9).unlink()
    with pytest.raises(ConfigError, match=rf"{pictures.paths[9]}: expected a picture, found none"):
        decode(pictures, 16, 8, cache)


@pytest.mark.parametrize("where", ["reserving", "writing", "writing what stands beside"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_leaves_nothing(drawn_once: Pictures, cache: Path, monkeypatch: pytest.MonkeyPatch,
                                                where: str, number: int) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        if where == "reserving":
            patch.setattr(os, "posix_fallocate", full)
        elif where == "writing":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(shards.msgspec.json, "encode", full)
        with pytest.raises(DiskFull, match="expected room for decoded pictures"):
            decode(drawn_once, 16, 8, cache)
    assert [entry.name for entry in cache.iterdir()] == [".lock"]
    assert len(decode(drawn_once, 16, 8, cache)) == COUNT


def test_a_file_system_that_cannot_reserve_is_written_all_the_same(drawn_once: Pictures, cache: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert len(decode(drawn_once, 16, 8, cache)) == COUNT


def test_a_cache_that_cannot_be_is_said(drawn_once: Pictures, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file: expected a folder this user may write to"):
        decode(drawn_once, 16, 8, tmp_path / "file")


def test_an_interrupted_decoding_leaves_nothing(drawn_once: Pictures, cache: Path) -> None:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(drawn_once, 16, 8, cache, progress=stop)
    assert [entry.name for entry in cache.iterdir()] == [".lock"]


CHILD = """
import sys, time
import numpy as np
from pathlib import Path
from train.data.pictures import Pictures
from train.data.shards import decode
root, cache, wait = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
paths = tuple(sys.stdin.read().split())
row = np.arange(len(paths))
def told(done, every):
    print(done, flush=True)
    time.sleep(wait)
crops = decode(Pictures(root, paths, row, row, row < 0), 64, 32, cache, progress=told)
print(crops.fingerprint(), flush=True)
"""


def child(pictures: Pictures, cache: Path, wait: float) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(pictures.root), str(cache), str(wait)], text=True,
                               cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(" ".join(pictures.paths))
    process.stdin.close()
    return process


@pytest.mark.prove
def test_kill_9_at_any_moment_leaves_no_shard_that_is_not_whole(drawn_once: Pictures, cache: Path) -> None:
    rng = np.random.default_rng(0)
    row = np.arange(COUNT)
    relabelled = dataclasses.replace(drawn_once, identity=row, camera=row, infrared=row < 0)
    for _ in range(KILLS):
        process = child(drawn_once, cache, 0.05)
        assert process.stdout is not None
        if rng.random() < 0.7:
            process.stdout.readline()  # one block is written
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for place in cache.glob("[!.]*"):
            assert sorted(path.name for path in place.iterdir()) == ["images.u8", "shard.json"]
    crops = decode(relabelled, 64, 32, cache)
    assert crops.fingerprint() == Crops(np.array(crops.images), row, row, row < 0).fingerprint()
    assert (crops.images[77] == resize(decoding.load(relabelled.file(77)), 64, 32)).all()
    assert sorted(entry.name for entry in cache.iterdir() if entry.name.startswith(".")) == [".lock"]


def test_two_processes_that_want_one_shard_decode_it_once(drawn_once: Pictures, cache: Path) -> None:
    both = [child(drawn_once, cache, 0.2) for _ in range(2)]
    said = []
    for process in both:
        assert process.stdout is not None
        with process.stdout:
            said.append(process.stdout.read().split())
        assert process.wait() == 0
    assert said[0][-1] == said[1][-1]
    assert sorted(len(words) for words in said) == [1, 1 + 3]


@pytest.mark.parametrize(("count", "height", "width"), [(0, 16, 8), (1, 0, 8), (1, 16, 0)])
def test_no_pictures_and_no_size_are_a_mistake(drawn_once: Pictures, cache: Path, count: int, height: int,
                                               width: int) -> None:
    with pytest.raises(ValueError, match="shards: expected"):
        decode(drawn_once.take(np.arange(count)), height, width, cache)


def test_decoded_people_are_their_owner_s_only(pictures: Pictures, cache: Path, tmp_path: Path) -> None:
    decode(pictures, 8, 4, cache)
    for path in (cache, *cache.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    decode(pictures, 8, 4, shared)
    assert shared.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o077 for path in shared.iterdir()} == {0}
