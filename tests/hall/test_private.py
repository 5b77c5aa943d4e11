"""Secrets are read from files that are their owner's alone, and from nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cmnas_edge import private
from cmnas_edge.errors import ConfigError


def test_a_secret_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="expected mode 0600, found 0640") as caught:
        private.read_secret(path)
    assert "s3cret" not in str(caught.value)
    path.chmod(0o600)
    assert private.read_secret(path) == "s3cret"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="empty"):
        private.read_secret(path)


def test_what_has_no_end_is_no_secret_and_is_not_read(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe, 0o600)
    large.touch(0o600)
    os.truncate(large, 1 << 40)
    for path, says in ((pipe, "found a device or pipe"), (Path("/dev/zero"), "found a device or pipe"),
                       (large, "at most 65536 bytes")):
        with pytest.raises(ConfigError, match=says):
            private.read_secret(path)


def test_a_secret_that_systemd_hands_over_is_read_where_the_file_itself_is_closed(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed = tmp_path / "credentials"
    handed.mkdir()
    own, copy = tmp_path / "gate.token", handed / "gate.token"
    own.write_text("own")
    own.chmod(0o600)
    copy.write_text("copy\n")
    copy.chmod(0o440)    # an access list for one user shows so
    assert private.read_secret(own) == "own", "nothing was handed over"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    assert private.read_secret(own) == "own", "what can be read itself is newer"
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != own and access(path, mode))
    assert private.read_secret(own) == "copy"
    copy.chmod(0o444)
    with pytest.raises(ConfigError, match="expected mode 0600, found 0444"):
        private.read_secret(own)
    copy.unlink()
    assert private.handed(own) == own
