"""Whoever packs bundles keeps a key, and signs with it what cameras are to use."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

import export.signing
from cmnas_edge.bundle import SIGNATURE, Bundle, Trust, open_trusted
from export.__main__ import main
from tests.tiny_bundle import copy_tiny


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["keygen", str(tmp_path / "packer.pem")]) == 0
    return tmp_path / "packer.pem"


def test_a_key_is_its_owners_alone_and_its_public_half_is_printed_to_be_pinned(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "packer.pem"
    assert main(["keygen", str(path)]) == 0
    said = capsys.readouterr().out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().splitlines()[1] not in said
    bundle = copy_tiny(tmp_path)
    assert main(["sign", str(bundle), "--key", str(path)]) == 0
    (signer,) = Bundle.open(bundle).signers
    assert f'keys = ["{signer}"]' in said
    assert open_trusted(bundle, Trust(keys=(signer,))).signers == (signer,)


def test_a_key_that_is_there_is_never_overwritten(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = key.read_bytes()
    assert main(["keygen", str(key)]) == 78
    assert "expected no file yet, found one" in capsys.readouterr().err
    assert key.read_bytes() == before


def test_signing_again_renews_a_signature_and_another_key_adds_one(tmp_path: Path, key: Path) -> None:
    bundle, other = copy_tiny(tmp_path), tmp_path / "other.pem"
    assert main(["keygen", str(other)]) == 0
    for each in (key, other, key):
        assert main(["sign", str(bundle), "--key", str(each)]) == 0
    assert len(Bundle.open(bundle).signers) == 2
    assert stat.S_IMODE((bundle / SIGNATURE).stat().st_mode) == 0o644


def test_two_who_sign_at_once_both_have_signed(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, other = copy_tiny(tmp_path), tmp_path / "other.pem"
    assert main(["keygen", str(other)]) == 0
    second = threading.Thread(target=export.signing.sign, args=(bundle, other))
    honest = export.signing.write_private

    def slow(path: Path, data: bytes) -> None:
        if second.ident is None:
            second.start()
            second.join(0.3)    # who did not wait for us is done by then, and what he wrote is lost below
        honest(path, data)

    monkeypatch.setattr(export.signing, "write_private", slow)
    assert main(["sign", str(bundle), "--key", str(key)]) == 0
    second.join()
    assert len(Bundle.open(bundle).signers) == 2


def test_a_key_that_others_can_read_signs_nothing(
        tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = copy_tiny(tmp_path)
    key.chmod(0o640)
    assert main(["sign", str(bundle), "--key", str(key)]) == 78
    assert "expected mode 0600, found 0640" in capsys.readouterr().err
    assert not (bundle / SIGNATURE).exists()


@pytest.mark.parametrize(("what", "code", "says"), [
    ("no key", 78, "expected a file with a secret"), ("text for a key", 78, "expected an Ed25519 key"),
    ("no bundle", 65, "expected a bundle"), ("damaged bundle", 65, "weights.bin"), ("no folder", 78, "name another"),
    ("ninth signer", 65, "at most 8 signers")])
def test_what_cannot_be_signed_or_kept_is_one_sentence(
        what: str, code: int, says: str, tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = copy_tiny(tmp_path)
    words = ["sign", str(bundle), "--key", str(key)]
    match what:
        case "no key":
            key.unlink()
        case "text for a key":
            key.write_text("open sesame")
        case "no bundle":
            words[1] = str(tmp_path / "none")
        case "damaged bundle":
            (bundle / "weights.bin").write_bytes(b"")
        case "no folder":
            words = ["keygen", str(tmp_path / "none" / "key")]
        case _:
            for number in range(8):
                other = tmp_path / f"{number}.pem"
                assert main(["keygen", str(other)]) == 0
                assert main(["sign", str(bundle), "--key", str(other)]) == 0
    capsys.readouterr()
    assert main(words) == code
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1


def test_a_full_disk_leaves_no_piece_of_a_key_or_signature_and_says_that_waiting_may_help(
        tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    bundle, other = copy_tiny(tmp_path), tmp_path / "other.pem"
    before = sorted(bundle.iterdir())
    monkeypatch.setattr(os, "fsync", full)
    for words in (["keygen", str(other)], ["sign", str(bundle), "--key", str(key)]):
        assert main(words) == 75
        assert "found a full disk; free some space" in capsys.readouterr().err
    assert not other.exists()
    assert sorted(bundle.iterdir()) == before


def test_a_file_that_is_no_signature_can_be_removed_and_the_bundle_signed_as_the_refusal_says(
        tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = copy_tiny(tmp_path)
    (bundle / SIGNATURE).write_text("garbage\n")
    words = ["sign", str(bundle), "--key", str(key)]
    assert main(words) == 65
    assert "remove the file and sign again" in capsys.readouterr().err
    (bundle / SIGNATURE).unlink()
    assert main(words) == 0
