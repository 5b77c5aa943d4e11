"""A site's key turns every vector and no angle between them; another key makes them strangers."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import stat
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.cli import main
from cmnas_edge.embedding import pack, unit, unpack
from cmnas_edge.errors import ConfigError
from cmnas_edge.sighting import key_id
from cmnas_edge.site_key import SiteKey

SECRET = bytes(range(32))
keys = st.binary(min_size=32, max_size=32).map(SiteKey)
seeds = st.integers(0, 2**32 - 1)


def people(seed: int, n: int, d: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32))


def rotation_again(secret: bytes, d: int) -> list[list[float]]:
    """The definition once more, in plain Python: SHAKE-256, Box and Muller, Gram and Schmidt."""
    count = 16 * ((d * d + 1) // 2)
    bits = hashlib.shake_256(b"cmnas-edge site key 1 rotation %d\n" % d + secret).digest(count)
    gaussian: list[float] = []
    for a, b in struct.iter_unpack("<QQ", bits):
        radius = math.sqrt(-2 * math.log(((a >> 11) + 1) / 2**53))
        angle = 2 * math.pi * (b >> 11) / 2**53
        gaussian += [radius * math.cos(angle), radius * math.sin(angle)]
    columns = [[gaussian[row * d + column] for row in range(d)] for column in range(d)]
    found: list[list[float]] = []
    for direction in columns:
        column = direction
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            for other in found:
                along = math.fsum(map(float.__mul__, column, other))
                column = [c - along * o for c, o in zip(column, other, strict=True)]
        length = math.sqrt(math.fsum(c * c for c in column))
        found.append([c / length for c in column])
    return [[found[column][row] for column in range(d)] for row in range(d)]


@settings(max_examples=60)
@given(keys, seeds, st.sampled_from([1, 2, 3, 8, 33, 64]))
def test_turning_keeps_every_cosine(key: SiteKey, seed: int, d: int) -> None:
    x = people(seed, 12, d)
    turned = key.rotation(d).turn(x)
    np.testing.assert_allclose(turned @ turned.T, x @ x.T, atol=1e-6)


@settings(max_examples=60)
@given(keys, st.sampled_from([1, 2, 5, 32]))
def test_the_matrix_is_orthogonal(key: SiteKey, d: int) -> None:
    matrix = key.rotation(d).matrix.astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(d), atol=1e-6)


def test_cosines_of_embeddings_as_long_as_real_ones_are_kept_and_lengths_are_legal() -> None:
    x = people(1, 300, 512)
    turned = SiteKey(SECRET).rotation(512).turn(x)
    np.testing.assert_allclose(turned.astype(np.float64) @ turned.T.astype(np.float64),
                               x.astype(np.float64) @ x.T.astype(np.float64), atol=1e-6)
    assert np.abs(np.linalg.norm(turned.astype(np.float64), axis=1) - 1).max() < 1e-7


@pytest.mark.parametrize("d", [1, 2, 3, 16])
def test_the_matrix_is_the_one_that_is_written_down(d: int) -> None:
    np.testing.assert_allclose(SiteKey(SECRET).rotation(d).matrix, rotation_again(SECRET, d), atol=1e-6)


def test_no_release_gives_a_key_another_number_or_matrix() -> None:
    # From rotation_again and from openssl dgst -shake256 -xoflen 8: a change here orphans every gallery.
    key = SiteKey(SECRET)
    assert key_id(key.transform) == "a8751045bb726aef"
    np.testing.assert_allclose(key.rotation(3).matrix, [
        [-0.4965641, 0.1308419, 0.8580819], [-0.3279482, 0.8870188, -0.3250349], [0.8036629, 0.4428071, 0.3975523]],
        atol=1e-6)


@settings(max_examples=40)
@given(keys, keys, seeds)
def test_another_key_makes_strangers_of_the_same_people(one: SiteKey, other: SiteKey, seed: int) -> None:
    x = people(seed, 64, 64)
    if one.transform == other.transform:
        return
    cosines = (one.rotation(64).turn(x) * other.rotation(64).turn(x)).sum(1)
    # Directions of 64 dimensions under a random rotation: cosines of spread 1/8 around trace/64, itself of spread 1/64.
    assert abs(cosines.mean()) < 0.25
    assert cosines.max() < 0.8


@given(keys, st.integers(0, 255))
def test_keys_of_one_bit_apart_go_by_other_numbers(key: SiteKey, bit: int) -> None:
    other = bytearray(key._secret)
    other[bit // 8] ^= 1 << bit % 8
    assert SiteKey(bytes(other)).transform != key.transform
    assert 0 < key.transform < 2**64


def test_rotations_of_two_keys_have_nothing_in_common() -> None:
    one, other = SiteKey(SECRET).rotation(256).matrix, SiteKey(SECRET[::-1]).rotation(256).matrix
    both = one @ other.T
    # A uniform orthogonal matrix: entries of spread 1/16, the trace of spread 1 (Diaconis and Shahshahani, 1994).
    assert abs(np.trace(both)) < 6
    assert np.abs(both).max() < 6 / 16


@pytest.mark.parametrize("packing", ["fp16", "int8"])
def test_packing_costs_a_turned_vector_no_more_than_another(packing: str) -> None:
    x = people(2, 100, 512)
    turned = SiteKey(SECRET).rotation(512).turn(x)
    kept = unpack(pack(turned, packing), packing, 512)  # type: ignore[arg-type]
    # An entry moves by half a step of the scale max|x| / 127; a cosine by about the square of what a vector moves.
    bound = 1e-6 if packing == "fp16" else 512 * (float(np.abs(turned).max()) / 254) ** 2
    assert (1 - (unit(kept) * turned).sum(1)).max() < bound


def test_nobody_is_turned_into_nobody() -> None:
    assert SiteKey(SECRET).rotation(8).turn(np.zeros((0, 8), np.float32)).shape == (0, 8)


def test_a_key_is_drawn_once_and_is_its_owners_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site.key"
    assert main(["key", "make", str(path)]) == 0
    made = capsys.readouterr()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert main(["key", "show", str(path)]) == 0
    assert capsys.readouterr().out == made.out
    assert key_id(SiteKey.load(path).transform) in made.out
    assert path.read_text().split()[1] not in made.out
    before = path.read_bytes()
    assert main(["key", "make", str(path)]) == 78
    assert "expected no file yet, found one" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["key", "make", str(tmp_path / "other.key")]) == 0
    assert SiteKey.load(tmp_path / "other.key").transform != SiteKey.load(path).transform


@pytest.mark.parametrize(("what", "says"), [
    ("none", "expected a file with a secret"), ("open", "expected mode 0600, found 0644"), ("empty", "empty file"),
    ("token", "expected a site key, found something else"), ("short", "expected a site key"),
    ("nowhere", "name another file")])
def test_a_key_that_cannot_be_used_is_one_sentence(
        what: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, action = tmp_path / "site.key", "show"
    SiteKey.make(path)
    match what:
        case "none":
            path.unlink()
        case "open":
            path.chmod(0o644)
        case "empty":
            path.write_text("")
        case "token":
            path.write_text("cmnas_" + "s" * 40)
        case "short":
            path.write_text(path.read_text()[:-2])
        case _:
            path, action = tmp_path / "none" / "site.key", "make"
    assert main(["key", action, str(path)]) == 78
    said = capsys.readouterr()
    assert says in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_an_error_about_a_key_never_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    path.write_text("cmnas-site-key-1 " + "ab" * 31)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        SiteKey.load(path)
    assert "abab" not in str(caught.value)


def test_a_full_disk_leaves_no_piece_of_a_key_and_says_that_waiting_may_help(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["key", "make", str(tmp_path / "site.key")]) == 75
    assert "found a full disk; free some space" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
