"""What an export needs takes seconds to import: only who exports pays for it, and what happens then is no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cmnas_edge.bundle import Bundle
from tests.tiny_bundle import copy_tiny

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("torch", "code", "says"), [
    ("raise ModuleNotFoundError('No module named torch', name='torch')", 69,
     "export pack: the Python package 'torch' is missing; install it with: pip install -e '.[workshop]'\n"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT, "")])
def test_a_missing_package_is_one_sentence_and_ctrl_c_none(torch: str, code: int, says: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(torch)
    done = run(tmp_path, "pack", "checkpoint", "--out", "bundle")
    assert (done.returncode, done.stderr, done.stdout) == (code, says, "")


def test_who_draws_a_key_signs_or_asks_for_help_needs_no_package_of_the_workshop(tmp_path: Path) -> None:
    for name in ("torch", "onnx", "onnxruntime", "safetensors", "scipy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__name__} was imported')")
    key, bundle = tmp_path / "packer.pem", copy_tiny(tmp_path)
    drawn = run(tmp_path, "keygen", key)
    assert (drawn.returncode, drawn.stderr) == (0, "")
    signed = run(tmp_path, "sign", bundle, "--key", key)
    assert (signed.returncode, signed.stderr) == (0, "")
    assert [one in drawn.stdout for one in Bundle.open(bundle).signers] == [True]
    for words in (["--help"], ["quantize", "--help"]):
        helped = run(tmp_path, *words)
        assert (helped.returncode, helped.stderr) == (0, "")
        assert helped.stdout.startswith("usage: python -m export")


def run(packages: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command where a folder has some packages before all others."""
    return subprocess.run([sys.executable, "-m", "export", *map(str, words)], cwd=ROOT, check=False,
                          env={**os.environ, "PYTHONPATH": str(packages)}, capture_output=True, text=True)
