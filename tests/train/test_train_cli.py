"""A verb explains itself without torch, is listed once its room is there, and fails in one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
