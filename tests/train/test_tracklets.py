"""A folder of tracklets has each recording whole or not at all, and reads as pictures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmnas_edge.errors import ConfigError
from train.data import private, tracklets
from train.data.footage import Made, Tracklet
from train.data.tracklets import Tracklets

MADE = Made("motion", "auto", 8, 20, 10)


def test_a_folder_made_by_hand_is_read_and_what_was_deleted_is_not_missed(tmp_path: Path) -> None:
    for name in ("b/visible/anna/1.png", "b/infrared/anna/1.JPG", "a/visible/7/2.bmp", "a/visible/7/1.jpeg",
                 "a/visible/empty/notes.txt", ".x.part/visible/1/1.jpg", "a/visible/7/.hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pictures = tracklets.read(tmp_path)
    assert pictures.paths == ("a/visible/7/1.jpeg", "a/visible/7/2.bmp", "b/visible/anna/1.png",
                              "b/infrared/anna/1.JPG")
    assert pictures.identity.tolist() == [0, 0, 1, 2]
    assert pictures.camera.tolist() == [1, 1, 2, 2]
    assert pictures.infrared.tolist() == [False, False, False, True]


def test_a_folder_without_such_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"CAMERA/visible\|infrared/TRACKLET"):
        tracklets.read(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        tracklets.read(tmp_path / "none")


def add(folder: Path, camera: str) -> None:
    """A recording with two tracklets of two pictures each."""
    with Tracklets(folder, MADE) as out, out.recording(camera) as recording:
        for number in (1, 2):
            one = Tracklet(camera, number, "visible", 0.0, 1.0, 0.5, (3, 8), (0.3, 0.8), ((0, 0, 5, 9), (1, 0, 6, 9)))
            recording.add(one, np.full((2, 20, 10, 3), 50 * number, np.uint8))
        recording.keep(f"{camera}.avi", "abc", 10)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Died(BaseException):
    """Nobody catches it, as nobody catches a kill."""


def test_a_process_that_dies_at_any_write_leaves_a_folder_to_go_on_with(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole"
    add(whole, "first")
    one = tree(whole)
    add(whole, "second")
    both = tree(whole)
    died = 0
    for before in (None, "first"):
        for step in range(1, 100):
            folder = tmp_path / f"{before}-{step}"
            if before:
                add(folder, before)
            count = 0

            def dying(real: Callable[..., Any], step: int = step) -> Callable[..., Any]:
                def call(*args: Any) -> Any:
                    nonlocal count
                    count += 1
                    if count == step:
                        raise Died
                    return real(*args)
                return call

            with monkeypatch.context() as patch:
                patch.setattr(private, "put", dying(private.put))
                patch.setattr(Path, "replace", dying(Path.replace))
                patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # the dead clean nothing up
                try:
                    add(folder, "second" if before else "first")
                    break
                except Died:
                    died += 1
            if before:  # what was done is whole, whatever the state of the rest
                assert one.items() - tree(folder).items() <= {(name, one[name]) for name in (
                    "tracklets.jsonl", "from_video.json")}
                with Tracklets(folder, MADE) as out:
                    done = set(out.footage)
                assert "first" in done
                if "second" in done:
                    assert tree(folder) == both
                    continue
            add(folder, "second" if before else "first")
            assert tree(folder) == (both if before else one)
    # Two files begun with, four pictures, the folder in its place, two lists of two writes each; twice.
    assert died == 2 * (2 + 4 + 1 + 4)


def test_a_recording_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    out = Tracklets(tmp_path, MADE)
    with out.recording("gate") as recording:
        recording.add(Tracklet("gate", 1, "infrared", 0, 1, 1, (1,), (0.1,), ((0, 0, 1, 1),)),
                      np.zeros((1, 20, 10, 3), np.uint8))
        assert list(tmp_path.rglob("000001.jpg"))
    assert [path.name for path in tmp_path.iterdir()] == ["from_video.json"]
    assert not out.tracklets()


def test_a_folder_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Tracklets(tmp_path, MADE).close()
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_what_a_killed_process_had_begun_is_cleared_away(tmp_path: Path) -> None:
    add(tmp_path, "first")
    before = tree(tmp_path)
    (tmp_path / ".second.part" / "visible").mkdir(parents=True)
    (tmp_path / ".second.part" / "visible" / "1.jpg").touch()
    (tmp_path / ".tracklets.jsonl.part").touch()
    Tracklets(tmp_path, MADE).close()
    assert tree(tmp_path) == before
    assert not (tmp_path / ".second.part").exists()


def test_a_second_process_in_the_same_folder_is_refused_and_takes_nothing_away(tmp_path: Path) -> None:
    with Tracklets(tmp_path, MADE) as out, out.recording("gate") as recording:
        one = Tracklet("gate", 1, "visible", 0.0, 1.0, 0.5, (3,), (0.3,), ((0, 0, 5, 9),))
        recording.add(one, np.zeros((1, 20, 10, 3), np.uint8))
        before = tree(tmp_path)
        with pytest.raises(ConfigError, match="found another from-video at work in it; wait until it is done"):
            Tracklets(tmp_path, MADE)
        assert tree(tmp_path) == before
        recording.keep("gate.avi", "abc", 10)
    with Tracklets(tmp_path, MADE) as later:
        assert set(later.footage) == {"gate"}


def test_a_folder_that_was_there_before_is_not_removed_when_nobody_was_seen(tmp_path: Path) -> None:
    mine, link, fresh = tmp_path / "mine", tmp_path / "link", tmp_path / "fresh"
    mine.mkdir()
    link.symlink_to(mine)
    for folder in (mine, link, fresh):
        with Tracklets(folder, MADE) as out:
            with out.recording("gate") as recording:
                recording.keep("gate.avi", "abc", 10)
            if folder == link:
                (mine / "gate" / "notes.txt").write_text("mine")
            out.forget()
    assert not fresh.exists()
    assert link.is_symlink()
    assert tree(mine) == {"gate/notes.txt": b"mine"}
