"""Packing an embedding moves it no further than rounding can."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cmnas_edge.embedding import F32, PACKINGS, Packing, pack, packed_size, unit, unpack

finite = st.floats(-1e6, 1e6, width=32).filter(lambda v: v == 0 or abs(v) > 1e-6)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=32)
rows = hnp.arrays(np.float32, shapes, elements=finite).filter(lambda x: bool((np.abs(x).max(1) > 0).all()))


@given(rows)
def test_every_row_has_length_one_and_keeps_its_direction(x: F32) -> None:
    u = unit(x)
    assert u.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(u.astype(np.float64), axis=1), 1, atol=1e-6)
    cosine = (u * x.astype(np.float64)).sum(1) / np.linalg.norm(x.astype(np.float64), axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-6)


def test_huge_and_tiny_rows_keep_their_direction() -> None:
    x = np.array([[3e30, 4e30], [3e-30, 4e-30]], np.float32)
    np.testing.assert_allclose(unit(x), [[0.6, 0.8]] * 2, rtol=1e-6)


@pytest.mark.parametrize("x", [
    np.zeros((1, 4)), np.full((1, 4), np.nan), np.full((1, 4), np.inf), np.ones(4),
], ids=["zero", "not a number", "infinite", "flat"])
def test_a_row_without_direction_is_refused(x: F32) -> None:
    with pytest.raises(ValueError, match="expected"):
        unit(x.astype(np.float32))


@given(rows, st.sampled_from(PACKINGS))
def test_packing_moves_an_embedding_no_further_than_rounding_can(x: F32, packing: Packing) -> None:
    u = unit(x)
    d = u.shape[1]
    packed = pack(u, packing)
    assert {len(row) for row in packed} == {packed_size(packing, d)}
    moved = np.abs(unpack(packed, packing, d).astype(np.float64) - u)
    # fp16 has 11 significant bits, and steps of 2**-24 below 2**-14; an int8 step is max|x| / 127, and
    # its float32 scale and product each round once more.
    half = np.maximum(np.abs(u) * 2.0**-11, 2.0**-25)
    bound = half if packing == "fp16" else np.abs(u).max(1)[:, None] / 253.9
    assert (moved <= bound).all()


@given(st.binary(max_size=40), st.sampled_from(PACKINGS))
@example(b"\x00\x00\x00}" + b"\x7f" * 8, "int8")  # a scale so large that the entries overflow
def test_a_byte_string_of_another_length_is_refused(data: bytes, packing: Packing) -> None:
    if len(data) == packed_size(packing, 8):
        assert unpack([data], packing, 8).shape == (1, 8)
    else:
        with pytest.raises(ValueError, match="expected"):
            unpack([data], packing, 8)


def test_nothing_packs_to_nothing() -> None:
    assert pack(np.empty((0, 8), np.float32), "int8") == []
    assert unpack([], "fp16", 8).shape == (0, 8)
