"""What an export needs takes seconds to import; whatever happens meanwhile is no traceback either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("torch", "code", "says"), [
    ("raise ModuleNotFoundError('No module named torch', name='torch')", 69,
     "export: the Python package 'torch' is missing; install it with: pip install -e '.[workshop]'\n"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT, "")])
def test_a_missing_package_is_one_sentence_and_ctrl_c_none(torch: str, code: int, says: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(torch)
    done = subprocess.run([sys.executable, "-m", "export", "sign", "bundle", "--key", "key"], cwd=ROOT, check=False,
                          env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (code, says, "")
