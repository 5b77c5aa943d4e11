"""Reading a checkpoint file runs no code in it, and says what is wrong with it."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path

import pytest
import torch

from cmnas_edge.errors import BundleError, ConfigError
from tests.train.reference import osnet_state, write
from train.networks.importers import from_torchreid, read_state


class Payload:
    """Would make a folder if a reader ran it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return os.mkdir, (self.path,)


def test_a_file_that_carries_code_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    torch.save({"state_dict": Payload(ran)}, tmp_path / "a")
    (tmp_path / "b").write_bytes(pickle.dumps(Payload(ran), protocol=2))
    for name in ("a", "b"):
        with pytest.raises(BundleError, match=r"expected tensors only, found posix\.mkdir, which could run code"):
            read_state(tmp_path / name)
    assert not ran.exists()


@pytest.mark.parametrize("content", [
    b"", b"\x80", b"PK\x03\x04 nothing", bytes(range(256)) * 8, b"hello there", pickle.dumps([1], 5)])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(BundleError, match="copy it again"):
            read_state(path)
    assert said == []


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", osnet_state())
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(BundleError, match="copy it again"):
        from_torchreid(path)


@pytest.mark.parametrize(("content", "sentence"), [
    ([1, 2], "found list"), ({}, "found dict"), ({"state_dict": 3}, "found int"),
    ({"model": {"a": torch.zeros(1)}, "epoch": 3}, "other things at model, epoch"),
    ({3: torch.zeros(1)}, "other things at 3; give the file of a state_dict itself, or one under 'state_dict'")])
def test_a_file_without_a_state_dict_says_what_was_found(
    tmp_path: Path, content: object, sentence: str
) -> None:
    with pytest.raises(BundleError, match=sentence):
        read_state(write(tmp_path / "a", content), "state_dict")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found no such file"):
        read_state(tmp_path / "none")
    with pytest.raises(ConfigError, match="found a folder"):
        read_state(tmp_path)
    with pytest.raises(BundleError, match=r"other things at epoch; give the file of a state_dict itself$"):
        read_state(write(tmp_path / "a", {"epoch": 3}))
