"""What is sealed opens with one key only, as it was, and costs a known number of bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge import sealing
from cmnas_edge.errors import ConfigError
from cmnas_edge.sealing import Opener, Seal, Sealer
from tests.camera.clock import Clock

KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = KEY.public_key().public_bytes_raw()
OPENER = Opener([OTHER, KEY])


def test_it_is_hpke_as_rfc_9180_gives_it() -> None:
    """Appendix A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode."""
    once = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600"))
    public = bytes.fromhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
    encapsulated = once.public_key().public_bytes_raw()
    assert encapsulated.hex() == "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
    shared = once.exchange(X25519PublicKey.from_public_bytes(public))
    context = sealing._Context.agreed(shared, encapsulated, public, b"Ode on a Grecian Urn")
    plain = b"Beauty is truth, truth beauty"
    assert context.encrypt(0, plain, b"Count-0").hex() == (
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28")
    assert context.encrypt(1, plain, b"Count-1").hex() == (
        "6b53c051e4199c518de79594e1c4ab18b96f081549d45ce015be002090bb119e85285337cc95ba5f59992dc98c")


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_it_opens_as_it_was_and_adds_sixteen_bytes(plain: bytes, beside: bytes) -> None:
    seal, sealed = Sealer(PUBLIC).seal(plain, beside)
    assert len(sealed) == len(plain) + sealing.ADDED_BYTES
    assert (len(seal.key), len(seal.encapsulated)) == (sealing.KEY_BYTES, sealing.ENCAPSULATED_BYTES)
    assert OPENER.open(seal, sealed, beside) == plain


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_breaks_the_seal(at: int, by: int) -> None:
    seal, sealed = Sealer(PUBLIC).seal(b"a vector", b"a camera")
    whole = seal.encapsulated + sealed + b"a camera"
    at %= len(whole)
    changed = whole[:at] + bytes([whole[at] ^ by]) + whole[at + 1:]
    found = OPENER.open(seal._replace(encapsulated=changed[:32]), changed[32:-8], changed[-8:])
    # X25519 ignores the highest bit of a public key, but what is agreed is bound to all its bits.
    assert found is None
    assert OPENER.open(seal._replace(number=seal.number + by), sealed, b"a camera") is None


def test_no_number_is_given_twice_in_a_context_and_contexts_end() -> None:
    clock = Clock()
    sealer = Sealer(PUBLIC, clock=clock)
    seals = [sealer.seal(b"", b"")[0] for _ in range(sealing.MOST_RECORDS + 1)]
    assert len({(seal.encapsulated, seal.number) for seal in seals}) == len(seals)
    assert [seal.number for seal in seals] == [*range(sealing.MOST_RECORDS), 0]
    assert len({seal.encapsulated for seal in seals}) == 2
    clock.now += sealing.LONGEST_S + 1
    assert sealer.seal(b"", b"")[0].encapsulated != seals[-1].encapsulated


def test_equal_vectors_look_different_sealed() -> None:
    sealer = Sealer(PUBLIC)
    assert len({sealer.seal(b"the same vector", b"")[1] for _ in range(300)}) == 300


def test_what_was_sealed_to_another_key_is_told_apart() -> None:
    seal, sealed = Sealer(X25519PrivateKey.generate().public_key().public_bytes_raw()).seal(b"x", b"")
    assert not OPENER.has(seal.key)
    with pytest.raises(KeyError):
        OPENER.open(seal, sealed, b"")


@pytest.mark.parametrize("encapsulated", [bytes(32), b"\1" + bytes(31)], ids=["zero", "of small order"])
def test_a_point_that_would_make_a_known_secret_opens_nothing(encapsulated: bytes) -> None:
    seal, sealed = Sealer(PUBLIC).seal(b"x", b"")
    assert OPENER.open(Seal(seal.key, encapsulated, 0), sealed, b"") is None
    with pytest.raises(ConfigError, match="a key nothing can be sealed to"):
        Sealer(encapsulated)


def test_a_collector_remembers_contexts_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_REMEMBERED", 3)
    opener = Opener([KEY])
    sealed = [Sealer(PUBLIC).seal(b"%d" % number, b"") for number in range(5)]
    for _ in range(2):
        for number, (seal, data) in enumerate(sealed):
            assert opener.open(seal, data, b"") == b"%d" % number
    assert len(opener._contexts) == 3


def test_a_key_is_read_from_its_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "seal.pem"
    path.write_bytes(sealing.new_key())
    path.chmod(0o600)
    seal, sealed = Sealer(bytes.fromhex(sealing.public_key(path))).seal(b"x", b"y")
    assert Opener.read([path]).open(seal, sealed, b"y") == b"x"
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="mode 0600"):
        Opener.read([path])
    path.write_text("-----BEGIN PRIVATE KEY-----\nno\n-----END PRIVATE KEY-----\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="expected a key that 'cmnas-edge collector seal-key' made"):
        sealing.public_key(path)
