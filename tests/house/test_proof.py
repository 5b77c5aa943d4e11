"""What a proof saw stands in its row, in full: how often it was done, and every figure it recorded."""

from __future__ import annotations

import ast
from pathlib import Path

from benchmarks.records import commit
from tests.proof import KILLS, row

TESTS = Path(__file__).parents[1]


def test_a_row_tells_how_often_it_was_done_and_every_figure() -> None:
    kept = row("tests/a.py::b", [("kills", 500), ("age_p99_ms", 41.5), ("reader", "opencv")], "passed", 12.34, 5)
    assert kept["kills"] == 500
    assert kept["commit"] == commit()
    assert kept["figures"] == {"age_p99_ms": 41.5, "reader": "opencv"}
    assert (kept["test"], kept["outcome"], kept["seconds"], kept["examples"]) == ("tests/a.py::b", "passed", 12.3, 5)


def test_who_recorded_nothing_did_as_many_as_all_do() -> None:
    kept = row("tests/a.py::b", [], "failed", 1.0, 5)
    assert kept["kills"] == KILLS
    assert "figures" not in kept


def test_who_tried_another_number_of_examples_says_so() -> None:
    assert row("tests/a.py::b", [("examples", 1000)] * 3, "passed", 1.0, 5000)["examples"] == 1000


def test_no_proof_says_one_number_of_examples_for_every_day_and_for_the_proof() -> None:
    """``max_examples=25`` beside the mark would hold in ``make prove``, too; `tests.proof.examples` says two."""
    laws, fixed = 0, []
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and any("mark.prove" in ast.unparse(by) for by in node.decorator_list):
                counts = [word.value for by in ast.walk(node) if isinstance(by, ast.Call)
                          and ast.unparse(by.func) == "settings" for word in by.keywords if word.arg == "max_examples"]
                laws += len(counts)
                fixed += [f"{path.name}::{node.name}" for count in counts if isinstance(count, ast.Constant)]
    assert laws >= 5, "it looks where they are"
    assert not fixed
