"""What a proof saw stands in its row, in full: how often it was done, and every figure it recorded."""

from __future__ import annotations

from tests.proof import KILLS, row


def test_a_row_tells_how_often_it_was_done_and_every_figure() -> None:
    kept = row("tests/a.py::b", [("kills", 500), ("age_p99_ms", 41.5), ("reader", "opencv")], "passed", 12.34, 5)
    assert kept["kills"] == 500
    assert kept["figures"] == {"age_p99_ms": 41.5, "reader": "opencv"}
    assert (kept["test"], kept["outcome"], kept["seconds"], kept["examples"]) == ("tests/a.py::b", "passed", 12.3, 5)


def test_who_recorded_nothing_did_as_many_as_all_do() -> None:
    kept = row("tests/a.py::b", [], "failed", 1.0, 5)
    assert kept["kills"] == KILLS
    assert "figures" not in kept
