"""A law that is called a proof is tried more often where proofs are made than every day."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


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
