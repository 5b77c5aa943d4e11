"""What the search is compared with holds the same rows, and what is printed of it is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import match, records, stores
from benchmarks.match import drawn, exact, recall


def test_ours_and_numpy_find_what_a_scan_in_double_precision_finds() -> None:
    rows, queries = drawn(1200)
    mask = stores.wanted(rows)
    assert 0.2 < mask.mean() < 0.3
    for filtered in (False, True):
        truth = exact(rows, queries, mask if filtered else None)
        for store in (stores.Ours(rows), stores.Numpy(rows)):
            found = store.search(queries, match.K, filtered)
            assert recall(found, truth) == 1
            assert all(mask[np.array(ids) - 1].all() for ids in found) or not filtered
    scores = queries.astype(np.float64) @ rows.vectors.T.astype(np.float64)
    for query, ids in enumerate(stores.Ours(rows).search(queries, match.K, False)):
        assert (np.array(ids) == np.argsort(-scores[query])[:match.K] + 1).all()


def test_recall_is_the_share_of_the_truth_that_was_found() -> None:
    assert recall([[1, 2, 3, 4], [5, 6, 7, 8]], [[4, 3, 9, 10], [5, 6, 7, 8]]) == 0.75


def test_each_is_held_against_the_read_of_its_own_turn() -> None:
    found = match._summary({0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8, 4: 1.0}, {0: 0.1, 1: 0.1, 2: 0.3, 3: 0.4, 4: 0.1, 5: 9.0})
    assert found == {"ms": 600.0, "p99_ms": pytest.approx(992.0), "to_read": 2.0, "n": 5}


def test_a_run_keeps_and_shows_its_figures_and_who_was_missing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(match, "RESULTS", tmp_path)
    monkeypatch.setattr(match, "lacks", lambda name: "" if name == "numpy float32" else "it is not here")
    monkeypatch.setattr("sys.argv", ["match", "--rows", "700", "--seconds", "0.05"])
    match.main()
    kept = json.loads((tmp_path / "match.jsonl").read_text())
    assert set(kept["stores"]) == {"ours", "numpy float32"}
    assert kept["missing"]["Milvus FLAT"] == "it is not here"
    for each in kept["stores"].values():
        for asked in ("1 query", "1 query, filtered", "64 queries", "64 queries, filtered"):
            assert each[asked]["recall"] == 1
            assert each[asked]["n"] >= 3
    shown = capsys.readouterr().out
    assert "not here: faiss SQfp16: it is not here" in shown
    ours = kept["stores"]["ours"]["64 queries"]
    assert f"| {ours['ms']:.2f} ({ours['to_read']:.2f}x) |" in shown.splitlines()[-2]
    assert (tmp_path / "match.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("words", "said"), [
    (["--rows", "639"], "--rows: expected at least 640, found 639; give more"),
    (["--seconds", "0"], "--seconds: expected more than 0, found 0; give more")])
def test_what_cannot_be_measured_is_refused_in_a_sentence(
        words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["match", *words])
    with pytest.raises(SystemExit):
        match.main()
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_milvus_is_not_started_where_others_could_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(stores.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    assert stores.lacks("Milvus FLAT").startswith("it binds every interface")
    monkeypatch.setattr(stores.socket, "if_nameindex", lambda: [(1, "lo")])
    assert stores.lacks("Milvus FLAT") == ""
