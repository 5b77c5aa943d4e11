"""A long benchmark that was stopped goes on where it was, as long as what it measures is the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import dusk, records


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "machine.py").write_text("STEP = 1\n")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    monkeypatch.setattr(records, "RESULTS", tmp_path / "benchmarks" / "results")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "machine.py")
    git(tmp_path, "commit", "-qm", "begin")
    return tmp_path


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=folder, check=True)


def test_a_row_counts_as_long_as_the_code_that_made_it_is_the_same(repository: Path) -> None:
    which = {"question": "days", "seed": 1}
    assert records.kept("dusk", which, ["machine.py"]) is None
    records.keep("dusk", {**which, "found": 1})
    records.keep("dusk", {**which, "found": 2})
    records.keep("dusk", {"question": "days", "seed": 2, "found": 3})
    found = records.kept("dusk", which, ["machine.py"])
    assert found is not None
    assert found["found"] == 2
    (repository / "other.py").write_text("x = 1\n")
    git(repository, "add", "other.py")
    git(repository, "commit", "-qm", "something else")
    assert records.kept("dusk", which, ["machine.py"]) is not None
    (repository / "machine.py").write_text("STEP = 2\n")
    assert records.kept("dusk", which, ["machine.py"]) is None


@pytest.mark.parametrize(("words", "measured"), [([], 13 + 5), (["--again"], 14 + 6), (["--days", "0"], 13)])
def test_a_command_measures_what_is_not_there_yet_and_draws(
        words: list[str], measured: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[object] = []
    drawn: list[object] = []
    for name in ("drawn", "days"):
        monkeypatch.setattr(dusk, name, lambda *which: calls.append(which))
    monkeypatch.setattr(dusk, "kept", lambda _, which, __: {"date": "2026-11-21"} if (
        which.get("dusk"), which.get("camera")) in (("dusk", None), (None, "garden")) else None)
    monkeypatch.setattr(dusk, "watch", lambda *_: iter([dusk.Told()]))
    monkeypatch.setattr(dusk, "draw", lambda trails, _: drawn.extend(trails))
    monkeypatch.setattr("sys.argv", ["dusk", *words])
    dusk.main()
    assert len(calls) == measured
    assert len(drawn) == 6
    said = capsys.readouterr().out
    assert "1 of " in said
    assert ("measured on 2026-11-21" in said) == (words != ["--again"])
