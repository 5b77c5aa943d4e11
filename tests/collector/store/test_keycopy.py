"""The copy of the keys follows the keys, and nothing else takes their place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cmnas_edge.collector.store.keycopy import KeyCopy
from cmnas_edge.collector.store.keys import Keys


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def kept_up(keys: Keys, folder: Path) -> KeyCopy:
    copy = KeyCopy(keys, folder)
    copy.keep_up()
    copy.close(30)
    return copy


def test_keys_that_come_are_copied_and_keys_that_go_are_gone_there_too_and_the_master_key_never_comes(
        tmp_path: Path) -> None:
    keys, folder = Keys(tmp_path / "keys"), tmp_path / "elsewhere" / "keys"
    for day in (1, 2):
        keys.seal(day, b"x" * 64, b"")
    (keys.folder / "receipts.jsonl").write_text("{}\n")
    assert kept_up(keys, folder).trouble == ""
    assert names(folder) == {"day-1970-01-02.key", "day-1970-01-03.key", "receipts.jsonl"}
    there = (folder / "day-1970-01-02.key").read_bytes()
    assert there == (keys.folder / "day-1970-01-02.key").read_bytes()
    keys.drop(1)
    assert kept_up(keys, folder).trouble == ""
    assert names(folder) == {"day-1970-01-03.key", "dropped", "receipts.jsonl"}
    assert not any(there in path.read_bytes() for path in folder.iterdir())


def test_a_machine_that_began_anew_takes_nothing_from_the_copy_of_the_one_before(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys, folder = Keys(tmp_path / "keys"), tmp_path / "copy"
    for day in (1, 2):
        keys.seal(day, b"x" * 64, b"")
    kept_up(keys, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fresh = Keys(tmp_path / "new")
    for _ in range(2):
        assert "before it began anew: restore from it" in kept_up(fresh, folder).trouble
        assert "restore from it, or name another folder" in caplog.text
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        fresh.seal(2, b"x" * 64, b"")       # a day of the same name is not the same day
    keys.drop(1)
    keys.drop(2)
    kept_up(keys, folder)
    assert "cannot be kept up" in kept_up(Keys(tmp_path / "third"), folder).trouble     # which days were dropped
    assert names(folder) == {"dropped"}


def test_a_copy_that_cannot_be_written_is_told_of_until_it_can(tmp_path: Path) -> None:
    keys, folder = Keys(tmp_path / "keys"), tmp_path / "copy"
    folder.write_text("a file")
    keys.seal(1, b"x" * 64, b"")
    copy = kept_up(keys, folder)
    assert copy.trouble.startswith(f"keys_copy: {folder} cannot be kept up")
    folder.unlink()
    copy.keep_up()
    copy.close(30)
    assert copy.trouble == ""
    assert names(folder) == {"day-1970-01-02.key"}


def test_a_copy_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    keys, folder = Keys(tmp_path / "keys"), tmp_path / "copy"
    folder.mkdir()
    keys.seal(1, b"x" * 64, b"")
    os.mkfifo(folder / "dropped")       # reading it waits for a writer
    copy = KeyCopy(keys, folder)
    for _ in range(3):
        copy.keep_up()
    copy.close(0.01)
    assert copy._thread is not None
    assert copy._thread.is_alive()
    with (folder / "dropped").open("wb"):
        (folder / "dropped").unlink()
    copy.close(30)
    assert not copy._thread.is_alive()
