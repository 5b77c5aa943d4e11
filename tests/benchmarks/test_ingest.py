"""What is told of an ingest run is what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import ingest

_ROW = {"date": "2026-11-22", "batch": 64, "seconds": 8.0, "sealed": False, "connections": 2, "rate": 500,
        "devices": 20,
        "flood": {"sightings_per_s": 12345, "ack_p50_ms": 3.0, "ack_p99_ms": 9.0, "matched_after_s": 4.0},
        "steady": {"sightings_per_s": 499, "ack_p50_ms": 5.9, "ack_p99_ms": 20.0, "lag_s": 0.01, "lag_p99_s": 0.2},
        "crowd": {"devices": 20, "batches": 160, "ack_p50_ms": 3.0, "ack_p99_ms": 21.0}}


def test_the_newest_answer_to_each_question_is_shown_and_drawn(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    later = {**_ROW, "crowd": {**_ROW["crowd"], "ack_p99_ms": 17.0}}    # type: ignore[dict-item]
    del later["flood"], later["steady"]
    sealed = {**_ROW, "sealed": True}
    (tmp_path / "ingest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (_ROW, later, sealed)))
    monkeypatch.setattr(ingest, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["ingest", "--table"])
    ingest.main()
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| 2 connections, batches of 64, as fast as answers come | 12,345 | 3, 9 ms | 4 s for what 8 seconds brought |",
        "| 500 a second, steadily | 499 | 6, 20 ms | 0.01, 0.20 s |",
        "| 20 devices at once, 8 a second each | 160 | 3, 17 ms |  |"]
    assert (tmp_path / "ingest.png").read_bytes().startswith(b"\x89PNG")
