"""What is told of an ingest run is what it found."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from benchmarks import ingest
from benchmarks.devices import Site

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


def test_a_request_that_drips_is_begun_anew_whenever_it_is_cut_off() -> None:
    ours, heard = [socket.socketpair() for _ in range(3)], list[bytes]()
    lines = iter([mine for mine, _ in ours])
    left = iter([True] * 12 + [False] * 9)

    def pause() -> None:
        """Where the other side hangs up: after four bytes, twice, and then no more."""
        heard.append(ours[len(heard) // 5][1].recv(9) if len(heard) % 5 < 4 else b"")
        if len(heard) in (4, 9):
            ours[len(heard) // 5][1].close()

    found = ingest.drip(lambda: next(lines), b"POST /v1/sightings", goes_on=lambda: next(left), pause=pause)
    for _, other in ours:
        other.close()
    for mine in lines:
        mine.close()
    assert heard[:10] == [b"P", b"O", b"S", b"T", b""] * 2, "a byte at a time, and from its beginning"
    assert found["drips cut off"] == 2
    assert found["dripped bytes"] == len([one for one in heard if one])


def test_a_device_is_answered_while_one_floods_one_sends_nonsense_and_one_drips(tmp_path: Path) -> None:
    """Over TLS: each of the four is a device that is enrolled, and only the one that behaves is stored of."""
    with Site(tmp_path, rate=200.0, hot_limit=5000, names=4) as site:
        found = ingest.together(site, 1, 3.0, hostile=True)
        stored = site.health()["stored_count"]
    told = found["answers"]
    assert found["batches"] >= 1, "each was acknowledged, or it would say so"
    assert told["flood 429"] > 0
    assert {name for name in told if name.startswith("nonsense")} <= {"nonsense 400", "nonsense 429"}
    assert told["nonsense 400"] > 0
    assert told["dripped bytes"] > 1
    assert stored == 8 * found["batches"] + 64 * told.get("flood 200", 0)
