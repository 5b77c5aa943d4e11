"""Recordings become crops: the right people, once, for their owner alone, through any interruption."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.people.geometry import iou
from cmnas_edge.camera.people.select import Pick
from cmnas_edge.camera.people.track import Tracks
from cmnas_edge.errors import CmnasError, ConfigError, DiskFull
from cmnas_edge.progress import Progress
from cmnas_edge.synthetic.film import write_site
from cmnas_edge.synthetic.site import Site
from tests.camera.footage import film, grey, noisy, numbered, room, with_people
from train.data import from_video, private
from train.data.footage import Tracklet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn people before a visible and an infrared camera, filmed, with the truth beside it."""
    folder = tmp_path_factory.mktemp("site")
    write_site(Site.draw(5, 3, ["visible", "infrared"], 10.0, 5.0), folder, codec="mjpg")
    return folder


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody who crosses a room in three seconds."""
    rng = np.random.default_rng(0)
    scene = room()
    empty = [noisy(scene, rng) for _ in range(12)]
    crossing = [noisy(with_people(scene, [(40 + 8 * step, 220)]), rng) for step in range(30)]
    return film(tmp_path_factory.mktemp("walk") / "walk.avi", [*empty, *crossing, *empty[:3]])


@pytest.fixture(scope="session")
def cut_site(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cut") / "crops"
    assert cut(site / "entrance.avi", site / "hall.avi", out=out) == 0
    return out


def cut(*files: Path, out: Path, **options: object) -> int:
    parser = argparse.ArgumentParser()
    from_video.add_arguments(parser)
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return from_video.run(parser.parse_args([*map(str, files), "--out", str(out), *words]))


def rows(out: Path) -> list[Tracklet]:
    return [msgspec.json.decode(line, type=Tracklet) for line in (out / "tracklets.jsonl").read_bytes().splitlines()]


def tree(out: Path) -> dict[str, bytes]:
    """Every file in a folder, and what it holds."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_people_of_both_modalities_are_cut_out_where_they_were(site: Path, cut_site: Path) -> None:
    truth: dict[tuple[str, int], list[dict[str, object]]] = {}
    for line in (site / "truth.jsonl").read_text().splitlines():
        row = json.loads(line)
        truth.setdefault((row["camera"], row["frame"]), []).append(row)
    found = rows(cut_site)
    assert {(tracklet.camera, tracklet.modality) for tracklet in found} == {("entrance", "visible"),
                                                                            ("hall", "infrared")}
    hits = []
    for tracklet in found:
        for frame, box in zip(tracklet.frames, tracklet.boxes, strict=True):
            there = truth[tracklet.camera, frame]
            assert all(row["modality"] == tracklet.modality for row in there)
            boxes = np.array([row["box"] for row in there], np.float32).reshape(-1, 4)
            hits.append(iou(np.array([box], np.float32), boxes).max(initial=0) > 0.5)
    # The motion detector joins people who walk together; most of what it cuts is one of them.
    assert len(hits) >= 12
    assert np.mean(hits) > 0.8


def test_a_tracklet_says_when_and_where_its_pictures_were_taken(cut_site: Path) -> None:
    starts: dict[str, float] = {}
    for tracklet in rows(cut_site):
        assert len(tracklet.frames) == len(tracklet.times) == len(tracklet.boxes) <= 8
        assert list(tracklet.frames) == sorted(set(tracklet.frames))
        assert tracklet.seen_from <= tracklet.times[0] <= tracklet.times[-1] <= tracklet.seen_at
        assert min(np.diff(tracklet.times), default=1) >= 0.2 - 1e-6
        for frame, taken in zip(tracklet.frames, tracklet.times, strict=True):
            start = starts.setdefault(tracklet.camera, taken - frame / 5)
            assert taken == pytest.approx(start + frame / 5, abs=1e-5)
    assert sorted(path for tracklet in rows(cut_site) for path in tracklet.paths) == sorted(
        str(path.relative_to(cut_site)) for path in cut_site.rglob("*.jpg"))


def test_a_picture_is_the_crop_of_its_frame(site: Path, cut_site: Path) -> None:
    from cmnas_edge.preprocess import crops
    capture = cv2.VideoCapture(str(site / "hall.avi"))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    for tracklet in (tracklet for tracklet in rows(cut_site) if tracklet.camera == "hall"):
        for path, frame, box in zip(tracklet.paths, tracklet.frames, tracklet.boxes, strict=True):
            picture = cv2.imread(str(cut_site / path))
            assert picture.shape == (256, 128, 3)
            expected = crops(frames[frame], np.array([box], np.float32), 256, 128)[0]
            # JPEG, and boxes rounded to a tenth of a pixel.
            assert np.abs(picture.astype(int) - expected).mean() < 6


def test_everything_is_readable_by_its_owner_only(cut_site: Path) -> None:
    for path in (cut_site, *cut_site.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_it_says_that_these_are_personal_data(walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cut(walk, out=tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "personal data" in told.err
    assert "0700" in told.err
    assert "walk.avi: 45 frames, 1 tracklets" in told.err
    assert "1 recordings, 1 visible and 0 infrared tracklets" in told.out
    parser = argparse.ArgumentParser()
    from_video.add_arguments(parser)
    assert "personal data" in " ".join(parser.format_help().split())
    assert "personal data" in str(from_video.__doc__)


def test_the_contact_sheet_shows_every_tracklet(cut_site: Path) -> None:
    picture = cv2.imread(str(cut_site / "contact.png"))
    strips = len(rows(cut_site))
    # A strip is 96 rows of pictures below 14 of text, with 6 between; four side by side.
    assert picture.shape[0] == 6 + -(-strips // 4) * 116
    assert picture.std() > 20


def test_options_say_how_many_pictures_of_which_size_and_modality(walk: Path, tmp_path: Path) -> None:
    assert cut(walk, out=tmp_path, per_tracklet=2, height=64, width=32, modality="infrared") == 0
    (only,) = rows(tmp_path)
    assert only.modality == "infrared"
    assert len(only.frames) == 2
    assert {cv2.imread(str(tmp_path / path)).shape for path in only.paths} == {(64, 32, 3)}


def test_the_folder_reads_as_pictures_with_an_identity_per_tracklet(cut_site: Path) -> None:
    pictures = from_video.read(cut_site)
    assert sorted(pictures.paths) == sorted(path for tracklet in rows(cut_site) for path in tracklet.paths)
    assert len(set(pictures.identity.tolist())) == len(rows(cut_site))
    by_tracklet: dict[str, set[int]] = {}
    for row, path in enumerate(pictures.paths):
        assert pictures.infrared[row] == ("/infrared/" in path)
        assert pictures.camera[row] == (1 if path.startswith("entrance/") else 2)
        assert pictures.file(row).is_file()
        by_tracklet.setdefault(path.rpartition("/")[0], set()).add(int(pictures.identity[row]))
    assert all(len(identities) == 1 for identities in by_tracklet.values())


def test_going_on_does_nothing_again_and_takes_new_recordings_in(
        walk: Path, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cut(walk, out=out) == 0
    before = tree(out)
    first = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    assert cut(walk, out=out) == 0
    assert tree(out) == before
    capsys.readouterr()
    later = shutil.copy(walk, tmp_path / "later.avi")
    assert cut(walk, Path(later), out=out) == 0
    assert "walk.avi" not in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert sorted({tracklet.camera for tracklet in rows(out)}) == ["later", "walk"]
    assert set(from_video.read(out).camera.tolist()) == {1, 2}


def test_a_camera_that_turns_to_infrared_has_tracklets_of_both(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scene, night = room(), room(colourful=False)
    day = [with_people(scene, [(60 + 8 * step, 220)]) for step in range(20)]
    dark = [grey(with_people(night, [(60 + 8 * step, 220)])) for step in range(20)]
    pictures = [*[scene] * 12, *day, *[night] * 90, *dark, *[night] * 3]
    recording = film(tmp_path / "dual.avi", [noisy(picture, rng, 0.5) for picture in pictures])
    assert cut(recording, out=tmp_path / "out") == 0
    for tracklet in rows(tmp_path / "out"):
        assert {frame >= 32 for frame in tracklet.frames} == {tracklet.modality == "infrared"}
    assert {tracklet.modality for tracklet in rows(tmp_path / "out")} == {"visible", "infrared"}


def test_pictures_that_were_deleted_stay_deleted(walk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cut(walk, Path(shutil.copy(walk, tmp_path / "other.avi")), out=out) == 0
    shutil.rmtree(out / "other" / "visible")
    assert cut(walk, tmp_path / "other.avi", out=out) == 0
    assert set(from_video.read(out).camera.tolist()) == {2}
    assert not list((out / "other").iterdir())


def test_what_was_deleted_is_not_counted(walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cut(walk, out=out) == 0
    first, *rest = sorted(out.rglob("*.jpg"))
    first.unlink()
    capsys.readouterr()
    assert cut(walk, out=out) == 0
    assert f"1 visible and 0 infrared tracklets, {len(rest)} pictures; look at" in capsys.readouterr().out
    shutil.rmtree(out / "walk" / "visible")
    assert cut(walk, out=out) == 0
    assert "0 visible and 0 infrared tracklets, 0 pictures; what was cut out of them was deleted" in (
        capsys.readouterr().out)


def test_recordings_whose_names_are_not_latin_are_cameras_of_their_own(walk: Path, tmp_path: Path) -> None:
    files = [Path(shutil.copy(walk, tmp_path / f"{name}.avi")) for name in ("\u9580", "\u5ead", "caf\u00e9 1")]
    found = [video.camera for video in from_video._videos(files)]
    assert len(set(found)) == 3
    assert all(name.isascii() and len(name) <= 64 for name in found)
    assert found[2].startswith("caf-1-")
    assert from_video._camera("cafe\u0301 1") == found[2]
    assert from_video._camera("\u9580" * 80 + "a" * 80).startswith("a" * 55 + "-")


def test_a_recording_that_ends_too_soon_is_named(walk: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    data = walk.read_bytes()
    damaged = tmp_path / "damaged.avi"
    damaged.write_bytes(data[:len(data) * 9 // 10])
    (video,) = from_video._videos([damaged])
    assert video.frames == 45
    assert cut(damaged, walk, out=tmp_path / "out") == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "perhaps damaged" in line]
    assert len(told) == 1
    assert "perhaps damaged: damaged.avi (" in told[0]
    assert " of 45 frames); what was read of them is kept" in told[0]
    assert "walk.avi" not in told[0]


def test_a_recording_of_a_name_too_long_or_that_is_a_pipe_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.avi")
    for name, words in (("x" * 300, "File name too long"), ("pipe.avi", "something that is no file")):
        with pytest.raises(ConfigError, match=words) as refused:
            cut(tmp_path / name, out=tmp_path / "out")
        assert "\n" not in str(refused.value)


def test_ctrl_c_keeps_what_is_done_and_the_same_command_ends_as_if_it_had_not_been(
        walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    files = [walk, Path(shutil.copy2(walk, tmp_path / "second.avi"))]
    assert cut(*files, out=tmp_path / "whole") == 0
    out = tmp_path / "out"
    looked = from_video._Notes.write
    count = 0

    def interrupted(*args: object) -> None:
        nonlocal count
        count += 1
        if count == 45 + 43:  # the second recording's person is gone, and being told
            raise KeyboardInterrupt
        looked(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(from_video._Notes, "write", interrupted)
    assert cut(*files, out=out) == 130
    assert "1 of 2 recordings are done" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {"walk", "from_video.json", "tracklets.jsonl"}
    assert {tracklet.camera for tracklet in rows(out)} == {"walk"}
    monkeypatch.setattr(from_video._Notes, "write", looked)
    assert cut(*files, out=out) == 0
    assert tree(out) == tree(tmp_path / "whole")


def test_what_is_noted_of_a_tracklet_is_forgotten_once_it_was_told() -> None:
    with Progress("frames", io.StringIO()) as progress:
        notes = from_video._Notes(from_video._Steps(progress, 3))

        def look(index: int, numbers: list[int], ended: tuple[int, ...]) -> None:
            boxes = np.ones((len(numbers), 4), np.float32)
            tracks = Tracks(np.array(numbers), boxes, boxes[:, 0], np.array(numbers), ended)
            notes.write("gate", Frame(np.zeros((4, 4, 3), np.uint8), index, index / 10, 0.0), tracks, "visible")

        look(0, [1, 2], ())
        look(1, [2], (1,))  # its views are told after this
        pick = Pick(1, np.zeros((1, 8, 4, 3), np.uint8), (0.0,), 0.0, 0.0, 0.5, 1, 1, "visible")
        assert notes.of(pick, "gate").frames == (0,)
        look(2, [2], ())
        with pytest.raises(KeyError):
            notes.of(pick, "gate")
        assert notes.of(pick._replace(tracklet=2, times=(0.0, 0.2)), "gate").frames == (0, 2)


def test_a_full_disk_is_told_and_leaves_what_was_done(
        walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert cut(walk, out=out) == 0
    done = tree(out)
    real = private.put

    def full(path: Path, data: bytes) -> None:
        if path.suffix == ".jpg":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(private, "put", full)
    with pytest.raises(DiskFull, match=r"free some space .*recordings that are done are kept") as failure:
        cut(walk, Path(shutil.copy(walk, tmp_path / "more.avi")), out=out)
    assert failure.value.exit_code == 75
    assert tree(out) == done


def bad(folder: Path, walk: Path) -> dict[str, tuple[list[Path], dict[str, object], str]]:
    (folder / "text.mp4").write_text("not a video")
    (folder / "film").mkdir()
    (folder / "bad.onnx").write_bytes(b"not a network")
    (folder / "other").mkdir()
    twin = Path(shutil.copy(walk, folder / "other" / "walk.avi"))
    return {
        "no such file": ([folder / "none.avi"], {}, "found nothing there"),
        "no video": ([folder / "text.mp4"], {}, "cannot be read as one"),
        "a folder": ([folder / "film"], {}, "found a folder"),
        "two of one name": ([walk, twin], {}, "rename one"),
        "a detector that is none": ([walk], {"detector": "yolo"}, "motion or a network's file"),
        "a network that is missing": ([walk], {"detector": folder / "no.onnx"}, "expected the detector's file"),
        "a network that is none": ([walk], {"detector": folder / "bad.onnx"}, "bad.onnx"),
        "no pictures wanted": ([walk], {"per_tracklet": 0}, "--per-tracklet: expected 1 to 1000, found 0"),
        "a size that cannot be": ([walk], {"height": 5}, "--height: expected 16"),
    }


@pytest.mark.parametrize("case", ["no such file", "no video", "a folder", "two of one name", "a detector that is none",
                                  "a network that is missing", "a network that is none", "no pictures wanted",
                                  "a size that cannot be"])
def test_what_cannot_be_done_is_told_before_anything_is_written(case: str, walk: Path, tmp_path: Path) -> None:
    files, options, complaint = bad(tmp_path, walk)[case]
    with pytest.raises(ConfigError) as failure:
        cut(*files, out=tmp_path / "out", **options)
    assert complaint in str(failure.value)
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(walk: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="something else; choose another --out"):
        cut(walk, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ConfigError, match="found a file; choose another --out"):
        cut(walk, out=tmp_path / "thesis.tex")


def test_one_folder_holds_pictures_cut_in_one_way_of_recordings_of_one_name(walk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cut(walk, out=out) == 0
    before = tree(out)
    with pytest.raises(ConfigError, match="height 256, now 128"):
        cut(walk, out=out, height=128)
    other = film(tmp_path / "walk.avi", numbered(20))
    with pytest.raises(ConfigError, match="another one of that name"):
        cut(other, out=out)
    assert tree(out) == before


def test_damaged_notes_are_told(walk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cut(walk, out=out) == 0
    whole = (out / "from_video.json").read_bytes()
    (out / "from_video.json").write_bytes(whole[:20])
    with pytest.raises(ConfigError, match=r"from_video\.json: expected what this command wrote"):
        cut(walk, out=out)
    (out / "from_video.json").write_bytes(whole)
    (out / "tracklets.jsonl").write_bytes(b"{}\n")
    with pytest.raises(ConfigError, match=r"tracklets\.jsonl: expected a tracklet a line"):
        cut(walk, out=out)


def test_footage_without_anybody_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    empty = film(tmp_path / "empty.avi", [noisy(room(), rng) for _ in range(30)])
    with pytest.raises(CmnasError, match="found nobody in 1 recordings") as failure:
        cut(empty, out=tmp_path / "out")
    assert failure.value.exit_code == 78
    assert not (tmp_path / "out").exists()


def test_people_too_small_to_be_kept_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scene = room()
    pictures = [noisy(scene, rng) for _ in range(12)]
    pictures += [noisy(with_people(scene, [(40 + 6 * step, 220)], height=40), rng) for step in range(30)]
    with pytest.raises(ConfigError, match="found 1 tracklets without a view worth keeping"):
        cut(film(tmp_path / "far.avi", pictures), out=tmp_path / "out")


def test_the_command_ends_with_a_sentence_and_a_code_and_never_needs_torch(walk: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise AssertionError('torch was imported')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "train", "data", "from-video", *words], cwd=ROOT, text=True,
                              env=environment, capture_output=True, check=False)

    done = command(str(walk), "--out", str(tmp_path / "out"))
    assert (done.returncode, "1 visible and 0 infrared tracklets" in done.stdout) == (0, True), done.stderr
    wrong = command(str(tmp_path / "none.avi"), "--out", str(tmp_path / "other"))
    assert wrong.returncode == 78
    assert wrong.stderr.count("\n") == 1
    assert "none.avi: expected a video file, found nothing there" in wrong.stderr
