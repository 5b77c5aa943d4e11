"""A bundle is used if a pinned key signed it, if it came with the package, or if the settings say so in words."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.bundle import SIGNATURE, Bundle, Trust, default_path, open_trusted, seal, voucher
from cmnas_edge.bundle.signature import new_key, public_key, signed_by
from cmnas_edge.cli import main
from cmnas_edge.errors import BundleError, ConfigError, DeviceError
from tests.tiny_bundle import copy_tiny, reseal

OURS, THEIRS = new_key(), new_key()


def sign(bundle: Path, *keys: bytes) -> Path:
    manifest = (bundle / "manifest.json").read_bytes()
    (bundle / SIGNATURE).write_text("".join(signed_by(key, manifest) for key in keys))
    return bundle


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return copy_tiny(tmp_path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sign(copy_tiny(tmp_path_factory.mktemp("signed")), OURS, THEIRS)


def trusting(*keys: bytes, **more: bool) -> Trust:
    return Trust(keys=tuple(map(public_key, keys)), **more)


def refuse(bundle: Path, trust: Trust, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        open_trusted(bundle, trust)
    for word in words:
        assert word in str(caught.value)


@settings(max_examples=300)
@given(st.data())
def test_a_changed_byte_in_any_file_of_a_signed_bundle_is_refused(scratch: Path, data: st.DataObject) -> None:
    names = sorted(path.relative_to(scratch).as_posix() for path in scratch.rglob("*") if path.is_file())
    assert SIGNATURE in names
    path = scratch / data.draw(st.sampled_from([SIGNATURE, "manifest.json", *names]))
    original = path.read_bytes()
    at, change = data.draw(st.integers(0, len(original) - 1)), data.draw(st.integers(1, 255))
    path.write_bytes(original[:at] + bytes([original[at] ^ change]) + original[at + 1:])
    try:
        refuse(scratch, trusting(OURS, allow_unsigned_bundle=True), path.name)
    finally:
        path.write_bytes(original)
    open_trusted(scratch, trusting(OURS))


@settings(max_examples=100)
@given(st.data())
def test_a_forger_who_makes_every_digest_agree_is_refused_by_the_signature(scratch: Path, data: st.DataObject) -> None:
    kept = {path: path.read_bytes() for path in scratch.rglob("*") if path.is_file()}
    path = data.draw(st.sampled_from([path for path in sorted(kept) if not path.name.startswith("manifest.")]))
    at, change = data.draw(st.integers(0, len(kept[path]) - 1)), data.draw(st.integers(1, 255))
    path.write_bytes(kept[path][:at] + bytes([kept[path][at] ^ change]) + kept[path][at + 1:])
    try:
        reseal(scratch)
        refuse(scratch, trusting(OURS, allow_unsigned_bundle=True), SIGNATURE, "was changed")
    finally:
        for other, content in kept.items():
            other.write_bytes(content)


def test_a_pinned_key_among_the_signers_is_enough(tiny: Path) -> None:
    sign(tiny, THEIRS, OURS)
    bundle = open_trusted(tiny, trusting(OURS))
    assert bundle.signers == (public_key(THEIRS), public_key(OURS))
    assert voucher(bundle, trusting(THEIRS)) == voucher(bundle, trusting(OURS)) == "signed"


def test_a_bundle_signed_by_a_stranger_is_refused_even_where_unsigned_ones_are_allowed(tiny: Path) -> None:
    sign(tiny, THEIRS)
    refuse(tiny, trusting(OURS, allow_unsigned_bundle=True), "one of the 1 in [trust] keys", public_key(THEIRS))
    refuse(tiny, Trust(), "one listed in [trust] keys", "do not use this bundle")


def test_a_bundle_nobody_signed_is_refused_unless_the_settings_say_so(tiny: Path) -> None:
    for trust in (Trust(), trusting(OURS)):
        refuse(tiny, trust, "nobody signed", "python -m export sign", "allow_unsigned_bundle = true")
    assert voucher(open_trusted(tiny, Trust(allow_unsigned_bundle=True)), Trust(allow_unsigned_bundle=True)) == "nobody"


def test_the_bundle_of_the_package_needs_no_signature_wherever_it_lies(tmp_path: Path) -> None:
    assert voucher(open_trusted(None, Trust()), Trust()) == "shipped"
    copy = Path(shutil.copytree(default_path(), tmp_path / "copy"))
    assert voucher(open_trusted(copy, trusting(OURS)), trusting(OURS)) == "shipped"
    reseal(copy, lambda manifest: manifest.update(made_by="somebody else"))
    refuse(copy, Trust(), "nobody signed")


def test_an_installation_without_weights_still_knows_whom_it_trusts(
        tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise BundleError("none")

    monkeypatch.setattr("cmnas_edge.bundle.trust.default_path", absent)
    refuse(tiny, Trust(), "nobody signed")
    assert open_trusted(sign(tiny, OURS), trusting(OURS)).signers == (public_key(OURS),)


def test_a_signature_moved_to_another_bundle_holds_no_more(tiny: Path, scratch: Path) -> None:
    shutil.copy(scratch / SIGNATURE, tiny / SIGNATURE)
    reseal(tiny, lambda manifest: manifest.update(name="other"))
    refuse(tiny, trusting(OURS), SIGNATURE, "was changed")


def test_sealing_again_takes_the_signature_away(tiny: Path) -> None:
    bundle = Bundle.open(sign(tiny, OURS))
    assert seal(tiny, bundle.manifest).signers == ()
    assert not (tiny / SIGNATURE).exists()


def test_the_signature_is_that_of_rfc_8032_over_the_context_and_the_manifest(tiny: Path) -> None:
    # RFC 8032, section 7.1, test 1: this secret key has this public key.
    secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    from cryptography.hazmat.primitives import serialization

    pem = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    sign(tiny, pem)
    kind, key, signature = (tiny / SIGNATURE).read_text().split()
    assert (kind, key) == ("ed25519", public)
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(
        bytes.fromhex(signature), b"cmnas-edge bundle manifest 1\n" + (tiny / "manifest.json").read_bytes())
    assert open_trusted(tiny, Trust(keys=(public,))).signers == (public,)


@pytest.mark.parametrize("text", [
    "", "\n", "ed25519\n", f"ed25519 {'0' * 64} {'0' * 128}", f"rsa {'0' * 64} {'0' * 128}\n",
    f"ed25519 {'0' * 63} {'0' * 128}\n", f"ed25519 {'0' * 64} {'0' * 128}\n# ours\n", "\xff\xfe", "\0" * 200])
def test_a_file_that_holds_no_signatures_is_refused(tiny: Path, text: str) -> None:
    (tiny / SIGNATURE).write_bytes(text.encode("latin-1"))
    refuse(tiny, Trust(allow_unsigned_bundle=True), SIGNATURE)


def test_a_line_twice_or_too_many_of_them_are_refused(tiny: Path) -> None:
    refuse(sign(tiny, OURS, OURS), trusting(OURS), "one a signer")
    refuse(sign(tiny, *(new_key() for _ in range(9))), trusting(OURS), SIGNATURE)


def test_a_link_or_folder_in_the_place_of_signatures_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tiny / SIGNATURE).symlink_to(tmp_path / "nowhere")
    refuse(tiny, Trust(allow_unsigned_bundle=True), SIGNATURE, "plain file")
    (tiny / SIGNATURE).unlink()
    (tiny / SIGNATURE).mkdir()
    refuse(tiny, Trust(allow_unsigned_bundle=True), SIGNATURE, "plain file")


def test_a_bundle_that_changed_hands_while_it_was_open_is_the_one_the_link_named_first(
        tiny: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(tiny.name)
    bundle = Bundle.open(link)
    link.unlink()
    link.symlink_to("nowhere")
    assert bundle.path == tiny
    assert bundle.graph("visible").is_file()


def test_without_the_package_a_signed_bundle_is_refused_with_what_brings_it(
        scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(DeviceError, match="pip install cryptography"):
        open_trusted(scratch, trusting(OURS))


@pytest.mark.parametrize("private", [b"", b"no key", OURS.replace(b"PRIVATE", b"PUBLIC")])
def test_what_is_no_key_signs_nothing(private: bytes) -> None:
    with pytest.raises(ConfigError, match="expected an Ed25519 key"):
        signed_by(private, b"")


def test_keys_that_are_none_are_refused_where_they_are_pinned() -> None:
    for key in ("ab", "0" * 65, "0" * 63 + "G", "0" * 64 + "\n"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"keys": [key]}, Trust)


def test_show_and_verify_say_who_signed(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "show", str(tiny)]) == 0
    assert "signed by     nobody; cameras refuse it" in capsys.readouterr().out
    sign(tiny, OURS, THEIRS)
    assert main(["bundle", "show", str(tiny)]) == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("signed by")] == [
        f"signed by     {public_key(OURS)}", f"signed by     {public_key(THEIRS)}"]
    assert main(["bundle", "show"]) == 0
    assert "it is the bundle that ships with this package" in capsys.readouterr().out
