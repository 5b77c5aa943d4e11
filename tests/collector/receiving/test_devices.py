"""A device is who its token says, and nobody can read the tokens back."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cmnas_edge import private
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.errors import ConfigError, DiskFull
from cmnas_edge.private import write_private


def test_a_token_names_its_device_and_no_other_text_does(tmp_path: Path) -> None:
    devices = Devices(tmp_path)
    gate, yard = devices.enrol("gate"), devices.enrol("yard")
    assert devices.recognise(gate) == "gate"
    assert devices.recognise(yard) == "yard"
    for wrong in ("", "gate", gate[:-1], gate + "x", gate.upper(), "\ud800"):
        assert devices.recognise(wrong) is None


def test_tokens_carry_256_bits_and_are_not_kept(tmp_path: Path) -> None:
    token = Devices(tmp_path).enrol("gate")
    assert len(token.removeprefix("cmnas_")) == 43     # 32 bytes in base64 without padding
    kept = (tmp_path / "devices.json").read_text()
    assert token not in kept
    assert token.removeprefix("cmnas_") not in kept
    assert stat.S_IMODE((tmp_path / "devices.json").stat().st_mode) == 0o600


def test_a_device_enrolled_meanwhile_is_known_without_a_restart(tmp_path: Path) -> None:
    running = Devices(tmp_path)
    assert running.known() == []
    token = Devices(tmp_path).enrol("gate")
    assert running.recognise(token) == "gate"


def test_a_name_enrolled_twice_is_refused_unless_the_token_is_to_be_replaced(tmp_path: Path) -> None:
    devices = Devices(tmp_path)
    old = devices.enrol("gate")
    with pytest.raises(ConfigError, match=r"'gate' is enrolled already.*--rotate"):
        devices.enrol("gate")
    assert devices.recognise(old) == "gate"
    new = devices.enrol("gate", rotate=True)
    assert devices.recognise(new) == "gate"
    assert devices.recognise(old) is None
    assert [device.name for device in devices.known()] == ["gate"]


@pytest.mark.parametrize("name", ["", "-x", "a/b", "a\nb", "x" * 65, "é"])
def test_a_name_that_a_sighting_could_not_carry_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="device name"):
        Devices(tmp_path).enrol(name)


def test_a_file_that_others_can_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    Devices(tmp_path).enrol("gate")
    path = tmp_path / "devices.json"
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="0600, found 0644"):
        Devices(tmp_path).known()
    path.chmod(0o600)
    path.write_bytes(b"{")
    with pytest.raises(ConfigError, match="expected the list of enrolled devices"):
        Devices(tmp_path).known()


def test_a_name_that_differs_only_in_case_is_refused(tmp_path: Path) -> None:
    devices = Devices(tmp_path)
    devices.enrol("gate")
    with pytest.raises(ConfigError, match="only in upper and lower case"):
        devices.enrol("Gate", rotate=True)
    assert [device.name for device in devices.known()] == ["gate"]


def test_a_data_folder_that_is_none_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file: expected a folder"):
        Devices(tmp_path / "file").enrol("gate")
    with pytest.raises(ConfigError, match="expected a folder"):
        Devices(tmp_path / "file").known()
    (tmp_path / "devices.json").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="directory"):
        Devices(tmp_path).known()


def test_a_full_disk_refuses_a_device_and_keeps_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices(tmp_path)
    token = devices.enrol("gate")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no room for the list of devices"):
        devices.enrol("yard")
    assert devices.recognise(token) == "gate"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["devices.json", "devices.lock"]


def test_a_private_file_is_readable_as_a_secret_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "gate.token"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new\n")
    assert private.read_secret(path) == "new"
    assert [child.name for child in tmp_path.iterdir()] == ["gate.token"]
