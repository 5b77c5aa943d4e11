"""Replicas of benchmarks have their names, folders and split files, and hold the people they say."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cmnas_edge import cli
from cmnas_edge.errors import ConfigError
from cmnas_edge.synthetic import files, matlab
from cmnas_edge.synthetic.crops import Camera, camera_of, crop_rng, draw_crop
from cmnas_edge.synthetic.files import Asked
from cmnas_edge.synthetic.llcm import write_llcm
from cmnas_edge.synthetic.market import write_market
from cmnas_edge.synthetic.people import Person
from cmnas_edge.synthetic.regdb import write_regdb
from cmnas_edge.synthetic.sysu import write_sysu

ASKED = Asked(train=2, validation=1, test=2, per_camera=2, height=32, width=16, seed=3)


def read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture


def test_regdb_lies_in_folders_of_people_with_ten_pairs_of_halves(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    count = write_regdb(tmp_path, ASKED, progress=lambda *step: seen.append(step))
    pictures = sorted(tmp_path.glob("*/*/*.bmp"))
    assert count == len(pictures) == 5 * 2 * 2
    assert seen == [(done, 20) for done in (4, 8, 12, 16, 20)]
    names = [str(path.relative_to(tmp_path)) for path in pictures]
    form = re.compile(r"(Visible|Thermal)/(\d+)/(fe)?male_(front|back)_([vt])_\d{5}_\2\.bmp")
    assert all((match := form.fullmatch(name)) and match[1][0].lower() == match[5] for name in names)
    for trial in range(1, 11):
        sides = {}
        for side, people in (("train", 3), ("test", 2)):
            lines = {band: (tmp_path / "idx" / f"{side}_{band}_{trial}.txt").read_text().splitlines()
                     for band in ("visible", "thermal")}
            for band, found in lines.items():
                assert len(found) == 2 * people
                assert all((tmp_path / line.split(" ")[0]).is_file() for line in found)
                assert all(line.startswith(band.capitalize()) for line in found)
            labels = [[int(line.split(" ")[1]) for line in found] for found in lines.values()]
            assert labels[0] == labels[1] == sorted([*range(people)] * 2)
            sides[side] = {line.split("/")[1] for line in lines["visible"]}
        assert sides["train"] | sides["test"] == {"1", "2", "3", "4", "5"}
        assert not sides["train"] & sides["test"]
    assert len(list((tmp_path / "idx").iterdir())) == 40


def test_a_thermal_picture_is_grey_and_lossless(tmp_path: Path) -> None:
    write_regdb(tmp_path, ASKED)
    thermal = next(path for path in sorted(tmp_path.glob("Thermal/4/*")) if "_00040_" in path.name)
    drawn = draw_crop(Person.draw(3, 4), camera_of(3, 1, "infrared"), crop_rng(3, 4, 1, 0), 32, 16)
    assert (read(thermal) == drawn).all()
    assert np.ptp(drawn.astype(int), axis=2).max() == 0
    visible = next(path for path in sorted(tmp_path.glob("Visible/4/*")) if "_00040_" in path.name)
    assert np.ptp(read(visible).astype(int), axis=2).max() > 20


def test_llcm_lists_what_is_learnt_and_sorts_what_is_tested_by_camera(tmp_path: Path) -> None:
    count = write_llcm(tmp_path, ASKED)
    assert count == len(list(tmp_path.rglob("*.jpg"))) == 5 * 2 * 17
    for band, cameras in (("vis", 9), ("nir", 8)):
        lines = (tmp_path / "idx" / f"train_{band}.txt").read_text().splitlines()
        assert len(lines) == 3 * 2 * cameras
        form = re.compile(rf"{band}/(\d{{4}})/\1_c\d\d_s\d+_f\d+_{band}\.jpg [012]")
        assert all(form.fullmatch(line) for line in lines)
        assert all((tmp_path / line.split(" ")[0]).is_file() for line in lines)
        folders = sorted(path.name for path in (tmp_path / f"test_{band}").iterdir())
        assert folders == [f"cam{n}" for n in range(1, 10) if band == "vis" or n != 3]
        assert sorted(path.name for path in (tmp_path / f"test_{band}" / "cam4").iterdir()) == ["0004", "0005"]
    assert (tmp_path / "idx" / "test_id.txt").read_text() == "4,5\n"


def test_market_has_queries_distractors_and_junk(tmp_path: Path) -> None:
    count = write_market(tmp_path, ASKED)
    names = {folder: sorted(path.name for path in (tmp_path / folder).iterdir())
             for folder in ("bounding_box_train", "query", "bounding_box_test")}
    assert count == sum(map(len, names.values())) == 5 * 12 + 2 * 8
    form = re.compile(r"(-1|\d{4})_c[1-6]s\d_\d{6}_\d\d\.jpg")
    assert all(form.fullmatch(name) for found in names.values() for name in found)
    who = {folder: {name.split("_")[0] for name in found} for folder, found in names.items()}
    assert who == {"bounding_box_train": {"0001", "0002", "0003"}, "query": {"0004", "0005"},
                   "bounding_box_test": {"-1", "0000", "0004", "0005"}}
    assert len(names["query"]) == 2 * 6
    assert not set(names["query"]) & set(names["bounding_box_test"])


@pytest.mark.parametrize(("name", "write"), [("regdb", write_regdb), ("llcm", write_llcm), ("market", write_market)])
def test_a_replica_says_how_to_draw_it_again_and_comes_out_the_same(tmp_path: Path, name: str, write) -> None:  # type: ignore[no-untyped-def]
    for copy in ("a", "b"):
        write(tmp_path / copy, ASKED)
    files = [sorted(path.relative_to(tmp_path / copy) for path in (tmp_path / copy).rglob("*.*"))
             for copy in ("a", "b")]
    assert files[0] == files[1]
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in files[0])
    made = json.loads((tmp_path / "a" / "drawn.json").read_text())
    assert made["layout"] == name
    assert {key: made[key] for key in ASKED._fields} == ASKED._asdict()
    with pytest.raises(ValueError, match="a seed from 0"):
        write(tmp_path / "c", ASKED._replace(seed=-1))
    assert not (tmp_path / "c").exists()


def test_a_camera_of_both_bands_stands_in_one_place(tmp_path: Path) -> None:
    day, night = Camera.draw(3, 3, "visible"), Camera.draw(3, 3, "infrared")
    assert (day.modality, night.modality) == ("visible", "infrared")
    assert day.background.shape[2] == 3
    assert night.background.shape[2] == 1
    # Camera 3 of the six stands in the room of camera 2; by itself it has its own.
    assert (Camera.draw(3, 3).background != night.background).any()


def test_a_matlab_file_has_the_bytes_its_format_asks_for(tmp_path: Path) -> None:
    matlab.write_cells(tmp_path / "x.mat", "xy", [np.array([[1.0, 2.0]])])
    data = (tmp_path / "x.mat").read_bytes()
    assert data[:19] == b"MATLAB 5.0 MAT-file"
    assert data[124:128] == b"\x00\x01IM"
    inner = struct.pack("<IIII IIii IIdd", 6, 8, 6, 0, 5, 8, 1, 2, 1, 0, 0, 0)[:40]
    inner += struct.pack("<IIdd", 9, 16, 1, 2)
    cell = struct.pack("<II", 14, len(inner)) + inner
    outer = struct.pack("<IIII IIii II2s6x", 6, 8, 1, 0, 5, 8, 1, 1, 1, 2, b"xy") + cell
    assert data[128:] == struct.pack("<II", 14, len(outer)) + outer


def test_permutations_are_written_when_asked_for(tmp_path: Path) -> None:
    write_sysu(tmp_path / "without", **ASKED._asdict())
    write_sysu(tmp_path / "with", **ASKED._asdict(), permutations=True)
    assert not (tmp_path / "without" / "exp" / "rand_perm_cam.mat").exists()
    made = (tmp_path / "with" / "exp" / "rand_perm_cam.mat").read_bytes()
    assert hashlib.sha256(made).hexdigest()[:16] == "e19dcac09fa0fa1c"


@pytest.mark.parametrize(("layout", "title", "count"), [("regdb", "RegDB", 4), ("llcm", "LLCM", 34),
                                                        ("market", "Market-1501", 20), ("sysu", "SYSU-MM01", 12)])
def test_the_crops_command_draws_in_each_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str,
                                                title: str, count: int) -> None:
    small = ["--train", "1", "--validation", "0", "--test", "1", "--per-camera", "1", "--height", "32", "--width", "16"]
    assert cli.main(["synth", "crops", "--out", str(tmp_path / "new"), "--layout", layout, *small]) == 0
    assert f"{count} crops of 2 people, in the layout of {title}" in capsys.readouterr().out


def test_permutations_of_another_layout_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["synth", "crops", "--out", str(tmp_path / "new"), "--layout", "llcm", "--permutations"]
    assert cli.main(arguments) == ConfigError.exit_code
    assert "--permutations with --layout sysu" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["sysu", "regdb", "llcm", "market"])
def test_a_drawing_that_was_stopped_is_gone_on_with_and_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    def draw(folder: str, *more: str) -> int:
        counts = ["--train", "1", "--validation", "1", "--test", "1", "--per-camera", "2"]
        size = ["--height", "32", "--width", "16", "--layout", layout]
        return cli.main(["synth", "crops", "--out", str(tmp_path / folder), *counts, *size, *more])

    assert draw("whole") == 0
    drawn: list[int] = []
    real = files.draw_crop

    def stopping(*args: Any) -> Any:
        drawn.append(1)
        if len(drawn) == 9:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(files, "draw_crop", stopping)
    assert draw("out") == 130
    assert draw("out", "--seed", "4") == ConfigError.exit_code
    assert "found others (seed 0, now 4); give the same command again" in capsys.readouterr().err
    before = len(drawn)
    assert draw("out") == 0
    assert draw("fresh") == 0
    # The first eight were kept.
    fresh = sum(1 for path in (tmp_path / "whole").rglob("*") if path.suffix in (".jpg", ".bmp")
                and not path.name.startswith("-1"))
    assert len(drawn) == before + (fresh - 8) + fresh
    trees = [{str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*")
              if path.is_file()} for name in ("whole", "out", "fresh")]
    assert trees[0] == trees[1] == trees[2]


def test_a_picture_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = files.Drawing(tmp_path, ASKED, 1)
    replace = Path.replace

    def dying(part: Path, target: Path) -> Path:
        assert not target.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        drawing.keep("cam1/a.jpg", np.zeros((8, 4, 3), np.uint8))
    assert not (tmp_path / "cam1" / "a.jpg").exists()
    monkeypatch.setattr(Path, "replace", replace)
    drawing.keep("cam1/a.jpg", np.zeros((8, 4, 3), np.uint8))
    assert (tmp_path / "cam1" / "a.jpg").exists()


@pytest.mark.parametrize(("layout", "people"), [("sysu", 101), ("llcm", 2)])
def test_people_to_validate_on_are_added_where_the_layout_has_a_place_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], layout: str, people: int
) -> None:
    monkeypatch.setattr(files, "draw_crop", lambda *_: np.zeros((32, 16, 3), np.uint8))
    small = ["--train", "1", "--test", "1", "--per-camera", "1", "--height", "32", "--width", "16"]
    assert cli.main(["synth", "crops", "--out", str(tmp_path / "new"), "--layout", layout, *small]) == 0
    assert f"crops of {people} people" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["crops", "site"])
def test_a_folder_of_a_name_too_long_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    assert cli.main(["synth", what, "--out", str(tmp_path / ("x" * 300))]) == ConfigError.exit_code
    message = capsys.readouterr().err
    assert "File name too long" in message
    assert message.count("\n") == 1
