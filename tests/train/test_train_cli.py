"""A verb explains itself without torch, is listed once its room is there, and fails in one sentence."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from train import __main__ as cli

ROOT = Path(__file__).resolve().parents[2]
HERE = [verb for verb, (module, _) in cli.VERBS.items() if cli._is_here(module)]


@pytest.mark.parametrize("words", [[], *([verb] for verb in HERE)], ids=" ".join)
def test_help_needs_no_torch(words: list[str]) -> None:
    # An import of a module that is None in sys.modules fails.
    program = ("import sys; sys.modules['torch'] = None; sys.argv[0] = 'train'; "
               "from train.__main__ import main; main()")
    ran = subprocess.run([sys.executable, "-c", program, *words, "--help"], cwd=ROOT, capture_output=True, text=True,
                         check=False)
    assert ran.returncode == 0, ran.stderr
    assert f"usage: {' '.join(['python -m train', *words])} " in ran.stdout


def test_a_verb_is_listed_when_its_room_is_there(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(cli.VERBS, "dream", ("train.nowhere.commands", "of other people"))
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert "fit" in shown
    assert "dream" not in shown
    with pytest.raises(SystemExit) as ended:
        cli.main(["dream"])
    assert ended.value.code == 2


def test_a_missing_package_is_named_with_what_brings_it(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def absent(name: str) -> object:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli.importlib, "import_module", absent)
    assert cli.main(["fit", "x.toml"]) == 69
    assert "'torch' is missing; install it with: pip install -e '.[workshop]'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["fit", "search"])
@pytest.mark.parametrize("count", [None, "2"])
def test_what_was_stopped_says_the_very_command_that_was_given(
        verb: str, count: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    recipe = next((ROOT / "train" / "recipes").glob(f"{'search_' if verb == 'search' else ''}drawn_*.toml"))
    given = [verb, str(recipe), "--out", str(tmp_path / "my run"), "--data", str(tmp_path), "--cache", "c d",
             "--device", "cpu"]
    for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    how = ["python"]
    if count is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", count)
        how = ["torchrun", "--nproc_per_node", count]
    monkeypatch.setattr("train.fit.loop.fit", lambda *_, **__: False)
    monkeypatch.setattr("train.search.searching.search", lambda *_, **__: None)
    assert cli.main(given) == 130
    said = capsys.readouterr().err
    assert said.startswith("stopped; go on with: ")
    assert shlex.split(said.partition("with: ")[2]) == [*how, "-m", "train", *given]


def test_torchrun_is_left_the_sentence_and_only_the_first_process_says_it_itself(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failures = {}
    for rank in (0, 1):
        report = tmp_path / f"{rank}.json"
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(report))
        monkeypatch.setenv("RANK", str(rank))
        assert cli.main(["fit", "none.toml", "--out", "x"]) == 78
        failures[rank] = ProcessFailure(rank, 1, 78, str(report))
    said = capsys.readouterr().err
    sentence = "python -m train fit: none.toml: expected a settings file, found none; name one that exists"
    assert said == f"{sentence}\n"
    assert ChildFailedError("train", failures).format_msg().count(sentence) == 2
    assert all(failure.timestamp > 0 for failure in failures.values())


@pytest.mark.parametrize("verb", [verb for verb in HERE if verb not in ("fit", "search")])
def test_what_processes_cannot_share_is_refused_under_torchrun(
        verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main([verb, "x", "--out", "y"]) == 78
    assert f"{verb}: expected one process, found 2 that torchrun started" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "other"), [("fit", "search"), ("search", "fit")])
def test_a_recipe_of_another_verb_is_answered_with_its_name(verb: str, other: str, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    recipe = next((ROOT / "train" / "recipes").glob(f"{'search_' if other == 'search' else ''}drawn_*.toml"))
    assert cli.main([verb, str(recipe), "--out", str(tmp_path / "run")]) == 78
    assert f"found one for python -m train {other}; give it to that" in capsys.readouterr().err
    typo = tmp_path / "typo.toml"
    typo.write_text(recipe.read_text().replace("steps", "stepps"))
    assert cli.main([verb, str(typo), "--out", str(tmp_path / "run")]) == 78
    assert "unknown key" in capsys.readouterr().err
