"""What lies about where a backup is made or restored does no harm: logs, links, secrets, halves of earlier tries."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cmnas_edge.collector.store.backup import back_up
from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.journal import RESTORING, Journal
from cmnas_edge.collector.store.keycopy import KeyCopy
from cmnas_edge.collector.store.keys import DAY_S
from cmnas_edge.collector.store.restoring import restore
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.errors import ConfigError
from tests.collector.store.test_backup import filled

NOW = 103 * DAY_S


def back(data: Path, to: Path, keys: Path | None = None) -> set[str]:
    return set(back_up(data, to, keys or data / "keys", clock=lambda: NOW).files)


@pytest.mark.parametrize("name", ["journal.sqlite-wal", "journal.sqlite-journal", "access.sqlite-wal"])
def test_a_log_that_was_left_behind_is_not_taken_for_the_restored_files(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    journal = filled(data)
    (data / "access.sqlite").write_bytes(b"of people")
    back(data, tmp_path / "backup")
    upkeep = Upkeep(journal, retention_h=1000, clock=lambda: NOW)
    shutil.copytree(data, tmp_path / "killed")      # its log still has what is erased below
    shutil.rmtree(tmp_path / "killed" / "keys")
    upkeep.begin(Selection(device="gate"), "grace", "asked")
    upkeep.finish()
    journal.close()
    for path in (tmp_path / "killed").iterdir():
        if path.name in ("journal.sqlite", "access.sqlite") or path.name.endswith("-wal"):
            path.rename(tmp_path / "killed" / name) if path.name.endswith("-wal") else path.unlink()
    with pytest.raises(ConfigError, match=f"{name}: expected no log of a file that is not there"):
        restore(tmp_path / "backup", tmp_path / "killed", data / "keys", retention_h=1000, clock=lambda: NOW)
    assert not (tmp_path / "killed" / "journal.sqlite").exists()
    (tmp_path / "killed" / name).unlink()
    done = restore(tmp_path / "backup", tmp_path / "killed", data / "keys", retention_h=1000, clock=lambda: NOW)
    assert (done.sightings, done.kept) == (12, 0)


def test_no_secret_goes_along_wherever_it_lies(tmp_path: Path) -> None:
    data = tmp_path / "data"
    filled(data, range(100, 101)).close()
    for path in (data / "keys").iterdir():      # against advice
        shutil.copy(path, data / path.name)
    shutil.copy(data / "keys" / "master.key", data / "wraps")
    shutil.copy(data / "keys" / "day-1970-04-11.key", data / "yesterday")
    (data / "seal.pem").write_bytes(b"# of the gate\n-----BEGIN EC PRIVATE KEY-----\nMHc=\n")
    (data / "tls.key").write_bytes(bytes(100))      # as DER
    (data / "authority.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nMHc=\n-----END CERTIFICATE-----\n")
    (data / "devices.json").write_bytes(b"[]\n")
    assert back(data, tmp_path / "backup") == {"journal.sqlite", "devices.json", "authority.pem"}
    secret = (data / "keys" / "master.key").read_bytes().split()[1]
    assert not [path for path in (tmp_path / "backup").iterdir() if secret in path.read_bytes()]


@pytest.mark.parametrize("kind", ["link", "file", "folder within", "another's"])
def test_what_stands_where_a_backup_is_to_be_made_keeps_what_it_holds(tmp_path: Path, kind: str) -> None:
    filled(tmp_path / "data").close()
    partial, precious = tmp_path / ".backup.partial", tmp_path / "precious"
    precious.mkdir()
    (precious / "photographs").write_text("all of them")
    if kind == "link":
        partial.symlink_to(precious)
    elif kind == "file":
        partial.write_text("mine")
    elif kind == "folder within":
        (partial / "within").mkdir(parents=True)
    elif os.geteuid():
        pytest.skip("only root can give a folder away")
    else:
        partial.mkdir()
        os.chown(partial, 4711, 4711)
    with pytest.raises(ConfigError, match=r"partial: expected a folder .*take it away|name another folder"):
        back(tmp_path / "data", tmp_path / "backup")
    assert (precious / "photographs").read_text() == "all of them"
    assert not (tmp_path / "backup").exists()


def test_a_backup_may_be_made_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "data").close()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert back(tmp_path / "data", Path()) == {"journal.sqlite"}
    assert (tmp_path / "here" / "backup.json").is_file()


def test_keys_that_came_half_from_their_copy_are_fetched_again_and_anothers_are_left_alone(tmp_path: Path) -> None:
    data, keys, copy = tmp_path / "data", tmp_path / "keys", tmp_path / "copy"
    journal = filled(data)
    keeper = KeyCopy(journal.keys, copy)
    keeper.keep_up()
    keeper.close()
    journal.close()
    back(data, tmp_path / "backup")
    keys.mkdir()
    shutil.copy(data / "keys" / "master.key", keys)
    for name in (".fetching", "day-1970-04-11.key"):    # as killed right then
        shutil.copy(copy / name, keys) if name.startswith("day") else (keys / name).touch()
    done = restore(tmp_path / "backup", tmp_path / "new", keys, retention_h=1000, keys_copy=copy, clock=lambda: NOW)
    assert done.kept == 12
    assert not (keys / ".fetching").exists()
    (keys / ".fetching").touch()
    (keys / "day-1970-04-11.key").write_text("of a collector that began since")
    with pytest.raises(ConfigError, match=r"expected it as in .*copy, where the rest of the keys is, found it changed"):
        restore(tmp_path / "backup", tmp_path / "other", keys, retention_h=1000, keys_copy=copy, clock=lambda: NOW)
    assert (keys / "day-1970-04-11.key").read_text() == "of a collector that began since"


def test_half_a_restore_does_not_outlive_the_next_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / RESTORING).mkdir(parents=True)
    (data / RESTORING / "journal.sqlite").write_text("what may be over by now")
    Journal(data).close()
    assert not (data / RESTORING).exists()


def test_no_two_have_one_folder_of_keys_at_a_time(tmp_path: Path) -> None:
    data, keys = tmp_path / "data", tmp_path / "data" / "keys"
    journal = filled(data)
    back(data, tmp_path / "backup")
    with pytest.raises(ConfigError, match="keys: held by another collector, or by what restores one"):
        Journal(tmp_path / "other", keys=keys)
    with pytest.raises(ConfigError, match="keys: held by another collector, or by what restores one"):
        restore(tmp_path / "backup", tmp_path / "other", keys, retention_h=1000, clock=lambda: NOW)
    journal.close()
    assert restore(tmp_path / "backup", tmp_path / "another", keys, retention_h=1000, clock=lambda: NOW).kept == 12
    Journal(tmp_path / "other", keys=keys).close()
