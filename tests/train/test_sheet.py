"""A contact sheet shows every strip, under its name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.sheet import sheet


def flat(level: int, height: int = 20, width: int = 10) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@settings(max_examples=25)
@given(st.integers(1, 20), st.integers(1, 12), st.integers(1, 5))
def test_every_strip_is_on_the_sheet_with_its_first_and_last_picture(strips: int, pictures: int, columns: int) -> None:
    # Each picture has a grey level of its own.
    levels = np.arange(strips * pictures).reshape(strips, pictures) % 250 + 2
    drawn = sheet([("", [flat(level) for level in row]) for row in levels], views=4, height=20, columns=columns)
    seen = set(np.unique(drawn).tolist())
    for row in levels.tolist():
        assert {row[0], row[-1]} <= seen
    shown = min(pictures, 4)
    assert (drawn != 255).all(-1).sum() == strips * shown * 20 * 10


def test_names_stand_above_and_never_run_into_the_next_strip() -> None:
    drawn = sheet([("a name that is much longer than its strip is wide", [flat(9)]), ("b", [flat(9)])], views=1,
                  height=20, columns=2)
    text = (drawn[6:20] < 200).any((0, 2))
    assert text[:16].any()
    assert not text[16:22].any()


def test_pictures_of_any_size_are_shown_and_strips_may_be_empty() -> None:
    drawn = sheet([("a", [flat(1, 300, 50), flat(2, 10, 10)]), ("b", [])], views=2, height=40)
    assert {1, 2} <= set(np.unique(drawn).tolist())


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one strip"):
        sheet([])
    with pytest.raises(ValueError, match="at least one picture"):
        sheet([("a", [])])
