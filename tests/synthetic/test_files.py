"""What is written to disk: the benchmark's layout, videos with their truth, and one sentence if it cannot be."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from cmnas_edge import cli
from cmnas_edge.errors import ConfigError
from cmnas_edge.progress import Progress
from cmnas_edge.synthetic import film, sysu
from cmnas_edge.synthetic.crops import draw_set
from cmnas_edge.synthetic.film import read_site, write_site
from cmnas_edge.synthetic.site import Site
from tests.synthetic.test_crops import pinned

SMALL = {"train": 2, "validation": 1, "test": 1, "per_camera": 2, "height": 64, "width": 32}
JPEG_DIGEST = "08751069d40f6436"


def test_crops_lie_as_sysu_mm01_has_them(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    count = sysu.write_sysu(tmp_path, **SMALL, seed=4, progress=lambda done, every: seen.append((done, every)))
    pictures = sorted(tmp_path.glob("cam*/*/*.jpg"))
    assert count == len(pictures) == 4 * 6 * 2
    assert seen == [(12, 48), (24, 48), (36, 48), (48, 48)]
    assert pictures[0] == tmp_path / "cam1" / "0001" / "0001.jpg"
    assert pictures[-1] == tmp_path / "cam6" / "0004" / "0002.jpg"
    splits = {path.stem: path.read_text().strip() for path in (tmp_path / "exp").iterdir()}
    assert splits == {"train_id": "1,2", "val_id": "3", "test_id": "4", "available_id": "1,2,3,4"}


def test_a_picture_on_disk_is_the_crop_of_the_same_numbers(tmp_path: Path) -> None:
    sysu.write_sysu(tmp_path, **SMALL, seed=4)
    drawn = draw_set([3], [6], 1, 64, 32, seed=4, first=1).images[0]
    read = cv2.imread(str(tmp_path / "cam6" / "0003" / "0002.jpg"))
    assert read is not None
    assert np.abs(read.astype(int) - drawn).mean() < 3
    assert np.ptp(read.astype(int), axis=2).max() == 0


@pinned
def test_files_are_the_same_to_the_byte_for_pinned_opencv_and_numpy(tmp_path: Path) -> None:
    sysu.write_sysu(tmp_path, **SMALL)
    made = json.loads((tmp_path / "drawn.json").read_text())
    assert made["sha256"][:16] == JPEG_DIGEST


def test_the_digest_is_of_the_pictures_in_order(tmp_path: Path) -> None:
    sysu.write_sysu(tmp_path, **SMALL)
    digest = hashlib.sha256()
    for identity in range(1, 5):
        for camera in range(1, 7):
            for path in sorted((tmp_path / f"cam{camera}" / f"{identity:04d}").iterdir()):
                digest.update(path.read_bytes())
    assert json.loads((tmp_path / "drawn.json").read_text())["sha256"] == digest.hexdigest()


@pytest.mark.parametrize("codec", ["mjpg", pytest.param("h264", marks=pytest.mark.skipif(
    not film.h264_is_here(), reason="H.264 needs the package av with libx264"))])  # fmt: skip
def test_a_site_is_filmed_with_its_truth_and_can_be_drawn_again(tmp_path: Path, codec: str) -> None:
    site = Site.draw(5, 3, ["visible", "infrared", "dual"], 6.0, 8.0, dusk_s=2.0)
    seen: list[tuple[int, int]] = []
    videos = write_site(site, tmp_path, lambda *step: seen.append(step), codec=codec)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(path.name for path in videos.values()), "site.toml", "truth.jsonl"]
    )
    assert seen[-1] == (144, 144)
    again = read_site(tmp_path / "site.toml")
    assert again.cameras == site.cameras
    for name, path in videos.items():
        capture = cv2.VideoCapture(str(path))
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(8)
        count = 0
        for drawn in again.frames(name):
            found, frame = capture.read()
            assert found
            # Codecs take the noise; what is left is the picture, of the same band.
            if count % 10 == 0:
                assert cv2.absdiff(frame, drawn).mean() < 8
                chroma = (frame.max(2) - frame.min(2)).mean()
                assert chroma < 4 if again.scene(name).look(count).modality == "infrared" else chroma > 5
            count += 1
        assert count == 48
        assert not capture.read()[0]
        capture.release()
    rows = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert rows == [
        {**row._asdict(), "box": list(row.box)} for camera in again.cameras for row in again.truth(camera)
    ]
    assert set(rows[0]) == {"frame", "seen_at", "camera", "identity", "box", "visible_fraction", "modality"}


def test_an_interrupted_film_leaves_no_half_file(tmp_path: Path) -> None:
    def stop(done: int, every: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_site(Site.draw(5, 1, ["visible"], 4.0), tmp_path, stop, codec="mjpg")
    assert list(tmp_path.iterdir()) == []


def test_without_av_a_site_is_filmed_as_motion_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    site = Site.draw(5, 1, ["infrared"], 2.0)
    assert write_site(site, tmp_path)["entrance"].suffix == ".avi"
    with pytest.raises(ValueError, match="install 'av' or take mjpg"):
        write_site(site, tmp_path, codec="h264")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed = 1\n", "people|duration_s|cameras"),
        ("seed = 1\npeople = 3\nduration_s = 9\nfsp = 3\ncameras = []\n", "fps"),
        ("seed = 1\npeople = 3\nduration_s = 9\ncameras = []\n", "1 to 64 cameras"),
    ],
)
def test_a_wrong_site_file_is_refused_by_its_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as refused:
        read_site(path)
    assert str(path) in str(refused.value)


def test_the_crops_command_draws_and_says_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = ["--train", "1", "--validation", "0", "--test", "1", "--per-camera", "1"]
    assert cli.main(["synth", "crops", "--out", str(tmp_path / "new"), *counts, "--width", "32"]) == 0
    shown = capsys.readouterr()
    assert "12 crops of 2 people" in shown.out
    assert "12 of 12 crops, 100%" in shown.err


def test_the_site_command_draws_and_says_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["--people", "1", "--duration-s", "3", "--cameras", "dual", "infrared", "--codec", "mjpg"]
    assert cli.main(["synth", "site", "--out", str(tmp_path / "new"), *numbers]) == 0
    shown = capsys.readouterr()
    assert "1 people, 2 cameras, 30 frames each" in shown.out
    assert "60 of 60 frames, 100%" in shown.err
    assert read_site(tmp_path / "new" / "site.toml").cameras[0].infrared_from == 15


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["site", "--people", "0"], "1 to 500 people, found 0"),
        (["site", "--cameras", "thermal"], "visible, infrared or dual, found 'thermal'"),
        (["site", "--fps", "1000"], "1 to 60 frames per second"),
        (["crops", "--height", "9000"], "found 9000x128"),
        (["crops", "--train", "-1"], "none of the parts negative, found -1"),
        (["crops", "--per-camera", "0"], "pictures per camera, found 0"),
        (["crops", "--seed", "-1"], "a seed from 0"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert cli.main(["synth", arguments[0], "--out", str(tmp_path / "new"), *arguments[1:]]) == ConfigError.exit_code
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    assert cli.main(["synth", "site", "--out", str(tmp_path)]) == ConfigError.exit_code
    assert "expected an empty or new folder" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main(["synth", "crops", "--out", str(tmp_path / "file" / "below")]) == ConfigError.exit_code
    assert "a folder this user may write to" in capsys.readouterr().err


def test_progress_says_how_long_still() -> None:
    now, out = [0.0], io.StringIO()
    with Progress("crops", out, lambda: now[0]) as progress:
        for done in range(1, 5):
            now[0] += 15
            progress(done, 4)
    assert out.getvalue().splitlines() == [
        "1 of 4 crops, 25%, 45 s left",
        "2 of 4 crops, 50%, 30 s left",
        "3 of 4 crops, 75%, 15 s left",
        "4 of 4 crops, 100%, 60 s",
    ]
