"""What docs/identity.md says of days is what was measured last, and its picture is drawn of the same rows."""

from __future__ import annotations

from pathlib import Path

import cv2

from benchmarks import identity


def test_the_table_is_that_of_the_rows() -> None:
    table = f"{identity._BEGIN}\n{identity.report()}\n{identity._END}"
    assert table in identity._DOCUMENT.read_text("utf-8"), "run: python -m benchmarks.identity --report"


def test_the_picture_has_a_panel_for_each_day(tmp_path: Path) -> None:
    identity.picture(tmp_path / "days.png")
    image = cv2.imread(str(tmp_path / "days.png"))
    assert image is not None
    assert image.shape[1] / image.shape[0] > 0.9 * len(identity.last())
