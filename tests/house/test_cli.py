"""A wrong command is answered in one sentence, with the exit code its kind of failure has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cmnas_edge import bundle_commands, cli, errors

ROOT = Path(__file__).resolve().parents[2]


def tree(kind: type[errors.CmnasError]) -> list[type[errors.CmnasError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


@pytest.mark.parametrize("kind", tree(errors.CmnasError)[1:], ids=lambda kind: kind.__name__)
def test_every_failure_is_drawn_in_the_tree_with_its_code(kind: type[errors.CmnasError]) -> None:
    drawing = (errors.__doc__ or "").splitlines()
    line = next(line for line in drawing if kind.__name__ in line)
    drawn = line if "exit" in line else next(row for row in drawing if "Transient" in row)
    assert f"exit {kind.exit_code}" in drawn


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    assert f"usage: cmnas-edge {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "code", "said"), [
    (["camera", "none.toml"], 78, "none.toml: expected a settings file, found none"),
    (["collector", "none.toml"], 78, "none.toml: expected a settings file, found none"),
    (["bundle", "verify", "nowhere"], 65, "nowhere"),
    (["fly"], 2, "invalid choice: 'fly'"),
    ([], 2, "required: VERB"),
])
def test_bad_input_gets_one_sentence_and_its_code(words: list[str], code: int, said: str, tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-m", "cmnas_edge.cli", *words], cwd=tmp_path, capture_output=True,
                         text=True, check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""})
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_missing_package_is_named_with_what_brings_it(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def absent(name: str) -> object:
        raise ModuleNotFoundError("No module named 'starlette'", name="starlette")

    monkeypatch.setattr(cli.importlib, "import_module", absent)
    assert cli.main(["collector", "x.toml"]) == 69
    assert "'starlette' is missing; install it with: pip install 'cmnas-edge[collector]'" in capsys.readouterr().err


def test_products_of_matrices_take_one_processor_only() -> None:
    def threads(before: str) -> int:
        program = (f"{before}\nimport os\nimport numpy as np\nx = np.ones((600, 600), np.float32)\nx @ x\n"
                   "print('threads', len(os.listdir('/proc/self/task')))")
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                              env={"PYTHONPATH": str(ROOT), "PATH": ""})
        return int(said.stdout.split()[-1])

    if threads("") == 1:
        pytest.skip("this machine has one processor, or a numpy whose products take one")
    assert threads("from cmnas_edge import cli\ntry:\n    cli.main(['collector', '--help'])\nexcept SystemExit:\n"
                   "    pass") == 1


@pytest.mark.parametrize(("cause", "code"), [(KeyboardInterrupt(), 130), (None, None), (OSError("a library"), None)])
def test_ctrl_c_while_a_package_starts_is_no_fault_of_the_package(
        cause: BaseException | None, code: int | None, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    def started(args: object) -> int:
        raise ImportError("initialization failed") from cause

    monkeypatch.setattr(bundle_commands, "run", started)
    if code is None:
        with pytest.raises(ImportError):
            cli.main(["bundle", "show"])
        return
    assert cli.main(["bundle", "show"]) == code
    assert capsys.readouterr().err == "cmnas-edge bundle: stopped\n"
